"""The C++ of a graph with scans, or of thousands of operations: each operation a statement or a loop.

Inductor fuses better, but knows no scans, and the time it takes grows faster than the number of operations: minutes for a few
thousand. Numbers are local variables here, which the C++ compiler keeps in registers; other tensors are arrays.
Everything is computed in double precision, truth values as 0 and 1.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import prod
from types import MappingProxyType
from typing import Any, Final, cast

import attrs
import torch
from torch.fx import Node

from interpreters.kernels.adapter import SYMBOL, scratch_of
from interpreters.kernels.arrays import (
    Array,
    contiguous,
    expand,
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
from interpreters.kernels.scans import Pullback, Scan
from interpreters.kernels.written_loops import WrittenLoop

_TYPES: Final[Mapping[torch.dtype, str]] = MappingProxyType(
    {torch.float64: "double", torch.float32: "float", torch.int64: "int64_t", torch.int32: "int32_t", torch.bool: "bool"}
)

# C++ of elementwise operations, by the name of the operation; {0}, {1}, ... are its operands.
_ELEMENTWISE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}", "reciprocal": "1.0 / {0}",
        "exp": "std::exp({0})", "expm1": "std::expm1({0})", "log": "std::log({0})", "log1p": "std::log1p({0})", "log2": "std::log2({0})",
        "sqrt": "std::sqrt({0})", "rsqrt": "1.0 / std::sqrt({0})", "sin": "std::sin({0})", "cos": "std::cos({0})", "tanh": "std::tanh({0})",
        "sigmoid": "1.0 / (1.0 + std::exp(-{0}))", "erf": "std::erf({0})", "lgamma": "std::lgamma({0})", "abs": "std::abs({0})",
        "sign": "double(({0} > 0) - ({0} < 0))", "where": "{0} != 0.0 ? {1} : {2}", "clone": "{0}", "alias": "{0}",
        "convert_element_type": "{0}", "_to_copy": "{0}", "square": "{0} * {0}", "copy": "{1}",
        "gt": "double({0} > {1})", "ge": "double({0} >= {1})", "lt": "double({0} < {1})", "le": "double({0} <= {1})",
        "eq": "double({0} == {1})", "ne": "double({0} != {1})", "logical_not": "double({0} == 0.0)", "bitwise_not": "double({0} == 0.0)",
        "logical_and": "double({0} != 0.0 && {1} != 0.0)", "logical_or": "double({0} != 0.0 || {1} != 0.0)",
        "bitwise_and": "double({0} != 0.0 && {1} != 0.0)", "bitwise_or": "double({0} != 0.0 || {1} != 0.0)",
        "clamp_min": "{0} < {1} ? {1} : {0}", "clamp_max": "{0} > {1} ? {1} : {0}",
        "maximum": "{0} < {1} || {1} != {1} ? {1} : {0}", "minimum": "{0} > {1} || {1} != {1} ? {1} : {0}",
        "isnan": "double({0} != {0})", "isinf": "double(std::isinf({0}))",
    }
)  # fmt: skip

_VIEWS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        "select": select, "unbind": unbind, "slice": sliced, "unsqueeze": unsqueeze, "squeeze": squeeze, "permute": permute, "rev": rev,
        "getitem": operator.getitem,
    }
)  # fmt: skip

# Loops over these functions become vector code: the C library has them for several numbers at once, up to 4 units in the last place.
_HEAD: Final = """
#include <cmath>
#include <cstdint>
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
#define VECTORS __attribute__((simd("notinbranch"), const, nothrow))
extern "C" { VECTORS double exp(double); VECTORS double log(double); VECTORS double sin(double); VECTORS double cos(double); }
#endif
"""


def unrolled(lowered: Captured) -> str:
    """The source, of the interface that ``adapter`` describes. Raises ``NotStraight`` for an operation that it does not know."""
    writer = _Writer(lowered, _Memory())
    nodes = list(lowered.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    writer.arrays[inputs[0]] = Array("x", tuple(inputs[0].meta["val"].shape), (1,))
    for i, (node, tensor) in enumerate(zip(inputs[1:], lowered.constants, strict=True)):
        writer.arrays[node] = writer.constant(node, i, tensor)
    for array, name in zip(writer.write(), ("gradient", "value"), strict=True):
        writer.assign(Array(name, array.size, contiguous(array.size)), array)
    body = "\n    ".join(writer.lines)
    return (
        _HEAD
        + scratch_of(8 * writer.memory.used + 64)
        + f'extern "C" int64_t {SYMBOL}(uint64_t, const double* x, double* gradient, double* value, void* user) {{\n'
        f"    auto** constants = static_cast<void**>(user);\n    auto* scratch = reinterpret_cast<double*>(_scratch());\n"
        f"    {body}\n    return 0;\n}}\n"
    )


class _Memory:
    """Scratch memory, in numbers."""

    def __init__(self) -> None:
        self.used = 0

    def take(self, count: int) -> int:
        self.used += count
        return self.used - count


class _Writer:
    """One node after the other. ``prefix`` keeps the names in a loop apart from those around it."""

    def __init__(self, lowered: Captured, memory: _Memory, prefix: str = "") -> None:
        self.lowered, self.memory, self.prefix = lowered, memory, prefix
        self.arrays: dict[Node, Any] = {}
        self.lines: list[str] = []
        self.spikes: dict[Any, tuple[Array, int, int]] = {}  # nodes that are zero but for one part: the part, and where
        self.sums: set[Any] = set()  # nodes whose arrays may be added to in place, by their only reader

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
        self.lines.append(f"const auto* {node.name} = static_cast<const {_TYPES[tensor.dtype]}*>(constants[{i}]);")
        return Array(node.name, tuple(tensor.shape), tensor.stride())

    def inner(self, body: Captured, inputs: Sequence[Array], prefix: str) -> _Writer:
        """Another one, for what is inside of a loop."""
        writer = _Writer(body, self.memory, self.prefix + prefix)
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
        special: Callable[..., Array] | None = getattr(self, f"_{name}", None)
        if name in _VIEWS:
            return _VIEWS[name](*args)
        if special is not None:
            return special(node, *args, **node.kwargs)
        if name in _ELEMENTWISE and not set(node.kwargs) - {"dtype", "memory_format"}:
            return self._fill(node, lambda index: _ELEMENTWISE[name].format(*(operand(arg, index) for arg in args)))
        raise NotStraight(f"no C++ for {node.target}")

    # New arrays

    def new(self, name: str, size: Sequence[int]) -> Array:
        """An array of its own; with a contiguous layout, whatever the strides of what it is made from."""
        name = self.prefix + name
        self.lines.append(f"double* {name} = scratch + {self.memory.take(prod(size))};")
        return Array(name, tuple(size), contiguous(size))

    def _new(self, node: Node) -> Array:
        return self.new(node.name, tuple(node.meta["val"].shape))

    def _fill(self, node: Node, element: Callable[[Sequence[str]], str]) -> Array:
        """A new number or array, whose element at an index is the expression ``element(index)``."""
        size = tuple(node.meta["val"].shape)
        if prod(size) == 1:
            self.lines.append(f"const double {self.prefix}{node.name} = {element(['0'] * len(size))};")
            return Array(self.prefix + node.name, size, (0,) * len(size), is_number=True)
        array = self._new(node)
        self._loop(size, lambda index: f"{array.at(index)} = {element(index)};")
        return array

    def _loop(self, size: tuple[int, ...], statement: Callable[[Sequence[str]], str]) -> None:
        index = [f"i{d}" if n > 1 else "0" for d, n in enumerate(size)]
        loops = [f"for (int {i} = 0; {i} < {n}; ++{i})" for i, n in zip(index, size, strict=True) if n != 1]
        self.lines.append(" ".join([*loops, statement(index)]))

    def _full(self, node: Node, size: Any, number: float, **_: Any) -> Array:
        return Array(literal(number), tuple(size), (0,) * len(size), is_number=True)

    def _scalar_tensor(self, node: Node, number: float, **_: Any) -> Array:
        return Array(literal(number), (), is_number=True)

    def _pow(self, node: Node, base: Any, power: Any) -> Array:
        if power == 1 and isinstance(base, Array):
            return base
        if power == 2:
            return self._fill(node, lambda index: "{0} * {0}".format(operand(base, index)))
        return self._fill(node, lambda index: f"std::pow({operand(base, index)}, {operand(power, index)})")

    def _cat(self, node: Node, parts: Sequence[Array], dim: int = 0) -> Array:
        array = self._new(node)
        dim %= len(array.size)
        for part, start in zip(parts, accumulate((part.size[dim] for part in parts), initial=0), strict=False):
            self.assign(attrs.evolve(array, size=part.size, offset=array.offset + start * array.stride[dim]), part)
        return array

    def assign(self, target: Array, source: Array) -> None:
        self._loop(target.size, lambda index: f"{target.at(index)} = {source.at(index)};")

    def gather(self, target: Array, part: Array) -> None:
        self._loop(target.size, lambda index: f"{target.at(index)} += {part.at(index)};")

    def _copied(self, node: Node, array: Array) -> Array:
        copy = self._new(node)
        self.assign(copy, array)
        return copy

    def _select_scatter(self, node: Node, array: Array, part: Array, dim: int, i: int) -> Array:
        if array.name == literal(0.0) and [user.target for user in node.users] == [torch.ops.aten.add.Tensor]:
            self.spikes[node] = (part, dim, i)
            return array
        copy = self._copied(node, array)
        self.assign(select(copy, dim, i), part)
        return copy

    def _add(self, node: Any, left: Any, right: Any, **options: Any) -> Array:
        """Also of a tensor that is zero but for one part: the gradient of x[i], of which a recursion has one for each step."""
        spikes = [arg for arg in node.args if arg in self.spikes]
        if options:
            raise NotStraight(f"no C++ for {node.target} with {options}")
        if not spikes:
            return self._fill(node, lambda index: f"{operand(left, index)} + {operand(right, index)}")
        dense = right if node.args[0] in self.spikes else left
        others = [arg for arg in node.args if arg in self.sums and len(arg.users) == 1]
        total: Array = self.arrays[others[0]] if others else self._copied(node, dense)
        for spike in spikes:
            part, dim, i = self.spikes[spike]
            target = select(total, dim, i)
            self.gather(target, part)
        self.sums.add(node)
        return total

    def _slice_scatter(self, node: Node, array: Array, part: Array, dim: int = 0, *bounds: Any) -> Array:
        if part.size == array.size:
            return part
        copy = self._copied(node, array)
        self.assign(sliced(copy, dim, *bounds), part)
        return copy

    def _constant_pad_nd(self, node: Node, array: Array, pad: Sequence[int], number: float = 0.0) -> Array:
        padded = self._copied(node, Array(literal(number), (), is_number=True))
        rest = [0] * (len(array.size) - len(pad) // 2)
        before, after = [*rest, *pad[-2::-2]], [*rest, *pad[::-2]]
        for dim, (low, high) in enumerate(zip(before, after, strict=True)):  # less than nothing is cropped
            array = sliced(array, dim, max(-low, 0), array.size[dim] - max(-high, 0))
        skipped = sum(max(n, 0) * step for n, step in zip(before, padded.stride, strict=True))
        self.assign(attrs.evolve(padded, size=array.size, offset=padded.offset + skipped), array)
        return padded

    # Reductions

    def _sum(self, node: Node, array: Array, dims: Any = None, keepdim: bool = False, **_: Any) -> Array:
        return self._reduce(node, array, dims, keepdim, "0.0", "{0} += {1};")

    def _amax(self, node: Node, array: Array, dims: Any = (), keepdim: bool = False) -> Array:
        return self._reduce(node, array, dims, keepdim, "-INFINITY", "if (!({1} <= {0})) {0} = {1};")

    def _amin(self, node: Node, array: Array, dims: Any = (), keepdim: bool = False) -> Array:
        return self._reduce(node, array, dims, keepdim, "INFINITY", "if (!({1} >= {0})) {0} = {1};")

    def _any(self, node: Node, array: Array, dim: Any = None, keepdim: bool = False) -> Array:
        return self._reduce(node, array, () if dim is None else (dim,), keepdim, "0.0", "if ({1} != 0.0) {0} = 1.0;")

    def _reduce(self, node: Node, array: Array, dims: Any, keepdim: bool, start: str, step: str) -> Array:
        size = tuple(node.meta["val"].shape)
        reduced = {dim % len(array.size) for dim in dims or range(len(array.size))}
        if prod(size) == 1:  # a variable, which the compiler keeps in a register
            name = f"{self.prefix}{node.name}"
            self.lines.append(f"double {name} = {start};")
            self._loop(array.size, lambda index: step.format(name, array.at(index)))
            return Array(name, size, (0,) * len(size), is_number=True)
        total = self._new(node)
        kept = iter(contiguous([n for d, n in enumerate(array.size) if d not in reduced]))
        self.assign(total, Array(start, (), is_number=True))
        spread = attrs.evolve(total, size=array.size, stride=tuple(0 if d in reduced else next(kept) for d in range(len(array.size))))
        self._loop(array.size, lambda index: step.format(spread.at(index), array.at(index)))
        return total

    # Views that may need a copy

    def _expand(self, node: Node, array: Array, *_: Any) -> Array:
        return expand(array, tuple(node.meta["val"].shape))

    def _view(self, node: Node, array: Array, *_: Any) -> Array:
        size = tuple(node.meta["val"].shape)
        if array.is_number:
            return attrs.evolve(array, size=size, stride=(0,) * len(size))
        if prod(size) > 1 and any(n > 1 and s != c for n, s, c in zip(array.size, array.stride, contiguous(array.size), strict=True)):
            array = self._copied_flat(node, array)
        return attrs.evolve(array, size=size, stride=contiguous(size))

    def _copied_flat(self, node: Node, array: Array) -> Array:
        copy = attrs.evolve(self._new(node), size=array.size, stride=contiguous(array.size))
        self.assign(copy, array)
        return copy

    _reshape = _view
