"""The C++ of a graph, operation by operation: numbers are local variables, other tensors arrays, their loops joined (``nests``).

It takes a second to compile, where Inductor's takes several, and knows scans, which Inductor does not; what BLAS and LAPACK do is
left to Inductor. Everything is computed in double precision, results in single precision rounded to it, truth values are 0 and 1.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from itertools import accumulate, product
from math import prod
from types import MappingProxyType
from typing import Any, Final, cast

import attrs
import numpy as np
import torch
from torch.fx import Node

from interpreters.kernels.adapter import SYMBOL, scratch_of
from interpreters.kernels.arrays import (
    Array,
    Inlined,
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
from interpreters.kernels.nests import Line, Nest, Statement, early, join, read, rendered
from interpreters.kernels.scans import Pullback, Scan
from interpreters.kernels.written_loops import WrittenLoop

_TYPES: Final[Mapping[torch.dtype, str]] = MappingProxyType(
    {torch.float64: "double", torch.float32: "float", torch.int64: "int64_t", torch.int32: "int32_t", torch.bool: "bool"}
)

# C++ of elementwise operations, by the name of the operation; {0}, {1}, ... are its operands.
_ELEMENTWISE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sub": "{0} - {1}", "mul": "{0} * {1}", "neg": "-{0}", "reciprocal": "1.0 / {0}",
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
        "isnan": "double({0} != {0})", "log10": "std::log10({0})", "tan": "std::tan({0})", "atan": "std::atan({0})", "isinf": "double(std::isinf({0}))",
    }
)  # fmt: skip

_VIEWS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        "select": select, "unbind": unbind, "slice": sliced, "unsqueeze": unsqueeze, "squeeze": squeeze, "permute": permute, "rev": rev,
        "flip": rev, "getitem": operator.getitem,
    }
)  # fmt: skip

# Loops over these functions become vector code: the C library has them for several numbers at once, up to 4 units in the last place.
_HEAD: Final = """
#include <cmath>
#include <cstdint>
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
#define VECTORS __attribute__((simd("notinbranch"), const, nothrow))
extern "C" { VECTORS double exp(double); VECTORS double log(double); VECTORS double sin(double); VECTORS double cos(double); }
#if __GLIBC_PREREQ(2, 35)
extern "C" { VECTORS double log1p(double); VECTORS double expm1(double); VECTORS double tanh(double); VECTORS double erf(double); }
#endif
#endif
static inline double poutine_larger(double a, double b) { return a < b || b != b ? b : a; }
static inline double poutine_smaller(double a, double b) { return a > b || b != b ? b : a; }
"""

FEW: Final = 32  # numbers that a reduction is of, or gives, up to which it is written out


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
    lines = list(rendered(writer.lines))
    body = "\n    ".join([*read(writer.memory.declared, lines), *lines])
    return (
        _HEAD
        + scratch_of(8 * writer.memory.used + 64)
        + f'extern "C" int64_t {SYMBOL}(uint64_t, const double* x, double* gradient, double* value, void* user) {{\n'
        f"    auto** constants = static_cast<void**>(user);\n    auto* scratch = reinterpret_cast<double*>(_scratch());\n"
        f"    {body}\n    return 0;\n}}\n"
    )


class _Memory:
    """Scratch memory, in numbers; and the declarations of what is in it."""

    def __init__(self) -> None:
        self.used = 0
        self.declared: list[str] = []

    def take(self, count: int) -> int:
        self.used += count
        return self.used - count


class _Writer:
    """One node after the other. ``prefix`` keeps the names in a loop apart from those around it."""

    def __init__(self, lowered: Captured, memory: _Memory, prefix: str = "") -> None:
        self.lowered, self.memory, self.prefix = lowered, memory, prefix
        self.arrays: dict[Node, Any] = {}
        self.lines: list[Line] = []
        self.spikes: dict[Any, tuple[Array, Callable[[Array], Array]]] = {}  # nodes that are zero but for one part: the part, and where
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
        self.memory.declared.append(f"const auto* {node.name} = static_cast<const {_TYPES[tensor.dtype]}*>(constants[{i}]);")
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
        args = _rounded_literals(node, args)
        if name in _ELEMENTWISE and not set(node.kwargs) - {"dtype", "memory_format", "layout", "device", "pin_memory"}:
            return self._fill(node, lambda index: _ELEMENTWISE[name].format(*(operand(arg, index) for arg in args)))
        raise NotStraight(f"no C++ for {node.target}")

    # New arrays

    def new(self, name: str, size: Sequence[int]) -> Array:
        """An array of its own; with a contiguous layout, whatever the strides of what it is made from."""
        name = self.prefix + name
        self.memory.declared.append(f"double* __restrict {name} = scratch + {self.memory.take(prod(size))};")
        return Array(name, tuple(size), contiguous(size))

    def _new(self, node: Node) -> Array:
        return self.new(node.name, tuple(node.meta["val"].shape))

    def _fill(self, node: Node, element: Callable[[Sequence[str]], str]) -> Array:
        """A new number or array, whose element at an index is the expression ``element(index)``."""
        size = tuple(node.meta["val"].shape)
        rounded = _rounded(node, element)
        if prod(size) == 1 or self._is_uniform(node):
            self._number(f"const double {self.prefix}{node.name} = {rounded(['0'] * len(size))};")
            return Array(self.prefix + node.name, size, (0,) * len(size), is_number=True)
        if self._is_summed(node):
            return Inlined(name=node.name, size=size, is_number=True, element=rounded)
        array = self._new(node)
        self.assign(array, Inlined(name=node.name, size=size, is_number=True, element=rounded), is_new=True)
        return array

    def _number(self, line: str) -> None:
        if self.prefix:
            self.lines.append(line)
        else:
            early(self.lines, line)

    def _is_uniform(self, node: Node) -> bool:
        return all(type(self.arrays[arg]) is Array and self.arrays[arg].is_number for arg in node.all_input_nodes)

    def _is_summed(self, node: Node) -> bool:
        """What is read only by a sum over few numbers, or into few, is written out there."""
        (user, *others) = node.users or [node]
        return bool(not others and user.target is torch.ops.aten.sum.dim_IntList and self._is_small(user))

    def _is_small(self, node: Any) -> bool:
        """Whether a reduction is a few statements in a loop over the rest: of the numbers that it is over, or of its results."""
        before, after = (prod(node.args[0].meta["val"].shape), prod(node.meta["val"].shape))
        return bool(after > 1 and min(after, before // after) <= FEW)

    def _loop(self, size: tuple[int, ...], statement: Callable[[Sequence[str]], Statement], *before: str) -> None:
        nest = Nest(size, [statement([f"i{d}" if n > 1 else "0" for d, n in enumerate(size)])], list(before))
        if self.prefix:  # in the loop of a scan
            self.lines += nest.written()
        else:
            join(self.lines, nest)

    def _full(self, node: Node, size: Any, number: float, **_: Any) -> Array:
        return Array(literal(number), tuple(size), (0,) * len(size), is_number=True)

    def _full_like(self, node: Node, array: Array, number: float, **_: Any) -> Array:
        return self._full(node, array.size, number)

    def _scalar_tensor(self, node: Node, number: float, **_: Any) -> Array:
        return Array(literal(number), (), is_number=True)

    def _pow(self, node: Node, base: Any, power: Any) -> Array:
        if power == 1 and isinstance(base, Array):
            return base
        if power == 2:
            return self._fill(node, lambda index: "{0} * {0}".format(operand(base, index)))
        return self._fill(node, lambda index: f"std::pow({operand(base, index)}, {operand(power, index)})")

    def _clamp(self, node: Node, array: Array, low: Any = None, high: Any = None) -> Array:
        def element(index: Sequence[str]) -> str:
            text = array.at(index)
            if low is not None:
                text = f"poutine_larger({text}, {operand(low, index)})"
            return text if high is None else f"poutine_smaller({text}, {operand(high, index)})"

        return self._fill(node, element)

    def _div(self, node: Node, left: Any, right: Any) -> Array:
        """Many numbers by one are multiplied by its reciprocal, which is much faster and off by one unit in the last place."""
        if not isinstance(right, Inlined) and isinstance(right, Array) and right.is_number and not self._is_uniform(node):
            name = f"{self.prefix}{node.name}_reciprocal"
            self._number(f"const double {name} = 1.0 / {right.name};")
            return self._fill(node, lambda index: f"{operand(left, index)} * {name}")
        return self._fill(node, lambda index: f"{operand(left, index)} / {operand(right, index)}")

    def _cat(self, node: Node, parts: Sequence[Array], dim: int = 0) -> Array:
        array = self._new(node)
        dim %= len(array.size)
        for part, start in zip(parts, accumulate((part.size[dim] for part in parts), initial=0), strict=False):
            self.assign(attrs.evolve(array, size=part.size, offset=array.offset + start * array.stride[dim]), part)
        return array

    def assign(self, target: Array, source: Array, is_new: bool = False) -> None:
        self._set(target, source, "=", is_new)

    def gather(self, target: Array, part: Array) -> None:
        self._set(target, part, "+=")

    def _set(self, target: Array, source: Array, how: str, is_new: bool = False) -> None:
        def statement(index: Sequence[str]) -> Statement:
            place = target.at(index)
            return Statement(target.name, place, f"{place} {how} {source.at(index)};", is_own=True, is_new=is_new)

        self._loop(target.size, statement)

    def _copied(self, node: Node, array: Array) -> Array:
        copy = self._new(node)
        self.assign(copy, array)
        return copy

    def _select_scatter(self, node: Node, array: Array, part: Array, dim: int, i: int) -> Array:
        return self._scattered(node, array, part, lambda whole: select(whole, dim, i))

    def _slice_scatter(self, node: Node, array: Array, part: Array, dim: int = 0, *bounds: Any) -> Array:
        return self._scattered(node, array, part, lambda whole: sliced(whole, dim, *bounds))

    def _scattered(self, node: Node, array: Array, part: Array, place: Callable[[Array], Array]) -> Array:
        if array.name == literal(0.0) and [user.target for user in node.users] == [torch.ops.aten.add.Tensor]:
            self.spikes[node] = (part, place)
            return array
        copy = self._copied(node, array)
        self.assign(place(copy), part)
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
            part, place = self.spikes[spike]
            self.gather(place(total), part)
        self.sums.add(node)
        return total

    def _constant_pad_nd(self, node: Node, array: Array, pad: Sequence[int], number: float = 0.0) -> Array:
        padded = self._copied(node, Array(literal(number), (), is_number=True))
        rest = [0] * (len(array.size) - len(pad) // 2)
        before, after = [*rest, *pad[-2::-2]], [*rest, *pad[::-2]]
        for dim, (low, high) in enumerate(zip(before, after, strict=True)):  # less than nothing is cropped
            array = sliced(array, dim, max(-low, 0), array.size[dim] - max(-high, 0))
        skipped = sum(max(n, 0) * step for n, step in zip(before, padded.stride, strict=True))
        self.assign(attrs.evolve(padded, size=array.size, offset=padded.offset + skipped), array)
        return padded

    # Entries by number

    def _index(self, node: Node, array: Array, indices: Sequence[Array | None]) -> Array:
        place = self._place(node.args[1], array, indices)[1]
        return self._fill(node, lambda index: place(array, index))

    def _index_put(self, node: Node, array: Array, indices: Sequence[Array | None], values: Array, accumulate: bool = False) -> Array:
        copy, how = self._copied(node, array), "+=" if accumulate else "="
        size, place = self._place(node.args[1], array, indices)

        def statement(index: Sequence[str]) -> Statement:
            target = place(copy, index)
            return Statement(copy.name, target, f"{target} {how} {values.at(index)};")

        self._loop(size, statement)
        return copy

    def _place(self, nodes: Any, array: Array, indices: Sequence[Array | None]) -> tuple[tuple[int, ...], Callable[..., str]]:
        """The size of ``array[indices]``, and how to name its entries: of neighbouring dimensions only."""
        where = [d for d, index in enumerate(indices) if index is not None]
        given = [index for index in indices if index is not None]
        if where != list(range(where[0], where[-1] + 1)) or any(
            n is not None and (n.op != "placeholder" or _dtype(n) == torch.bool) for n in nodes
        ):
            raise NotStraight("no C++ for indices that are computed, or are of dimensions apart")
        start, stop = where[0], where[-1] + 1
        middle: tuple[int, ...] = tuple(np.broadcast_shapes(*(index.size for index in given)))

        def place(whole: Array, index: Sequence[str]) -> str:
            inside = index[start : start + len(middle)]
            numbers = [index.at(inside) for index in given]
            return whole.at([*index[:start], *numbers, *index[start + len(middle) :]])

        return (*array.size[:start], *middle, *array.size[stop:]), place

    # Reductions

    def _sum(self, node: Node, array: Array, dims: Any = None, keepdim: bool = False, **_: Any) -> Array:
        return self._reduce(node, array, dims, "0.0", "{0} + {1}")

    def _amax(self, node: Node, array: Array, dims: Any = (), keepdim: bool = False) -> Array:
        return self._reduce(node, array, dims, "-INFINITY", "poutine_larger({0}, {1})")

    def _amin(self, node: Node, array: Array, dims: Any = (), keepdim: bool = False) -> Array:
        return self._reduce(node, array, dims, "INFINITY", "poutine_smaller({0}, {1})")

    def _any(self, node: Node, array: Array, dim: Any = None, keepdim: bool = False) -> Array:
        return self._reduce(node, array, () if dim is None else (dim,), "0.0", "double({0} != 0.0 || {1} != 0.0)")

    def _reduce(self, node: Node, array: Array, dims: Any, start: str, both: str) -> Array:
        size, sums = tuple(node.meta["val"].shape), both == "{0} + {1}"
        reduced = sorted({dim % len(array.size) for dim in ([dims] if isinstance(dims, int) else dims) or range(len(array.size))})
        over = tuple(array.size[d] for d in reduced)
        if sums and self._is_uniform(node):
            return self._fill(node, lambda index: f"{array.name} * {prod(over)}")
        if prod(over) <= FEW:
            return self._few_each(node, array, reduced, both)
        if prod(size) == 1 or (sums and prod(size) <= FEW):
            return self._into_few(node, array, reduced, start, both)
        total = self._new(node)
        self.assign(total, Array(start, (), is_number=True))
        stride = iter(contiguous([n for d, n in enumerate(array.size) if d not in reduced]))
        spread = attrs.evolve(total, size=array.size, stride=tuple(0 if d in reduced else next(stride) for d in range(len(array.size))))

        def statement(index: Sequence[str]) -> Statement:
            place = spread.at(index)
            return Statement(total.name, place, f"{place} = {both.format(place, array.at(index))};")

        self._loop(array.size, statement)
        return total

    def _few_each(self, node: Node, array: Array, reduced: Sequence[int], both: str) -> Array:
        """A number of few, each: written out."""
        entries = list(product(*(range(array.size[d]) for d in reduced)))
        keepdim = len(node.meta["val"].shape) == len(array.size)

        def element(index: Sequence[str]) -> str:
            kept = [i for d, i in enumerate(index) if d not in reduced] if keepdim else index
            texts = [array.at(_interleaved(reduced, map(str, entry), kept)) for entry in entries]
            return reduce(lambda left, right: f"({both.format(left, right)})", texts)

        return self._fill(node, element)

    def _into_few(self, node: Node, array: Array, reduced: Sequence[int], start: str, both: str) -> Array:
        """Few numbers, each of many: variables, all in one loop."""
        size = tuple(node.meta["val"].shape)
        others = [n for d, n in enumerate(array.size) if d not in reduced]
        names = []
        for k, entry in enumerate(product(*map(range, others))):
            name = f"{self.prefix}{node.name}_n{k}"
            names.append(name)

            def statement(index: Sequence[str], name: str = name, entry: tuple[int, ...] = entry) -> Statement:
                text = both.format(name, array.at(_interleaved(reduced, index, list(map(str, entry)))))
                return Statement(name, name, f"{name} = {text};", sums=both == "{0} + {1}")

            self._loop(tuple(array.size[d] for d in reduced), statement, f"double {name} = {start};")
        numbers = [_rounded(node, lambda _, name=name: name)(()) for name in names]  # type: ignore[misc]
        if len(names) == 1:
            return Array(numbers[0], size, (0,) * len(size), is_number=True)
        total = self._new(node)
        places = [f"{total.name}[{k}]" for k in range(len(names))]
        nest = Nest((), [Statement(total.name, p, f"{p} = {n};", is_own=True) for p, n in zip(places, numbers, strict=True)])
        self.lines += [nest] if not self.prefix else nest.written()
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


def _rounded(node: Node, element: Callable[[Sequence[str]], str]) -> Callable[[Sequence[str]], str]:
    """``element`` as a number of the type of ``node``: a result in single precision is rounded to it, once for each operation."""
    dtype = _dtype(node)
    if dtype == torch.float32:
        return lambda index: f"double(float({element(index)}))"
    if "_to_copy" in str(node.target) or "convert" in str(node.target):
        if dtype == torch.bool:
            return lambda index: f"double({element(index)} != 0.0)"
        if not (dtype or torch.float64).is_floating_point:
            return lambda index: f"std::trunc({element(index)})"
    return element


def _rounded_literals(node: Node, args: Any) -> Any:
    """Python's numbers take part in single precision, where the tensors are."""
    dtypes = {_dtype(arg) for arg in node.all_input_nodes} - {None}
    if torch.float32 not in {*dtypes, _dtype(node)} or torch.float64 in dtypes:
        return args
    return [torch.tensor(arg, dtype=torch.float32).item() if isinstance(arg, float) else arg for arg in args]


def _dtype(node: Node) -> torch.dtype | None:
    value = node.meta.get("val")
    return value.dtype if isinstance(value, torch.Tensor) else None


def _interleaved(reduced: Sequence[int], inside: Iterable[str], kept: Sequence[str]) -> list[str]:
    """An index of all dimensions, from that of those which are reduced and that of the others."""
    inner, outer = iter(inside), iter(kept)
    return [next(inner) if d in reduced else next(outer) for d in range(len(reduced) + len(kept))]
