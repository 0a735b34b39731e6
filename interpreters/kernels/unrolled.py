"""The C++ of a graph of many small operations, such as a recursion over time leaves behind: each operation a statement or a loop.

Inductor fuses better, but the time it takes grows faster than the number of operations: minutes for a few thousand. Numbers
are local variables here, which the C++ compiler keeps in registers; other tensors are arrays, and views of them cost nothing.
Everything is computed in double precision, truth values as 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import prod
from types import MappingProxyType
from typing import Any, Final, cast

import attrs
import torch
from torch.fx import Node

from interpreters.kernels.adapter import SYMBOL, scratch_of
from interpreters.kernels.tracing import Captured, NotStraight

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


@attrs.frozen
class Array:
    """``size`` numbers at ``name[offset + index . stride]``; or one number, the expression ``name`` itself."""

    name: str
    size: tuple[int, ...]
    stride: tuple[int, ...] = ()
    offset: int = 0
    is_number: bool = False

    def at(self, index: Sequence[str]) -> str:
        """The element at ``index``, right-aligned: broadcasting."""
        if self.is_number:
            return self.name
        mine = index[len(index) - len(self.size) :]
        terms = [f"{step} * {i}" for i, step, n in zip(mine, self.stride, self.size, strict=True) if n > 1 and step and i != "0"]
        return f"{self.name}[{' + '.join([str(self.offset), *terms])}]"


def unrolled(lowered: Captured) -> str:
    """The source, of the interface that ``adapter`` describes. Raises ``NotStraight`` for an operation that it does not know."""
    writer = _Writer(lowered)
    for node in lowered.module.graph.nodes:
        writer.write(node)
    body = "\n    ".join(writer.lines)
    return (
        "#include <cmath>\n#include <cstdint>\n"
        + scratch_of(8 * writer.used + 64)
        + f'extern "C" int64_t {SYMBOL}(uint64_t, const double* x, double* gradient, double* value, void* user) {{\n'
        f"    auto** constants = static_cast<void**>(user);\n    auto* scratch = reinterpret_cast<double*>(_scratch());\n"
        f"    {body}\n    return 0;\n}}\n"
    )


class _Writer:
    """One node after the other."""

    def __init__(self, lowered: Captured) -> None:
        self.module, self.constants = lowered.module, iter(lowered.constants)
        self.arrays: dict[Node, Array] = {}
        self.lines: list[str] = []
        self.used = 0  # numbers of scratch memory
        self.spikes: dict[Any, tuple[Array, int, int]] = {}  # nodes that are zero but for one part: the part, and where
        self.sums: set[Any] = set()  # nodes whose arrays may be added to in place, by their only reader

    def write(self, node: Node) -> None:
        if node.op == "placeholder":
            self.arrays[node] = self._input(node)
        elif node.op == "get_attr":
            self.arrays[node] = Array(_literal(self.module.get_buffer(str(node.target)).item()), (), is_number=True)
        elif node.op == "output":
            self._outputs(*node.args[0])  # type: ignore[misc]  # a tuple of two
        else:
            self._call(node)

    def _input(self, node: Node) -> Array:
        if not self.arrays:
            return Array("x", tuple(node.meta["val"].shape), (1,))
        tensor = next(self.constants)
        if tensor.dtype not in _TYPES:
            raise NotStraight(f"data of {tensor.dtype}")
        self.lines.append(f"const auto* {node.name} = static_cast<const {_TYPES[tensor.dtype]}*>(constants[{len(self.arrays) - 1}]);")
        return Array(node.name, tuple(tensor.shape), tensor.stride())

    def _outputs(self, gradient: Node, value: Node) -> None:
        for name, node in (("gradient", gradient), ("value", value)):
            array = self.arrays[node]
            self._assign(Array(name, array.size, _contiguous(array.size)), array)

    def _call(self, node: Node) -> None:
        name = str(getattr(node.target, "_opname", None) or getattr(node.target, "__name__", node.target)).partition(".")[0]
        special: Callable[..., Array] | None = getattr(self, f"_{name}", None)
        args: Any = torch.fx.node.map_arg(node.args, cast(Any, self.arrays.__getitem__))
        if special is not None:
            self.arrays[node] = special(node, *args, **node.kwargs)
        elif name in _ELEMENTWISE and not set(node.kwargs) - {"dtype", "memory_format"}:
            self.arrays[node] = self._fill(node, lambda index: _ELEMENTWISE[name].format(*(_operand(arg, index) for arg in args)))
        else:
            raise NotStraight(f"no C++ for {node.target}")

    # New arrays

    def _new(self, node: Node) -> Array:
        """An array of its own; with a contiguous layout, whatever the strides of what it is made from."""
        size = tuple(node.meta["val"].shape)
        array = Array(node.name, size, _contiguous(size))
        self.lines.append(f"double* {node.name} = scratch + {self.used};")
        self.used += prod(size)
        return array

    def _fill(self, node: Node, element: Callable[[Sequence[str]], str]) -> Array:
        """A new number or array, whose element at an index is the expression ``element(index)``."""
        size = tuple(node.meta["val"].shape)
        if prod(size) == 1:
            self.lines.append(f"const double {node.name} = {element(['0'] * len(size))};")
            return Array(node.name, size, (0,) * len(size), is_number=True)
        array = self._new(node)
        self._loop(size, lambda index: f"{array.at(index)} = {element(index)};")
        return array

    def _loop(self, size: tuple[int, ...], statement: Callable[[Sequence[str]], str]) -> None:
        index = [f"i{d}" if n > 1 else "0" for d, n in enumerate(size)]
        loops = [f"for (int {i} = 0; {i} < {n}; ++{i})" for i, n in zip(index, size, strict=True) if n != 1]
        self.lines.append(" ".join([*loops, statement(index)]))

    def _full(self, node: Node, size: Any, number: float, **_: Any) -> Array:
        return Array(_literal(number), tuple(size), (0,) * len(size), is_number=True)

    def _scalar_tensor(self, node: Node, number: float, **_: Any) -> Array:
        return Array(_literal(number), (), is_number=True)

    def _pow(self, node: Node, base: Any, power: Any) -> Array:
        if power == 2:
            return self._fill(node, lambda index: "{0} * {0}".format(_operand(base, index)))
        return self._fill(node, lambda index: f"std::pow({_operand(base, index)}, {_operand(power, index)})")

    def _cat(self, node: Node, parts: Sequence[Array], dim: int = 0) -> Array:
        array = self._new(node)
        dim %= len(array.size)
        for part, start in zip(parts, accumulate((part.size[dim] for part in parts), initial=0), strict=False):
            self._assign(attrs.evolve(array, size=part.size, offset=array.offset + start * array.stride[dim]), part)
        return array

    def _assign(self, target: Array, source: Array) -> None:
        self._loop(target.size, lambda index: f"{target.at(index)} = {source.at(index)};")

    def _gather(self, target: Array, part: Array) -> None:
        self._loop(target.size, lambda index: f"{target.at(index)} += {part.at(index)};")

    def _copied(self, node: Node, array: Array) -> Array:
        copy = self._new(node)
        self._assign(copy, array)
        return copy

    def _select_scatter(self, node: Node, array: Array, part: Array, dim: int, i: int) -> Array:
        if array.name == _literal(0.0) and [user.target for user in node.users] == [torch.ops.aten.add.Tensor]:
            self.spikes[node] = (part, dim, i)
            return array
        copy = self._copied(node, array)
        self._assign(self._select(node, copy, dim, i), part)
        return copy

    def _add(self, node: Any, left: Any, right: Any, **options: Any) -> Array:
        """Also of a tensor that is zero but for one part: the gradient of x[i], of which a recursion has one for each step."""
        spikes = [arg for arg in node.args if arg in self.spikes]
        if options:
            raise NotStraight(f"no C++ for {node.target} with {options}")
        if not spikes:
            return self._fill(node, lambda index: f"{_operand(left, index)} + {_operand(right, index)}")
        dense = right if node.args[0] in self.spikes else left
        others = [arg for arg in node.args if arg in self.sums and len(arg.users) == 1]
        total: Array = self.arrays[others[0]] if others else self._copied(node, dense)
        for spike in spikes:
            part, dim, i = self.spikes[spike]
            target = self._select(node, total, dim, i)
            self._gather(target, part)
        self.sums.add(node)
        return total

    def _slice_scatter(self, node: Node, array: Array, part: Array, dim: int = 0, *bounds: Any) -> Array:
        copy = self._copied(node, array)
        self._assign(self._slice(node, copy, dim, *bounds), part)
        return copy

    def _constant_pad_nd(self, node: Node, array: Array, pad: Sequence[int], number: float = 0.0) -> Array:
        padded = self._copied(node, Array(_literal(number), (), is_number=True))
        rest = [0] * (len(array.size) - len(pad) // 2)
        before, after = [*rest, *pad[-2::-2]], [*rest, *pad[::-2]]
        for dim, (low, high) in enumerate(zip(before, after, strict=True)):  # less than nothing is cropped
            array = self._slice(node, array, dim, max(-low, 0), array.size[dim] - max(-high, 0))
        skipped = sum(max(n, 0) * step for n, step in zip(before, padded.stride, strict=True))
        self._assign(attrs.evolve(padded, size=array.size, offset=padded.offset + skipped), array)
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
        reduced = {dim % len(array.size) for dim in dims or range(len(array.size))}
        total = attrs.evolve(self._new(node), size=array.size)
        kept = iter(_contiguous([n for d, n in enumerate(array.size) if d not in reduced]))
        total = attrs.evolve(total, stride=tuple(0 if d in reduced else next(kept) for d in range(len(array.size))))
        self._assign(total, Array(start, (), is_number=True))
        self._loop(array.size, lambda index: step.format(total.at(index), array.at(index)))
        size = tuple(node.meta["val"].shape)
        return Array(total.name, size, _contiguous(size))

    # Views

    def _select(self, node: Node, array: Array, dim: int, i: int) -> Array:
        dim %= len(array.size)
        skipped = i % array.size[dim] * array.stride[dim]
        return attrs.evolve(array, size=_without(array.size, dim), stride=_without(array.stride, dim), offset=array.offset + skipped)

    def _unbind(self, node: Node, array: Array, dim: int = 0) -> Any:
        return [self._select(node, array, dim, i) for i in range(array.size[dim])]

    def _getitem(self, node: Node, arrays: Sequence[Array], i: int) -> Array:
        return arrays[i]

    def _slice(self, node: Node, array: Array, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Array:
        dim %= len(array.size)
        first, stop, step = slice(start, end, step).indices(array.size[dim])
        size = list(array.size)
        stride = list(array.stride)
        size[dim], stride[dim] = len(range(first, stop, step)), array.stride[dim] * step
        return attrs.evolve(array, size=tuple(size), stride=tuple(stride), offset=array.offset + first * array.stride[dim])

    def _unsqueeze(self, node: Node, array: Array, dim: int) -> Array:
        dim %= len(array.size) + 1
        return attrs.evolve(array, size=_with(array.size, dim, 1), stride=_with(array.stride, dim, 0))

    def _squeeze(self, node: Node, array: Array, dims: Any = None) -> Array:
        chosen = range(len(array.size)) if dims is None else [dims] if isinstance(dims, int) else dims
        gone = {dim % len(array.size) for dim in chosen if array.size[dim] == 1}
        kept = [d for d in range(len(array.size)) if d not in gone]
        return attrs.evolve(array, size=tuple(array.size[d] for d in kept), stride=tuple(array.stride[d] for d in kept))

    def _expand(self, node: Node, array: Array, *_: Any) -> Array:
        size = tuple(node.meta["val"].shape)
        new = len(size) - len(array.size)
        stride = [0] * new + [0 if n == 1 else step for n, step in zip(array.size, array.stride, strict=True)]
        return attrs.evolve(array, size=size, stride=tuple(stride))

    def _permute(self, node: Node, array: Array, dims: Sequence[int]) -> Array:
        return attrs.evolve(array, size=tuple(array.size[d] for d in dims), stride=tuple(array.stride[d] for d in dims))

    def _view(self, node: Node, array: Array, *_: Any) -> Array:
        size = tuple(node.meta["val"].shape)
        if array.is_number:
            return attrs.evolve(array, size=size, stride=(0,) * len(size))
        if prod(size) > 1 and any(n > 1 and s != c for n, s, c in zip(array.size, array.stride, _contiguous(array.size), strict=True)):
            array = self._copied_flat(node, array)
        return attrs.evolve(array, size=size, stride=_contiguous(size))

    def _copied_flat(self, node: Node, array: Array) -> Array:
        copy = attrs.evolve(self._new(node), size=array.size, stride=_contiguous(array.size))
        self._assign(copy, array)
        return copy

    _reshape = _view

    def _rev(self, node: Node, array: Array, dims: Sequence[int]) -> Array:
        last = sum((array.size[d] - 1) * array.stride[d] for d in dims)
        stride = tuple(-step if d in dims else step for d, step in enumerate(array.stride))
        return attrs.evolve(array, stride=stride, offset=array.offset + last)


def _operand(arg: Any, index: Sequence[str]) -> str:
    if isinstance(arg, torch.dtype):  # of a conversion
        return ""
    return arg.at(index) if isinstance(arg, Array) else _literal(arg)


def _literal(number: float) -> str:
    if math.isnan(number):
        return "NAN"
    if math.isinf(number):
        return "INFINITY" if number > 0 else "(-INFINITY)"
    return f"({float(number)!r})"


def _contiguous(size: Sequence[int]) -> tuple[int, ...]:
    return tuple(prod(size[d + 1 :]) for d in range(len(size)))


def _without(values: tuple[int, ...], i: int) -> tuple[int, ...]:
    return values[:i] + values[i + 1 :]


def _with(values: tuple[int, ...], i: int, value: int) -> tuple[int, ...]:
    return (*values[:i], value, *values[i:])
