"""Entries of arrays by number, in C++: read, written, added to.

The numbers are constants of the graph, which were looked at when it was traced: they are inside, and count from the front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
from torch.fx import Node

from interpreters.kernels.arithmetic import dtype_of
from interpreters.kernels.arrays import Array
from interpreters.kernels.graphs import NotStraight
from interpreters.kernels.nests import Statement
from interpreters.kernels.writer import Operation, Writer

Place = Callable[[Array, Sequence[str]], str]


def index(writer: Writer, node: Node, array: Array, indices: Sequence[Array | None]) -> Array:
    place = _place(node.args[1], array, indices)[1]
    writer.shared.gathers = True
    return writer.fill(node, lambda index: place(array, index))


def index_put(writer: Writer, node: Node, array: Array, indices: Sequence[Array | None], values: Array, accumulate: bool = False) -> Array:
    size, place = _place(node.args[1], array, indices)
    return _written(writer, node, array, size, place, values, "+=" if accumulate else "=")


def gather(writer: Writer, node: Node, array: Array, dim: int, numbers: Array, **_: Any) -> Array:
    place = _along(node.args[2], dim % max(len(array.size), 1), numbers)
    writer.shared.gathers = True
    return writer.fill(node, lambda index: place(array, index))


def scatter(writer: Writer, node: Node, array: Array, dim: int, numbers: Array, values: Array, **options: Any) -> Array:
    return _scattered(writer, node, array, dim, numbers, values, "=")


def scatter_add(writer: Writer, node: Node, array: Array, dim: int, numbers: Array, values: Array, **options: Any) -> Array:
    return _scattered(writer, node, array, dim, numbers, values, "+=")


def _scattered(writer: Writer, node: Node, array: Array, dim: int, numbers: Array, values: Array, how: str) -> Array:
    if node.kwargs or not isinstance(values, Array):
        raise NotStraight(f"no C++ for {node.target} of {values} {dict(node.kwargs)}")
    place = _along(node.args[2], dim % max(len(array.size), 1), numbers)
    return _written(writer, node, array, numbers.size, place, values, how)


def _written(writer: Writer, node: Node, array: Array, size: tuple[int, ...], place: Place, values: Array, how: str) -> Array:
    copy = writer.copied(node, array)

    def statement(index: Sequence[str]) -> Statement:
        target = place(copy, index)
        return Statement(copy.name, target, f"{target} {how} {values.at(index)};")

    writer.loop(size, statement)
    return copy


def _place(nodes: Any, array: Array, indices: Sequence[Array | None]) -> tuple[tuple[int, ...], Place]:
    """The size of ``array[indices]``, and how to name its entries: of neighbouring dimensions only."""
    where = [d for d, index in enumerate(indices) if index is not None]
    given = [index for index in indices if index is not None]
    if where != list(range(where[0], where[-1] + 1)):
        raise NotStraight("no C++ for indices of dimensions apart")
    _require_constant(nodes)
    start, stop = where[0], where[-1] + 1
    middle: tuple[int, ...] = tuple(np.broadcast_shapes(*(index.size for index in given)))

    def place(whole: Array, index: Sequence[str]) -> str:
        inside = index[start : start + len(middle)]
        return whole.at([*index[:start], *(_number(numbers, inside) for numbers in given), *index[start + len(middle) :]])

    return (*array.size[:start], *middle, *array.size[stop:]), place


def _along(numbers_node: Any, dim: int, numbers: Array) -> Place:
    """``whole[..., numbers[index], ...]``, all other dimensions at ``index``."""
    _require_constant([numbers_node])
    return lambda whole, index: whole.at([*index[:dim], _number(numbers, index), *index[dim + 1 :]])


def _number(numbers: Array, index: Sequence[str]) -> str:
    return f"int64_t{numbers.name}" if numbers.is_number else numbers.at(index)


def _require_constant(nodes: Any) -> None:
    for node in nodes:
        if node is not None and not (node.op in ("placeholder", "get_attr") or node.target is torch.ops.aten.full.default):
            raise NotStraight("no C++ for indices that are computed")
        if node is not None and dtype_of(node) == torch.bool:
            raise NotStraight("no C++ for masks that are computed")


OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(
    {"index": index, "index_put": index_put, "gather": gather, "scatter": scatter, "scatter_add": scatter_add}
)
