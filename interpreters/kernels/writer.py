"""Writer: the C++ of a graph, operation by operation. Numbers are local variables, other tensors arrays, whose loops are joined (``nests``).

What is written for an operation is said elsewhere: elementwise ones in ``arithmetic``, others by functions of a writer, a node
and its arguments, in ``parts``, ``entries``, ``reductions`` and ``matrices``, which ``source`` puts together.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from math import prod
from types import MappingProxyType
from typing import Any, Final, cast

import attrs
import torch
from torch.fx import Node

from interpreters.kernels.arithmetic import Element, rounded, rounded_literals, template
from interpreters.kernels.arrays import (
    Array,
    Inlined,
    contiguous,
    diagonal,
    literal,
    operand,
    permute,
    rev,
    select,
    sliced,
    squeeze,
    unbind,
    unsqueeze,
)
from interpreters.kernels.graphs import Captured, NotStraight
from interpreters.kernels.nests import Line, Nest, Number, Statement, early, join
from interpreters.kernels.scans import Pullback, Scan
from interpreters.kernels.written_loops import WrittenLoop

Operation = Callable[..., Any]

FEW: Final = 32  # numbers that a reduction is of, or gives, up to which it is written out

COLUMNS: Final = 4  # of a long array, up to which a loop over its rows does all of them at once
MANY: Final = 32  # rows that are long

_TYPES: Final[Mapping[torch.dtype, str]] = MappingProxyType(
    {torch.float64: "double", torch.float32: "float", torch.int64: "int64_t", torch.int32: "int32_t", torch.bool: "bool"}
)

_VIEWS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        "select": select, "unbind": unbind, "slice": sliced, "unsqueeze": unsqueeze, "squeeze": squeeze, "permute": permute, "rev": rev,
        "flip": rev, "diagonal": diagonal, "getitem": operator.getitem,
    }
)  # fmt: skip


@attrs.define
class Shared:
    """What all writers of one source share: how many numbers of scratch memory are in use, and how arrays are declared, by name.

    libraries:  of matrices, that are called: "small", "blas".
    gathers:    whether entries are read by number, in loops.
    """

    used: int = 0
    declared: dict[str, str] = attrs.field(factory=dict)
    libraries: set[str] = attrs.field(factory=set)
    gathers: bool = False

    def take(self, name: str, count: int) -> None:
        self.declared[name] = f"double* __restrict {name} = scratch + {self.used};"
        self.used += count


class Writer:
    """One node after the other. ``prefix`` keeps the names in a loop apart from those around it."""

    def __init__(self, lowered: Captured, operations: Mapping[str, Operation], shared: Shared, prefix: str = "") -> None:
        self.lowered, self.operations, self.shared, self.prefix = lowered, operations, shared, prefix
        self.arrays: dict[Node, Any] = {}
        self.lines: list[Line] = []
        self.reciprocals: dict[Array, Array] = {}

    def write(self) -> list[Array]:
        """All nodes; the arrays of the inputs are known. Gives those of the outputs."""
        for node in self.lowered.graph.nodes:
            if node.op == "get_attr":
                self.arrays[node] = Array(literal(self.lowered.numbers.get_buffer(str(node.target)).item()), (), is_number=True)
            elif node.op == "call_function":
                self._call(node)
        results: Any = node.args[0]
        return [self.arrays[result] for result in results]

    def constant(self, node: Node, i: int, tensor: torch.Tensor) -> Array:
        if tensor.dtype not in _TYPES:
            raise NotStraight(f"data of {tensor.dtype}")
        kind = f"const {_TYPES[tensor.dtype]}*"
        self.shared.declared[node.name] = f"{kind} __restrict {node.name} = static_cast<{kind}>(constants[{i}]);"
        return Array(node.name, tuple(tensor.shape), tensor.stride())

    def inner(self, body: Captured, inputs: Sequence[Array], prefix: str) -> Writer:
        """Another one, for what is inside of a loop."""
        writer = Writer(body, self.operations, self.shared, self.prefix + prefix)
        nodes = [node for node in body.graph.nodes if node.op == "placeholder"]
        writer.arrays.update(zip(nodes, inputs, strict=True))
        return writer

    def _call(self, node: Node) -> None:
        args: Any = torch.fx.node.map_arg(node.args, cast(Any, self.arrays.__getitem__))
        if isinstance(node.target, Scan | Pullback):
            loop = WrittenLoop(self, node.name)
            self.arrays[node] = loop.scan(node.target, *args) if isinstance(node.target, Scan) else loop.pullback(node.target, *args)
        else:
            self.arrays[node] = self._operation(node, args)

    def _operation(self, node: Node, args: Any) -> Any:
        name = str(getattr(node.target, "_opname", None) or getattr(node.target, "__name__", node.target)).partition(".")[0]
        if name in _VIEWS:
            return _VIEWS[name](*args, **node.kwargs)
        if name in self.operations:
            return self.operations[name](self, node, *args, **node.kwargs)
        text = template(node, name)
        if text is None:
            raise NotStraight(f"no C++ for {node.target} {dict(node.kwargs) or ''}")
        args = rounded_literals(node, args)
        return self.fill(node, lambda index: text.format(*(operand(arg, index) for arg in args)))

    # New arrays

    def new(self, name: str, size: Sequence[int]) -> Array:
        """An array of its own; with a contiguous layout, whatever the strides of what it is made from."""
        self.shared.take(self.prefix + name, prod(size))
        return Array(self.prefix + name, tuple(size), contiguous(size))

    def result(self, node: Node) -> Array:
        """A new array for ``node``."""
        return self.new(node.name, size_of(node))

    def copied(self, node: Node, array: Array) -> Array:
        copy = self.result(node)
        self.assign(copy, array)
        return copy

    def fill(self, node: Node, element: Element) -> Array:
        """A new number or array, whose element at an index is the expression ``element(index)``."""
        size, element = size_of(node), rounded(node, element)
        if prod(size) == 1 or self.is_uniform(node):
            name = self.number(node.name, element(["0"] * len(size)))
            return Array(name, size, (0,) * len(size), is_number=True)
        inlined = Inlined(name=node.name, size=size, is_number=True, element=element)
        if _is_summed(node):
            return inlined
        array = self.result(node)
        self.assign(array, inlined, is_new=True)
        return array

    def is_uniform(self, node: Node) -> bool:
        """Whether what ``node`` reads are single numbers."""
        return all(type(self.arrays[arg]) is Array and self.arrays[arg].is_number for arg in node.all_input_nodes)

    # Lines

    def number(self, name: str, text: str) -> str:
        """Declares it, and gives its name in the C++."""
        number = Number(self.prefix + name, text)
        self.lines.append(number) if self.prefix else early(self.lines, number)
        return number.name

    def loop(self, size: tuple[int, ...], statement: Callable[[Sequence[str]], Statement], *before: str) -> None:
        """``statement`` of each index, in order if need be; ``before``: what is declared for it."""
        whole, few = _apart(size)
        index = [f"i{d}" if n > 1 else "0" for d, n in enumerate(whole)]
        statements = [statement([*index, *map(str, entry)]) for entry in product(*map(range, few))]
        nest = Nest(whole, statements, list(before))
        if self.prefix:  # in the loop of a scan
            self.lines += nest.written()
        else:
            join(self.lines, nest)

    def assign(self, target: Array, source: Array, is_new: bool = False) -> None:
        self._set(target, source, "=", is_new)

    def gather(self, target: Array, part: Array) -> None:
        self._set(target, part, "+=")

    def _set(self, target: Array, source: Array, how: str, is_new: bool = False) -> None:
        def statement(index: Sequence[str]) -> Statement:
            place = target.at(index)
            return Statement(target.name, place, f"{place} {how} {source.at(index)};", is_own=True, is_new=is_new)

        self.loop(target.size, statement)


def _apart(size: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The dimensions that are loops, and the last ones, of few numbers beside many, whose statements are written out.

    So a mixture of two is one loop over the data, with what is done to either part; not loops over two numbers each.
    """
    whole, few = size, tuple[int, ...]()
    while whole and prod(few) * whole[-1] <= COLUMNS and prod(whole[:-1]) >= MANY:
        whole, few = whole[:-1], (whole[-1], *few)
    return whole, few


def size_of(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def is_small(node: Any) -> bool:
    """Whether a reduction is a few statements in a loop over the rest: of the numbers that it is over, or of its results."""
    before, after = prod(size_of(node.args[0])), prod(size_of(node))
    return bool(after > 1 and min(after, before // after) <= FEW)


def _is_summed(node: Node) -> bool:
    """What is read only by a sum over few numbers, or into few, is written out there."""
    (user, *others) = node.users or [node]
    return bool(not others and user.target is torch.ops.aten.sum.dim_IntList and is_small(user))
