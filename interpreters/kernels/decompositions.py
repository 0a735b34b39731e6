"""Which operations a density is made of, before it is compiled. Without Inductor, which takes two seconds to import."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, Final

import torch
from torch._decomp import core_aten_decompositions, get_decompositions

from interpreters.kernels.graphs import Table
from interpreters.kernels.solves import solves

FUSED_MV: Final = 20_000  # up to so many entries a matrix-vector product is fused into the loop around it; beyond, it is a call of BLAS
NARROW: Final = 32  # columns, up to which it is fused, however many rows
SHORT: Final = 32  # up to so many entries a cumulative product is unrolled


def decompositions() -> Table:
    """Torch's into its core operations, and our own."""
    aten = torch.ops.aten
    more = [
        aten._log_softmax, aten._log_softmax_backward_data, aten._softmax, aten._softmax_backward_data, aten.addmm, aten.baddbmm,
        aten.elu, aten.gelu, aten.leaky_relu, aten.hardtanh, aten.ldexp, aten.linalg_vector_norm, aten.embedding,
    ]  # fmt: skip
    table = {**core_aten_decompositions(), **get_decompositions(more), **own_decompositions()}
    del table[aten.select_scatter.default]  # by torch into a choice between two at each of all entries
    return table


def decompositions_before_derivatives() -> Table:
    """Of operations that torch has no derivative of, or one that depends on the values, as that of a product, which looks for zeros.

    And of those whose derivative would compute again what there is: that of logsumexp takes exponentials of its own, and so does that
    of the Bernoulli's density of logits.
    """
    aten = torch.ops.aten
    return {
        aten.cumprod.default: _cumprod,
        aten.index_put.default: _index_put,
        aten.copy.default: _copy,
        aten.logsumexp.default: _logsumexp,
        aten.binary_cross_entropy_with_logits.default: _binary_cross_entropy,
    }


def own_decompositions() -> Table:
    """A narrow matrix times a vector is a sum over columns, which is one loop with what is around it; others are left to BLAS."""
    aten = torch.ops.aten
    return {
        **solves(),
        aten.mv.default: _mv,
        aten.mean.dim: _mean,
        aten.mean.default: _mean,
        aten.var.correction: _var,
        aten.max.default: lambda x: x.amax(),
        aten.min.default: lambda x: x.amin(),
        aten.repeat.default: _repeat,
        aten.cholesky_solve.default: _cholesky_solve,
        aten.index.Tensor: _index,
        aten.index_select.default: _index_select,
        aten.index_put.default: _index_put,
        aten.copy.default: _copy,
        aten.split_with_sizes.default: _split_with_sizes,
        aten.scatter.value: _scatter_value,
        aten.softshrink_backward.default: _shrink_backward,
        aten.hardshrink_backward.default: _shrink_backward,
        aten._cdist_forward.default: _distances,
        aten._cdist_backward.default: _distances_backward,
    }


