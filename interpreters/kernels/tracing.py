"""From a function of one vector to a straight-line tensor graph: functional, without dead code, constants folded.

1. ``capture`` runs the function once under ``make_fx``. Tensors that it met on the way become inputs of the graph, copied.
2. ``lower`` traces that graph again, functionalised and decomposed. Two passes, because functionalisation only rewrites
   operations in place on *inputs*: one on a captured constant would survive the first, and a compiler that assumes
   functional graphs would be right at the first call and wrong at the second.
3. What does not depend on the vector is computed now. Equal numbers become one number, so that a kernel need not load them.

Data-dependent control flow raises the tracer's own error here.
"""

from __future__ import annotations

import hashlib
import math
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
import torch
from torch._functorch.compile_utils import fx_graph_cse
from torch.distributions import constraints
from torch.func import functionalize
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from interpreters.validation import SkipValidation

_MODES: Final = frozenset({"torch.overrides", "torch._tensor", "torch.fx.experimental.proxy_tensor", SkipValidation.__module__})
Table = Mapping[Any, Callable[..., Any]]


class NotStraight(Exception):
    """A graph that no kernel can be made of."""


class Unquestioned(SkipValidation):
    """Also answers yes to what ``torch.distributions.constraints`` asks of a tensor on its own: whether a matrix is symmetric."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.__bool__ and _asker() == constraints.__name__:
            return True
        return super().__torch_function__(func, types, args, kwargs)


def _asker() -> str:
    """The module whose code called, past function modes."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals["__name__"] in _MODES:
        frame = frame.f_back
    name: str = frame.f_globals["__name__"]
    return name


@attrs.frozen(eq=False)
class Captured:
    """A graph ``(vector, *constants) -> outputs``, and its constants."""

    module: GraphModule
    constants: tuple[torch.Tensor, ...]

    @property
    def size(self) -> int:
        """The number of operations."""
        return sum(node.op == "call_function" for node in self.module.graph.nodes)

    def __call__(self, vector: torch.Tensor) -> Any:
        with torch.no_grad():
            return self.module(vector, *self.constants)

    def digest(self) -> str:
        """A stable hash of the graph and of the layout of its constants, but not of their content, which is an argument."""
        layouts = [f"{constant.dtype}{tuple(constant.shape)}{constant.stride()}" for constant in self.constants]
        numbers = [f"{name}={number!r}" for name, number in self.module.named_buffers()]
        return hashlib.sha256("\n".join([self.module.code, *layouts, *numbers]).encode()).hexdigest()


def capture(function: Callable[[torch.Tensor], Any], example: torch.Tensor) -> Captured:
    """The graph of ``function`` at ``example``."""
    with torch.no_grad(), Unquestioned():
        traced = make_fx(function)(example)
    constants = tuple(constant.detach().clone() for constant in _lift(traced))
    _mark_failures(traced.graph)
    traced.recompile()
    return Captured(traced, constants)


def lower(captured: Captured, example: torch.Tensor, table: Table) -> Captured:
    """The same function, functional and decomposed by ``table``, constants folded."""
    with torch.no_grad():
        inputs = (example, *captured.constants)
        traced = make_fx(functionalize(captured.module), decomposition_table=dict(table))(*inputs)
        _remove_dead_code(traced.graph)
        folded = _folded(traced.graph, captured.constants)
    _require_straight(folded)
    return folded


def _lift(traced: GraphModule) -> list[torch.Tensor]:
    """Turns the tensors that the graph refers to into inputs, one for each, and returns them."""
    graph = traced.graph
    lifted: dict[str, Node] = {}
    after = next(node for node in graph.nodes if node.op == "placeholder")
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        if node.target not in lifted:
            with graph.inserting_after(after):
                lifted[node.target] = after = graph.placeholder(f"constant_{len(lifted)}")
        node.replace_all_uses_with(lifted[node.target])
        graph.erase_node(node)
    found = [getattr(traced, name) for name in lifted]
    if strange := [thing for thing in found if not isinstance(thing, torch.Tensor)]:
        raise NotStraight(f"it uses {strange[0]!r}")
    return found


