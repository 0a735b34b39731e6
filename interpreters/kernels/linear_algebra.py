"""The calls of BLAS and LAPACK that stand between fused kernels: C++ that makes each of them, on any two strides of which one is 1."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Final

import attrs
import torch

from interpreters.kernels.graphs import NotStraight
from interpreters.kernels.launches import Step, View

MOST_CALLS: Final = 64  # of one library function in a row, one for each matrix of a batch


def call(step: Step) -> str:
    """C++ statements. Results of a factorisation that fails say so in its second result, as torch's do."""
    if any(view.dtype not in {torch.float64, torch.int32} for view in step.args):
        raise NotStraight(f"{step.target} in single precision")
    name = step.target.rpartition("aten.")[2].removesuffix(".default")
    if name == "linalg_cholesky_ex":
        matrix, factor, info = step.args
        if step.options.get("upper", False) or step.options.get("check_errors", False):
            raise NotStraight("an upper Cholesky factor")
        return _each((matrix, factor), (info,), "cholesky({0})")
    if name == "linalg_solve_triangular":
        upper, left, unit = (
            step.options.get(key, default) for key, default in (("upper", False), ("left", True), ("unitriangular", False))
        )
        return _each(step.args, (), f"solve({{0}}, {int(upper)}, {int(left)}, {int(unit)})")
    return _each(step.args, (), "product({0})")


def pointer(view: View) -> str:
    """Where ``view`` begins, in bytes."""
    return f"{view.base} + {view.offset}" if view.offset else view.base


def _each(matrices: tuple[View, ...], others: tuple[View, ...], template: str) -> str:
    """One call for each matrix of a batch; batches broadcast."""
    batch = torch.broadcast_shapes(*(view.size[:-2] for view in matrices))  # type: ignore[no-untyped-call]  # torch's own
    if prod(batch) > MOST_CALLS:
        raise NotStraight(f"a batch of {prod(batch)} matrices")
    calls = []
    for index in product(*map(range, batch)):
        arguments = [_matrix(_at(view, index, 2)) for view in matrices]
        arguments += [f"reinterpret_cast<int*>({pointer(_at(view, index, 0))})" for view in others]
        calls.append(template.format(", ".join(arguments)) + ";")
    return " ".join(calls)


def _at(view: View, index: tuple[int, ...], dims: int) -> View:
    """The part of ``view`` with its last ``dims`` dimensions at ``index`` of those before."""
    before = len(view.size) - dims
    mine = [0 if n == 1 else i for n, i in zip(view.size[:before], index[len(index) - before :], strict=True)]
    skipped = sum(i * step for i, step in zip(mine, view.stride, strict=False)) * view.dtype.itemsize
    return attrs.evolve(view, size=view.size[before:], stride=view.stride[before:], offset=view.offset + skipped)


def _matrix(view: View) -> str:
    (m, n), (down, right) = view.size, view.stride
    if not ((right == 1 and (down >= n or m == 1)) or (down == 1 and (right >= m or n == 1)) or 1 in (m, n)):
        raise NotStraight(f"a matrix of strides {view.stride}")
    return f"Matrix{{reinterpret_cast<double*>({pointer(view)}), {m}, {n}, {down}, {right}}}"


# Fortran's interface of the BLAS and LAPACK that torch is linked with. ``Matrix`` is n x k with strides; a matrix whose ``down``
# is 1 is Fortran's own layout, and one whose ``right`` is 1 is its transpose.
LIBRARY: Final = r"""
#include <algorithm>
#include <utility>
extern "C" {
void dgemv_(const char*, const int*, const int*, const double*, const double*, const int*, const double*, const int*, const double*,
            double*, const int*);
void dgemm_(const char*, const char*, const int*, const int*, const int*, const double*, const double*, const int*, const double*,
            const int*, const double*, double*, const int*);
void dtrsm_(const char*, const char*, const char*, const char*, const int*, const int*, const double*, const double*, const int*,
            double*, const int*);
void dpotrf_(const char*, const int*, double*, const int*, int*);
}
namespace {
struct Matrix {
    double* at;
    int rows, columns, down, right;
    Matrix transposed() const { return {at, columns, rows, right, down}; }
    bool fortran() const { return down == 1 && (columns == 1 || right >= rows); }
    int leading() const { return std::max(1, fortran() ? std::max(right, rows) : std::max(down, columns)); }
    double& operator()(int i, int j) const { return at[int64_t(i) * down + int64_t(j) * right]; }
};
const double one = 1, zero = 0;
void vector_product(Matrix a, const double* x, int step, double* y, int y_step) {
    const int lead = a.leading(), m = a.fortran() ? a.rows : a.columns, n = a.fortran() ? a.columns : a.rows;
    dgemv_(a.fortran() ? "N" : "T", &m, &n, &one, a.at, &lead, x, &step, &zero, y, &y_step);
}
void product(Matrix a, Matrix b, Matrix c) {
    if (c.columns == 1) return vector_product(a, b.at, b.rows == 1 ? 1 : b.down, c.at, c.rows == 1 ? 1 : c.down);
    if (c.rows == 1) return vector_product(b.transposed(), a.at, a.columns == 1 ? 1 : a.right, c.at, c.right);
    if (!c.fortran()) {
        std::swap(a, b);
        a = a.transposed(), b = b.transposed(), c = c.transposed();
    }
    const int lda = a.leading(), ldb = b.leading(), ldc = c.leading();
    dgemm_(a.fortran() ? "N" : "T", b.fortran() ? "N" : "T", &c.rows, &c.columns, &a.columns, &one, a.at, &lda, b.at, &ldb, &zero,
           c.at, &ldc);
}
void solve(Matrix a, Matrix b, Matrix x, bool upper, bool left, bool unit) {
    for (int j = 0; j < b.columns; ++j) for (int i = 0; i < b.rows; ++i) x(i, j) = b(i, j);
    if (!x.fortran()) {
        a = a.transposed(), x = x.transposed();
        upper = !upper, left = !left;
    }
    const int lda = a.leading(), ldx = x.leading();
    const bool plain = a.fortran();
    dtrsm_(left ? "L" : "R", upper == plain ? "U" : "L", plain ? "N" : "T", unit ? "U" : "N", &x.rows, &x.columns, &one, a.at, &lda,
           x.at, &ldx);
}
void cholesky(Matrix a, Matrix factor, int* info) {
    const int n = a.rows, lead = factor.leading();
    for (int j = 0; j < n; ++j) for (int i = 0; i < n; ++i) factor(i, j) = i < j ? 0.0 : a(i, j);
    dpotrf_(factor.fortran() ? "L" : "U", &n, factor.at, &lead, info);
}
}
"""
