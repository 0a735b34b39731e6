"""Captured: a straight-line tensor graph of a vector, with the constants it refers to; and what cannot be one."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import attrs
import torch
from torch.fx import Graph, GraphModule, Node

Table = Mapping[Any, Callable[..., Any]]


class NotStraight(Exception):
    """A graph that no kernel can be made of."""


@attrs.frozen(eq=False)
class Captured:
    """A graph ``(vector, *constants) -> outputs``, and its constants; ``numbers`` holds those that the graph names."""

    graph: Graph
    constants: tuple[torch.Tensor, ...]
    numbers: torch.nn.Module = attrs.field(factory=torch.nn.Module)

    @cached_property
    def module(self) -> GraphModule:
        """To be called with the vector and the constants."""
        return GraphModule(self.numbers, self.graph)

    @property
    def size(self) -> int:
        """The number of operations."""
        return sum(node.op == "call_function" for node in self.graph.nodes)

    @property
    def has_loops(self) -> bool:
        """Whether some of the operations are scans, which only Python and our own C++ can run."""
        return any(node.op == "call_function" and not _is_torch(node.target) for node in self.graph.nodes)

    def __call__(self, vector: torch.Tensor) -> Any:
        with torch.no_grad():
            return self.module(vector, *self.constants)

    def digest(self) -> str:
        """A stable hash of the graph and of the layout of its constants, but not of their content, which is an argument."""
        nodes = (f"{node.name} = {_name(node.target)} {node.args} {node.kwargs}" for node in self.graph.nodes)
        layouts = (f"{constant.dtype}{tuple(constant.shape)}{constant.stride()}" for constant in self.constants)
        numbers = (f"{name}={number.dtype} {number!r}" for name, number in self.numbers.named_buffers())
        return hashlib.sha256("\n".join([*nodes, *layouts, *numbers]).encode()).hexdigest()

    def fingerprint(self) -> str:
        """As ``digest``, and of the content of the constants, too."""
        found = hashlib.sha256(self.digest().encode())
        for constant in self.constants:
            found.update(constant.contiguous().view(-1).view(torch.uint8).numpy().data)
        return found.hexdigest()


def _is_torch(operation: Any) -> bool:
    return isinstance(operation, torch._ops.OpOverload) or operation is operator.getitem


def _name(operation: Any) -> str:
    return str(operation) if isinstance(operation, str) or _is_torch(operation) else str(operation.__name__)


def is_random(operation: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(operation, "tags", ())


def is_mutable(operation: Any) -> bool:
    return bool(getattr(getattr(operation, "_schema", None), "is_mutable", False))


def has_dynamic_shape(operation: Any) -> bool:
    """How many numbers there are in the result depends on the values of its arguments."""
    return torch.Tag.dynamic_output_shape in getattr(operation, "tags", ())


def remove_dead_code(graph: Graph) -> None:
    for node in reversed(graph.nodes):
        if node.op == "call_function" and not node.users and not (is_mutable(node.target) and _is_shared(node)):
            graph.erase_node(node)


def _is_shared(node: Node) -> bool:
    """Whether others may read what an operation in place changes."""
    (changed, *_) = node.args
    schema = getattr(getattr(changed, "target", None), "_schema", None)
    is_fresh = schema is not None and not any(result.alias_info for result in schema.returns)
    return not (is_fresh and isinstance(changed, Node) and list(changed.users) == [node])


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """``function`` of each leaf of nested tuples, lists and dicts."""
    if isinstance(value, tuple | list):
        return type(value)([mapped(part, function) for part in value])
    if isinstance(value, dict):
        return {key: mapped(part, function) for key, part in value.items()}
    return function(value)
