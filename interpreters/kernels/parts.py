"""Parts of arrays put together, in C++: tensors filled, joined, padded, seen in another shape, and changed in one part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import prod
from types import MappingProxyType
from typing import Any, Final

import attrs
import torch
from torch.fx import Node

from interpreters.kernels.arrays import Array, contiguous, diagonal, expand, literal, operand, select, sliced
from interpreters.kernels.graphs import NotStraight
from interpreters.kernels.writer import Operation, Writer, size_of


@attrs.frozen(kw_only=True)
class Spike(Array):
    """Zero but for ``part``, which is at ``place`` of the whole: the gradient of x[i], of which a recursion has one for each step."""

    part: Array
    place: Callable[[Array], Array]


@attrs.frozen
class Sum(Array):
    """Numbers that nobody but the one reader of their node reads: it may add to them in place."""


def full(writer: Writer, node: Node, size: Any, number: float, **_: Any) -> Array:
    return Array(literal(number), tuple(size), (0,) * len(size), is_number=True)


def full_like(writer: Writer, node: Node, array: Array, number: float, **_: Any) -> Array:
    return full(writer, node, array.size, number)


def scalar_tensor(writer: Writer, node: Node, number: float, **_: Any) -> Array:
    return full(writer, node, (), number)


def cat(writer: Writer, node: Node, parts: Sequence[Array], dim: int = 0) -> Array:
    array = writer.result(node)
    dim %= len(array.size)
    parts = [part for part in parts if prod(part.size)]
    for part, start in zip(parts, accumulate((part.size[dim] for part in parts), initial=0), strict=False):
        writer.assign(attrs.evolve(array, size=part.size, offset=array.offset + start * array.stride[dim]), part)
    return array


def stack(writer: Writer, node: Node, parts: Sequence[Array], dim: int = 0) -> Array:
    array = writer.result(node)
    for i, part in enumerate(parts):
        writer.assign(select(array, dim, i), part)
    return array


def constant_pad_nd(writer: Writer, node: Node, array: Array, pad: Sequence[int], number: float = 0.0) -> Array:
    padded = writer.copied(node, Array(literal(number), (), is_number=True))
    rest = [0] * (len(array.size) - len(pad) // 2)
    before, after = [*rest, *pad[-2::-2]], [*rest, *pad[::-2]]
    for dim, (low, high) in enumerate(zip(before, after, strict=True)):  # less than nothing is cropped
        array = sliced(array, dim, max(-low, 0), array.size[dim] - max(-high, 0))
    skipped = sum(max(n, 0) * step for n, step in zip(before, padded.stride, strict=True))
    writer.assign(attrs.evolve(padded, size=array.size, offset=padded.offset + skipped), array)
    return padded


def expanded(writer: Writer, node: Node, array: Array, *_: Any, **__: Any) -> Array:
    return expand(array, size_of(node))


def view(writer: Writer, node: Node, array: Array, *_: Any) -> Array:
    """Of other strides than a new tensor's, it is a copy."""
    size = size_of(node)
    if array.is_number:
        return attrs.evolve(array, size=size, stride=(0,) * len(size))
    if prod(size) > 1 and not is_contiguous(array):
        array = flat(writer, f"{node.name}_flat", array)
    return attrs.evolve(array, size=size, stride=contiguous(size))


def flat(writer: Writer, name: str, array: Array) -> Array:
    """``array``, copied to memory of its own."""
    copy = writer.new(name, array.size)
    writer.assign(copy, array)
    return copy


def is_contiguous(array: Array) -> bool:
    return all(n == 1 or step == wanted for n, step, wanted in zip(array.size, array.stride, contiguous(array.size), strict=True))


# One part of a tensor changed


def select_scatter(writer: Writer, node: Node, array: Array, part: Array, dim: int, i: int) -> Array:
    return _scattered(writer, node, array, part, lambda whole: select(whole, dim, i))


def slice_scatter(writer: Writer, node: Node, array: Array, part: Array, dim: int = 0, *bounds: Any) -> Array:
    return _scattered(writer, node, array, part, lambda whole: sliced(whole, dim, *bounds))


def diagonal_scatter(writer: Writer, node: Node, array: Array, part: Array, *which: int) -> Array:
    return _scattered(writer, node, array, part, lambda whole: diagonal(whole, *which))


def _scattered(writer: Writer, node: Node, array: Array, part: Array, place: Callable[[Array], Array]) -> Array:
    if array.name == literal(0.0) and [user.target for user in node.users] == [torch.ops.aten.add.Tensor]:
        return Spike(array.name, array.size, array.stride, is_number=True, part=part, place=place)
    copy = writer.copied(node, array)
    writer.assign(place(copy), part)
    return copy


def add(writer: Writer, node: Any, left: Any, right: Any, **options: Any) -> Array:
    if options:
        raise NotStraight(f"no C++ for {node.target} with {options}")
    spikes = [array for array in (left, right) if isinstance(array, Spike)]
    if not spikes:
        return writer.fill(node, lambda index: f"{operand(left, index)} + {operand(right, index)}")
    total = _total(writer, node, right if isinstance(left, Spike) else left)
    for spike in spikes:
        writer.gather(spike.place(total), spike.part)
    return Sum(total.name, total.size, total.stride, total.offset)


def _total(writer: Writer, node: Any, dense: Any) -> Array:
    """What spikes are added to: the other array itself, if this is all that reads it, or a copy."""
    own = [arg for arg in node.all_input_nodes if writer.arrays[arg] is dense and arg.target is node.target and len(arg.users) == 1]
    if own and isinstance(dense, Sum):
        return dense
    return writer.copied(node, dense if isinstance(dense, Array) else Array(literal(dense), (), is_number=True))


OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(
    {
        "full": full, "full_like": full_like, "scalar_tensor": scalar_tensor, "cat": cat, "stack": stack, "constant_pad_nd": constant_pad_nd,
        "expand": expanded, "view": view, "reshape": view, "_unsafe_view": view, "add": add,
        "select_scatter": select_scatter, "slice_scatter": slice_scatter, "diagonal_scatter": diagonal_scatter,
    }
)  # fmt: skip
