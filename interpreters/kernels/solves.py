"""Systems of equations, inverses and determinants, from one factorisation A = P L U: of general matrices, such as a Kalman filter's.

As torch's operations give them, ``info`` included, which is not 0 where a matrix is singular.
"""

from __future__ import annotations

from typing import Final

import torch

from interpreters.kernels.graphs import Table

_aten: Final = torch.ops.aten
_Tensors = tuple[torch.Tensor, ...]


def solves() -> Table:
    return {
        _aten._linalg_solve_ex.default: _solve,
        _aten.linalg_inv_ex.default: _inverse,
        _aten._linalg_slogdet.default: _slogdet,
        _aten._linalg_det.default: _det,
        _aten.cholesky_inverse.default: _cholesky_inverse,
    }


def _solve(a: torch.Tensor, b: torch.Tensor, *, left: bool = True, check_errors: bool = False) -> _Tensors:
    lu, pivots, info = _aten.linalg_lu_factor_ex.default(a)
    is_vector = b.dim() == 1 or (b.dim() == a.dim() - 1 and b.shape == a.shape[:-1])
    columns = b.unsqueeze(-1) if is_vector else b
    found = _aten.linalg_lu_solve.default(lu, pivots, columns, left=left)
    return found.squeeze(-1) if is_vector else found, lu, pivots, info


def _inverse(a: torch.Tensor, *, check_errors: bool = False) -> _Tensors:
    lu, pivots, info = _aten.linalg_lu_factor_ex.default(a)
    return _aten.linalg_lu_solve.default(lu, pivots, _identity(a)), info


def _slogdet(a: torch.Tensor) -> _Tensors:
    lu, pivots = _factors_for_determinant(a)
    diagonal = lu.diagonal(0, -2, -1)
    return diagonal.sign().prod(-1) * _sign(pivots), diagonal.abs().log().sum(-1), lu, pivots


def _det(a: torch.Tensor) -> _Tensors:
    lu, pivots = _factors_for_determinant(a)
    return lu.diagonal(0, -2, -1).prod(-1) * _sign(pivots), lu, pivots


def _factors_for_determinant(a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As torch's derivative expects them: those of the transposed matrix, where ``a`` is contiguous."""
    lu, pivots, _ = _aten.linalg_lu_factor_ex.default(a.mT if a.is_contiguous() else a)
    return lu, pivots


def _sign(pivots: torch.Tensor) -> torch.Tensor:
    """Of the permutation: row i was exchanged with row ``pivots[i]``, which count from 1."""
    itself = torch.arange(1, pivots.shape[-1] + 1, dtype=pivots.dtype, device=pivots.device)
    signs: torch.Tensor = torch.where(pivots == itself, 1.0, -1.0).double().prod(-1)
    return signs


def _cholesky_inverse(factor: torch.Tensor, upper: bool = False) -> torch.Tensor:
    return torch.cholesky_solve(_identity(factor), factor, upper)


def _identity(a: torch.Tensor) -> torch.Tensor:
    return torch.eye(a.shape[-1], dtype=a.dtype, device=a.device).expand(a.shape)
