"""Tensors that a program writes into, as what was written: ``h[t] = f(h[t - 1])`` is the same as a list of numbers, stacked.

A graph has no operations in place: torch has no derivative of a graph with such, and no loop is found in one. So for each number of
the memory that is written to, it is known which node it is from. What is read is put together from those nodes: often it is just one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any, Final

import numpy as np
import torch
from torch.fx import Node

Emit = Callable[..., Node]
"""``emit(operation, *args)``: a new node."""

_MOST_PERMUTED: Final = 4  # dimensions
_aten: Final = torch.ops.aten


def memory_of(tensor: torch.Tensor) -> int:
    """What is equal for tensors that share their numbers."""
    memory: int = tensor.untyped_storage()._cdata
    return memory


class Buffer:
    """The memory of ``tensor``, which is the value of ``node`` until it is written to."""

    def __init__(self, tensor: torch.Tensor, node: Node) -> None:
        self.dtype = tensor.dtype
        self.nodes: list[Node] = []
        count = tensor.untyped_storage().nbytes() // tensor.element_size()
        self._which, self._where = np.full(count, -1), np.zeros(count, dtype=np.int64)
        self.write(tensor, node)

    def write(self, view: torch.Tensor, node: Node) -> None:
        """``node`` is now the value of ``view``."""
        place = _place(view)
        self._which[place] = len(self.nodes)
        self._where[place] = np.arange(view.numel()).reshape(view.shape)
        self.nodes.append(node)

    def covers(self, view: torch.Tensor) -> bool:
        """Whether it is known where all numbers of ``view`` are from."""
        return bool((self._which[_place(view)] >= 0).all())

    def read(self, view: torch.Tensor, emit: Emit, constant: Callable[[torch.Tensor], Node]) -> Node:
        """The value of ``view`` now."""
        place = _place(view)
        return _Reading(self.nodes, emit, constant).node(self._which[place], self._where[place])


class _Reading:
    """Puts tensors together from parts of nodes: ``which`` node each number is from, and ``where`` in it, both of the tensor's shape."""

    def __init__(self, nodes: Sequence[Node], emit: Emit, constant: Callable[[torch.Tensor], Node]) -> None:
        self.nodes, self.emit, self.constant = nodes, emit, constant

    def node(self, which: Any, where: Any) -> Node:
        sources = np.unique(which)
        if len(sources) == 1:
            return self._part(self.nodes[sources[0]], where)
        if 2 * len(sources) >= max(which.shape):  # as a loop leaves it: a node for each entry along some dimension
            apart = [dim for dim in range(which.ndim) if _is_one_each(which, dim)]
            dim = apart[0] if apart else int(np.argmin(which.shape))
            if apart or 2 * len(sources) >= which.size:
                slices = zip(np.moveaxis(which, dim, 0), np.moveaxis(where, dim, 0), strict=True)
                return self.emit(_aten.stack.default, [self.node(*part) for part in slices], dim)
        return self._gathered(sources, which, where)

    def _gathered(self, sources: Any, which: Any, where: Any) -> Node:
        flat = [self._flat(self.nodes[source]) for source in sources]
        starts = np.cumsum([0, *(node.meta["val"].numel() for node in flat)])
        index = starts[np.searchsorted(sources, which)] + where
        return self.emit(_aten.index.Tensor, self.emit(_aten.cat.default, flat), [self.constant(torch.from_numpy(index))])

    def _part(self, node: Node, where: Any) -> Node:
        shape, order = node.meta["val"].shape, where.ravel()
        if where.size == shape.numel():
            if (order == np.arange(where.size)).all():
                return self._reshaped(node, where.shape)
            for dims in permutations(range(where.ndim)) if len(shape) == where.ndim <= _MOST_PERMUTED else ():
                if np.array_equal(where, np.arange(where.size).reshape(shape).transpose(dims)):
                    return self.emit(_aten.permute.default, node, list(dims))
        flat, start = self._flat(node), int(order[0]) if where.size else 0
        if where.size == 1:
            return self._reshaped(self.emit(_aten.select.int, flat, 0, start), where.shape)
        if (order == np.arange(start, start + where.size)).all():
            return self._reshaped(self.emit(_aten.slice.Tensor, flat, 0, start, start + where.size), where.shape)
        return self.emit(_aten.index.Tensor, flat, [self.constant(torch.from_numpy(where))])

    def _flat(self, node: Node) -> Node:
        return self._reshaped(node, (node.meta["val"].numel(),))

    def _reshaped(self, node: Node, shape: Sequence[int]) -> Node:
        return node if tuple(node.meta["val"].shape) == tuple(shape) else self.emit(_aten.reshape.default, node, list(shape))


def _is_one_each(which: Any, dim: int) -> bool:
    """Whether each entry along a dimension is from one node."""
    rows = np.moveaxis(which, dim, 0).reshape(which.shape[dim], -1)
    return bool((rows == rows[:, :1]).all())


def _place(view: torch.Tensor) -> Any:
    """The numbers of a tensor in its memory."""
    place: Any = np.array(view.storage_offset())
    for size, step in zip(view.shape, view.stride(), strict=True):
        place = place[..., None] + np.arange(size) * step
    return place