def _folded(old: Graph, constants: Sequence[torch.Tensor]) -> Captured:
    """The graph whose inputs are the vector and those constants that are left when everything constant is computed."""
    values = _constant_values(old, constants)
    needed = _needed(old, values)
    kept = [node for node in needed if not _is_uniform(values[node])]
    new, numbers = Graph(), torch.nn.Module()
    vector = next(iter(old.nodes))
    copied: dict[Node, Any] = {vector: new.node_copy(vector)}
    copied.update((node, new.placeholder(f"constant_{i}")) for i, node in enumerate(kept))
    copied.update((node, _uniform(new, numbers, values[node])) for node in needed if node not in copied)
    for node in old.nodes:
        if node not in copied and node not in values:
            copied[node] = new.node_copy(node, copied.__getitem__)
    return Captured(GraphModule(numbers, fx_graph_cse(new)), tuple(values[node] for node in kept))


def _constant_values(graph: Graph, constants: Sequence[torch.Tensor]) -> dict[Node, torch.Tensor]:
    """The nodes that do not depend on the first input, and their values."""
    values: dict[Node, Any] = {}
    inputs = [node for node in graph.nodes if node.op == "placeholder"][1:]
    values.update(zip(inputs, constants, strict=True))
    for node in graph.nodes:
        if node.op == "call_function" and not _is_random(node) and all(argument in values for argument in node.all_input_nodes):
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = node.target(*args, **kwargs)
    return values


def _needed(graph: Graph, values: Mapping[Node, Any]) -> list[Node]:
    """The constants that the rest of the graph reads."""
    rest = (node for node in graph.nodes if node not in values and node.op != "placeholder")
    return list(dict.fromkeys(argument for node in rest for argument in node.all_input_nodes if argument in values))


def _is_uniform(value: torch.Tensor) -> bool:
    return value.numel() > 0 and bool((value == value.reshape(-1)[0]).all())


def _uniform(graph: Graph, numbers: torch.nn.Module, value: torch.Tensor) -> Node:
    """A tensor of one number: itself if it is a scalar (then it takes part in type promotion as one), else ``full``."""
    if value.dim() == 0:
        name = f"number_{len(list(numbers.buffers()))}"
        numbers.register_buffer(name, value)
        return graph.get_attr(name)
    number = value.reshape(-1)[0].item()
    return graph.call_function(torch.ops.aten.full.default, (list(value.shape), number), {"dtype": value.dtype, "device": value.device})


def _mark_failures(graph: Graph) -> None:
    """A Cholesky factor of what is not positive definite is nan, and so is the density; the error that eager code raises is no value."""
    aten = torch.ops.aten
    for node in list(graph.nodes):
        if node.target is not operator.getitem or node.args[1] != 0 or node.args[0].target is not aten.linalg_cholesky_ex.default:
            continue
        with graph.inserting_after(node):
            info = graph.call_function(operator.getitem, (node.args[0], 1))
        with graph.inserting_after(info):
            failed = graph.call_function(aten.ne.Scalar, (info, 0))
        for _ in range(2):
            with graph.inserting_after(failed):
                failed = graph.call_function(aten.unsqueeze.default, (failed, -1))
        with graph.inserting_after(failed):
            marked = graph.call_function(aten.masked_fill.Scalar, (node, failed, math.nan))
        node.replace_all_uses_with(marked, delete_user_cb=lambda user, marked=marked: user is not marked)


def _remove_dead_code(graph: Graph) -> None:
    for node in reversed(graph.nodes):
        if node.op == "call_function" and not node.users:
            graph.erase_node(node)


def _require_straight(captured: Captured) -> None:
    for node in captured.module.graph.nodes:
        if node.op == "call_function" and (_is_random(node) or getattr(getattr(node.target, "_schema", None), "is_mutable", False)):
            raise NotStraight(f"{node.target} in the log density")
        if torch.Tag.dynamic_output_shape in getattr(node.target, "tags", ()) and node.target is not torch.ops.aten.index.Tensor:
            raise NotStraight(f"{node.target} in the log density: how many there are depends on the values")
    if any(constant.device.type != "cpu" for constant in captured.constants):
        raise NotStraight("its data are not on the CPU")


def _is_random(node: Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
