"""Array: numbers in memory with strides, as C++ reads them; and its views, which cost nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import attrs
import torch


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


@attrs.frozen(kw_only=True)
class Inlined(Array):
    """Numbers that are in no memory: ``element`` gives the expression for an index."""

    element: Callable[[Sequence[str]], str]

    def at(self, index: Sequence[str]) -> str:
        return f"({self.element(index[len(index) - len(self.size) :])})"


def select(array: Array, dim: int, i: int) -> Array:
    dim %= len(array.size)
    skipped = i % array.size[dim] * array.stride[dim]
    return attrs.evolve(array, size=_without(array.size, dim), stride=_without(array.stride, dim), offset=array.offset + skipped)


def unbind(array: Array, dim: int = 0) -> list[Array]:
    return [select(array, dim, i) for i in range(array.size[dim])]


def sliced(array: Array, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Array:
    dim %= len(array.size)
    first, stop, step = slice(start, end, step).indices(array.size[dim])
    size = list(array.size)
    stride = list(array.stride)
    size[dim], stride[dim] = len(range(first, stop, step)), array.stride[dim] * step
    return attrs.evolve(array, size=tuple(size), stride=tuple(stride), offset=array.offset + first * array.stride[dim])


def unsqueeze(array: Array, dim: int) -> Array:
    dim %= len(array.size) + 1
    return attrs.evolve(array, size=_with(array.size, dim, 1), stride=_with(array.stride, dim, 0))


def squeeze(array: Array, dims: Any = None) -> Array:
    chosen = range(len(array.size)) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = {dim % len(array.size) for dim in chosen if array.size[dim] == 1}
    kept = [d for d in range(len(array.size)) if d not in gone]
    return attrs.evolve(array, size=tuple(array.size[d] for d in kept), stride=tuple(array.stride[d] for d in kept))


def expand(array: Array, size: tuple[int, ...]) -> Array:
    new = len(size) - len(array.size)
    stride = [0] * new + [0 if n == 1 else step for n, step in zip(array.size, array.stride, strict=True)]
    return attrs.evolve(array, size=size, stride=tuple(stride))


def permute(array: Array, dims: Sequence[int]) -> Array:
    return attrs.evolve(array, size=tuple(array.size[d] for d in dims), stride=tuple(array.stride[d] for d in dims))


def diagonal(array: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    """The entries (i, i + offset), as the last dimension."""
    first, second = dim1 % len(array.size), dim2 % len(array.size)
    count = max(min(array.size[first] - max(-offset, 0), array.size[second] - max(offset, 0)), 0)
    skipped = max(-offset, 0) * array.stride[first] + max(offset, 0) * array.stride[second]
    rest = [d for d in range(len(array.size)) if d not in (first, second)]
    size = (*(array.size[d] for d in rest), count)
    stride = (*(array.stride[d] for d in rest), array.stride[first] + array.stride[second])
    return attrs.evolve(array, size=size, stride=stride, offset=array.offset + skipped)


def rev(array: Array, dims: Sequence[int]) -> Array:
    dims = [d % len(array.size) for d in dims]
    last = sum((array.size[d] - 1) * array.stride[d] for d in dims)
    stride = tuple(-step if d in dims else step for d, step in enumerate(array.stride))
    return attrs.evolve(array, stride=stride, offset=array.offset + last)


def operand(arg: Any, index: Sequence[str]) -> str:
    if isinstance(arg, torch.dtype):  # of a conversion
        return ""
    return arg.at(index) if isinstance(arg, Array) else literal(arg)


def literal(number: float) -> str:
    if math.isnan(number):
        return "NAN"
    if math.isinf(number):
        return "INFINITY" if number > 0 else "(-INFINITY)"
    return f"({float(number)!r})"


def contiguous(size: Sequence[int]) -> tuple[int, ...]:
    return tuple(prod(size[d + 1 :]) for d in range(len(size)))


def _without(values: tuple[int, ...], i: int) -> tuple[int, ...]:
    return values[:i] + values[i + 1 :]


def _with(values: tuple[int, ...], i: int, value: int) -> tuple[int, ...]:
    return (*values[:i], value, *values[i:])