def _mv(matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Laid out by columns, both ways, when constants are folded: then the two products of a regression read the same numbers."""
    rows, columns = matrix.shape
    if min(rows, columns) > NARROW and rows * columns > FUSED_MV:
        return torch.mm(matrix, vector.unsqueeze(1)).squeeze(1)
    if rows >= columns:
        return (matrix.t().contiguous() * vector.unsqueeze(1)).sum(0)
    return (matrix.contiguous() * vector).sum(1)


def _mean(x: torch.Tensor, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Any:
    if dtype is not None:
        return NotImplemented
    total = x.sum() if dim is None else x.sum(dim, keepdim)
    return total * (max(total.numel(), 1) / max(x.numel(), 1))


def _var(x: torch.Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False) -> torch.Tensor:
    dims = list(range(x.dim())) if dim is None else dim
    squares = (x - x.mean(dims, keepdim=True)) ** 2
    count = x.numel() / max(squares.sum(dims).numel(), 1)
    return squares.sum(dims, keepdim) / (count - (1 if correction is None else correction))


def _repeat(x: torch.Tensor, times: list[int]) -> torch.Tensor:
    sizes = [1] * (len(times) - x.dim()) + list(x.shape)
    apart = x.reshape([n for size in sizes for n in (1, size)])
    wide = apart.expand([n for pair in zip(times, sizes, strict=True) for n in pair])
    return wide.reshape([count * size for count, size in zip(times, sizes, strict=True)])


def _cholesky_solve(b: torch.Tensor, factor: torch.Tensor, upper: bool = False) -> torch.Tensor:
    lower = factor.mT if upper else factor
    half = torch.linalg.solve_triangular(lower, b, upper=False)
    solution: torch.Tensor = torch.linalg.solve_triangular(lower.mT, half, upper=True)
    return solution


def _copy(x: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    """Torch has no derivative of it."""
    return source.to(x.dtype).expand(x.shape).clone()


def _index(x: torch.Tensor, indices: list[torch.Tensor | None]) -> Any:
    """Masks as integers: where a mask is constant, they are too."""
    numbers = _numbers(indices)
    return NotImplemented if numbers is None else torch.ops.aten.index.Tensor(x, numbers)


def _index_select(x: torch.Tensor, dim: int, index: torch.Tensor) -> Any:
    if x.dim() == 0 or index.dim() == 0:
        return NotImplemented
    return torch.ops.aten.index.Tensor(x, [None] * (dim % x.dim()) + [index])


def _index_put(x: torch.Tensor, indices: list[torch.Tensor | None], values: torch.Tensor, accumulate: bool = False) -> Any:
    (mask, *others) = indices
    if not others and mask is not None and mask.dtype == torch.bool and mask.shape == x.shape and values.numel() == 1:
        return torch.where(mask, x + values if accumulate else values.reshape(()), x)
    numbers = _numbers(indices)
    return NotImplemented if numbers is None else torch.ops.aten.index_put.default(x, numbers, values, accumulate)


def _numbers(indices: list[torch.Tensor | None]) -> list[torch.Tensor | None] | None:
    if not any(index is not None and index.dtype == torch.bool for index in indices):
        return None
    found: list[torch.Tensor | None] = []
    for index in indices:
        found += [index] if index is None or index.dtype != torch.bool else index.nonzero().unbind(1)
    return found


def _cumprod(x: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> Any:
    """A short product, written out."""
    if dtype is not None or x.dim() == 0 or x.shape[dim] > SHORT:
        return NotImplemented
    parts = list(x.unbind(dim))
    for i in range(1, len(parts)):
        parts[i] = parts[i - 1] * parts[i]
    return torch.stack(parts, dim)


def _logsumexp(x: torch.Tensor, dim: list[int], keepdim: bool = False) -> Any:
    """As torch has it, infinities included. The largest is a shift, which has no share in the derivative."""
    if x.dim() == 0 or not x.is_floating_point():
        return NotImplemented
    highest = x.detach().amax(dim, keepdim=True)
    highest = torch.where(highest.abs() == torch.inf, 0.0, highest)
    total = (x - highest).exp().sum(dim, keepdim)
    return total.log() + (highest if keepdim else highest.squeeze([d % x.dim() for d in dim]))


def _binary_cross_entropy(
    logits: torch.Tensor, target: torch.Tensor, weight: Any = None, pos_weight: Any = None, reduction: int = 1
) -> Any:
    """As torch has it, but that one exponential, of -|x|, serves the value and the derivative."""
    if weight is not None or pos_weight is not None or reduction != 0:
        return NotImplemented
    small = torch.where(logits > 0, -logits, logits).exp()  # not abs, whose derivative is 0 at 0
    return (1 - target) * logits + (-logits).clamp_min(0) + (1 + small).log()


def _split_with_sizes(x: torch.Tensor, sizes: list[int], dim: int = 0) -> list[torch.Tensor]:
    return [x.narrow(dim, stop - size, size) for size, stop in zip(sizes, accumulate(sizes), strict=True)]


def _scatter_value(x: torch.Tensor, dim: int, index: torch.Tensor, value: float) -> torch.Tensor:
    return x.scatter(dim, index, torch.full(index.shape, value, dtype=x.dtype, device=x.device))


def _shrink_backward(gradient: torch.Tensor, x: torch.Tensor, bound: float) -> torch.Tensor:
    return torch.where(x.abs() <= bound, 0.0, gradient)


def _distances(x: torch.Tensor, y: torch.Tensor, p: float, mode: int | None) -> Any:
    """Of each row of one to each of the other."""
    apart = x.unsqueeze(-2) - y.unsqueeze(-3)
    return apart.square().sum(-1).sqrt() if p == 2 else apart.abs().sum(-1) if p == 1 else NotImplemented


def _distances_backward(gradient: torch.Tensor, x: torch.Tensor, y: torch.Tensor, p: float, distances: torch.Tensor) -> Any:
    """As torch has it: zero where the distance is."""
    apart = x.unsqueeze(-2) - y.unsqueeze(-3)
    if p == 2:
        return (torch.where(distances == 0, 0.0, gradient / distances).unsqueeze(-1) * apart).sum(-2)
    return (gradient.unsqueeze(-1) * apart.sign()).sum(-2) if p == 1 else NotImplemented
