"""Which operations a density is made of, before it is compiled. Without Inductor, which takes two seconds to import."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch._decomp import core_aten_decompositions, get_decompositions

from interpreters.kernels.graphs import Table

FUSED_MV: Final = 20_000  # up to so many entries a matrix-vector product is fused into the loop around it; beyond, it is a call of BLAS
NARROW: Final = 32  # columns, up to which it is fused, however many rows
SHORT: Final = 32  # up to so many entries a cumulative sum or product is unrolled


def decompositions() -> Table:
    """Torch's into its core operations, and our own."""
    aten = torch.ops.aten
    softmax = [aten._log_softmax, aten._log_softmax_backward_data, aten._softmax, aten._softmax_backward_data]
    return {**core_aten_decompositions(), **get_decompositions(softmax), **own_decompositions()}


def own_decompositions() -> Table:
    """A narrow matrix times a vector is a sum over columns, which is one loop with what is around it; others are left to BLAS."""
    aten = torch.ops.aten
    return {
        aten.mv.default: _mv,
        aten.cumsum.default: _cumsum,
        aten.cumprod.default: _cumprod,
        aten.index.Tensor: _index,
        aten.index_select.default: _index_select,
        aten.index_put.default: _index_put,
    }


def _mv(matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Laid out by columns, both ways, when constants are folded: then the two products of a regression read the same numbers."""
    rows, columns = matrix.shape
    if min(rows, columns) > NARROW and rows * columns > FUSED_MV:
        return torch.mm(matrix, vector.unsqueeze(1)).squeeze(1)
    if rows >= columns:
        return (matrix.t().contiguous() * vector.unsqueeze(1)).sum(0)
    return (matrix.contiguous() * vector).sum(1)


def _index(x: torch.Tensor, indices: list[torch.Tensor | None]) -> Any:
    """Masks as integers: where a mask is constant, they are too."""
    numbers = _numbers(indices)
    return NotImplemented if numbers is None else torch.ops.aten.index.Tensor(x, numbers)


def _index_select(x: torch.Tensor, dim: int, index: torch.Tensor) -> Any:
    if x.dim() == 0 or index.dim() == 0:
        return NotImplemented
    return torch.ops.aten.index.Tensor(x, [None] * (dim % x.dim()) + [index])


def _index_put(x: torch.Tensor, indices: list[torch.Tensor | None], values: torch.Tensor, accumulate: bool = False) -> Any:
    numbers = _numbers(indices)
    return NotImplemented if numbers is None else torch.ops.aten.index_put.default(x, numbers, values, accumulate)


def _numbers(indices: list[torch.Tensor | None]) -> list[torch.Tensor | None] | None:
    if not any(index is not None and index.dtype == torch.bool for index in indices):
        return None
    found: list[torch.Tensor | None] = []
    for index in indices:
        found += [index] if index is None or index.dtype != torch.bool else index.nonzero().unbind(1)
    return found


def _cumsum(x: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> Any:
    """Short sums as sums over triangles, which fuse; scans do not."""
    if dtype is not None or x.dim() == 0 or x.shape[dim] > SHORT:
        return NotImplemented
    rows = x.movedim(dim, -1).unsqueeze(-2)
    n = x.shape[dim]
    lower = torch.ones(n, n, dtype=torch.bool, device=x.device).tril()
    return torch.where(lower, rows, 0.0).sum(-1).movedim(-1, dim)


def _cumprod(x: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> Any:
    if dtype is not None or x.dim() == 0 or x.shape[dim] > SHORT:
        return NotImplemented
    parts = list(x.unbind(dim))
    for i in range(1, len(parts)):
        parts[i] = parts[i - 1] * parts[i]
    return torch.stack(parts, dim)
