"""Products, factors and solves, one for each matrix of a batch: loops if all are small, or calls of BLAS and LAPACK.

Those want one of the two strides to be 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
from torch.fx import Node

from interpreters.kernels.arithmetic import dtype_of
from interpreters.kernels.arrays import Array, unsqueeze
from interpreters.kernels.graphs import NotStraight
from interpreters.kernels.parts import flat
from interpreters.kernels.small_matrices import is_small, small_matrix
from interpreters.kernels.writer import Operation, Writer


def product(writer: Writer, node: Node, left: Array, right: Array) -> Array:
    found = writer.result(node)
    _each(writer, node, "{0}_product({1}, {2}, {3});", left, right, found)
    return found


def cholesky(writer: Writer, node: Node, array: Array, *, upper: bool = False, check_errors: bool = False) -> tuple[Array, Array]:
    """The factor, and a number that is not 0 where there is none, as torch gives them."""
    if upper or check_errors:
        raise NotStraight("an upper Cholesky factor")
    factor, failed = writer.new(f"{node.name}_0", array.size), writer.new(f"{node.name}_1", array.size[:-2])
    _each(writer, node, "{3} = {0}_cholesky({1}, {2});", array, factor, number=failed)
    return factor, failed


def solution(
    writer: Writer, node: Node, matrix: Array, right: Array, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Array:
    """Of a triangular system."""
    found = writer.result(node)
    options = f"{int(upper)}, {int(left)}, {int(unitriangular)}"
    _each(writer, node, f"{{0}}_solve<{options}>({{1}}, {{2}}, {{3}});", matrix, right, found)
    return found


def lu_factor(writer: Writer, node: Node, array: Array, *, pivot: bool = True, check_errors: bool = False) -> tuple[Array, Array, Array]:
    """Both factors in one array, which row was exchanged with which, counted from 1, and a number that is not 0 for a singular matrix."""
    *batch, n, columns = array.size
    if n != columns or not pivot or check_errors:
        raise NotStraight(f"no C++ for {node.target} of {n} x {columns} {dict(node.kwargs)}")
    factors, pivots, failed = (writer.new(f"{node.name}_{i}", size) for i, size in enumerate([array.size, (*batch, n), tuple(batch)]))
    _each(writer, node, "{4} = {0}_lu({1}, {2}, {3});", array, factors, unsqueeze(pivots, -2), number=failed)
    return factors, pivots, failed


def lu_solution(
    writer: Writer, node: Node, factors: Array, pivots: Array, right: Array, *, left: bool = True, adjoint: bool = False
) -> Array:
    found = writer.result(node)
    statement = f"{{0}}_lu_solve<{int(left)}, {int(adjoint)}>({{1}}, {{2}}, {{3}}, {{4}});"
    _each(writer, node, statement, factors, unsqueeze(pivots, -2), right, found)
    return found


def _each(writer: Writer, node: Node, statement: str, *matrices: Array, number: Array | None = None) -> None:
    """``statement`` of each of a batch; batches broadcast."""
    if {dtype_of(arg) for arg in node.all_input_nodes} - {torch.float64, torch.int32, None}:  # pivots are int32
        raise NotStraight(f"{node.target} in single precision")
    library, text = ("small", small_matrix) if is_small(*matrices) else ("blas", _matrix)
    matrices = tuple(_addressable(writer, f"{node.name}_operand_{i}", array, library) for i, array in enumerate(matrices))
    batch = np.broadcast_shapes(*(array.size[:-2] for array in matrices))
    index = [f"b{d}" for d in range(len(batch))]
    texts = [text(array, index) for array in matrices] + ([number.at(index)] if number else [])
    loops = " ".join(f"for (int b{d} = 0; b{d} < {n}; ++b{d})" for d, n in enumerate(batch))
    writer.lines.append(f"{loops} {statement.format(library, *texts)}".strip())
    writer.shared.libraries.add(library)


def _addressable(writer: Writer, name: str, array: Array, library: str) -> Array:
    """``array`` where it can be read: in memory, and by BLAS one column or one row after the other."""
    if array.is_number:
        return flat(writer, name, array)
    (m, n), (down, right) = array.size[-2:], _strides(array)
    fits = library == "small" or (right == 1 and down >= n) or (down == 1 and right >= m)
    return array if fits else flat(writer, name, array)


def _matrix(array: Array, batch: Sequence[str]) -> str:
    place = array.at([*batch[len(batch) - len(array.size) + 2 :], "0", "0"])
    (m, n), (down, right) = array.size[-2:], _strides(array)
    return f"Matrix{{const_cast<double*>(&{place}), {m}, {n}, {down}, {right}}}"


def _strides(array: Array) -> tuple[int, int]:
    """From row to row and from column to column; 1 where there is but one."""
    (m, n), (down, right) = array.size[-2:], array.stride[-2:]
    return (1 if m == 1 else down), (1 if n == 1 else right)


OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(
    {
        "mm": product, "bmm": product, "linalg_cholesky_ex": cholesky, "linalg_solve_triangular": solution,
        "linalg_lu_factor_ex": lu_factor, "linalg_lu_solve": lu_solution,
    }
)  # fmt: skip

# Fortran's interface of the BLAS and LAPACK that torch is linked with. ``Matrix`` is n x k with strides; a matrix whose ``down``
# is 1 is Fortran's own layout, and one whose ``right`` is 1 is its transpose.
LIBRARY: Final = r"""
#include <algorithm>
#include <utility>
#include <vector>
extern "C" {
void dgemv_(const char*, const int*, const int*, const double*, const double*, const int*, const double*, const int*, const double*,
            double*, const int*);
void dgemm_(const char*, const char*, const int*, const int*, const int*, const double*, const double*, const int*, const double*,
            const int*, const double*, double*, const int*);
void dtrsm_(const char*, const char*, const char*, const char*, const int*, const int*, const double*, const double*, const int*,
            double*, const int*);
void dpotrf_(const char*, const int*, double*, const int*, int*);
void dgetrf_(const int*, const int*, double*, const int*, int*, int*);
void dgetrs_(const char*, const int*, const int*, const double*, const int*, const int*, double*, const int*, int*);
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
void blas_product(Matrix a, Matrix b, Matrix c) {
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
template <bool is_upper, bool is_left, bool unit> void blas_solve(Matrix a, Matrix b, Matrix x) {
    bool upper = is_upper, left = is_left;
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
int blas_cholesky(Matrix a, Matrix factor) {
    const int n = a.rows, lead = factor.leading();
    int failed = 0;
    for (int j = 0; j < n; ++j) for (int i = 0; i < n; ++i) factor(i, j) = i < j ? 0.0 : a(i, j);
    dpotrf_(factor.fortran() ? "L" : "U", &n, factor.at, &lead, &failed);
    return failed;
}
struct Fortran {
    std::vector<double> numbers;
    int rows, columns;
    Fortran(Matrix from) : numbers(int64_t(from.rows) * from.columns), rows(from.rows), columns(from.columns) {
        for (int j = 0; j < columns; ++j) for (int i = 0; i < rows; ++i) numbers[int64_t(j) * rows + i] = from(i, j);
    }
    void write(Matrix to) const {
        for (int j = 0; j < columns; ++j) for (int i = 0; i < rows; ++i) to(i, j) = numbers[int64_t(j) * rows + i];
    }
};
int blas_lu(Matrix a, Matrix factors, Matrix pivots) {
    const int n = a.rows;
    int failed = 0;
    Fortran copy(a);
    std::vector<int> exchanged(n);
    dgetrf_(&n, &n, copy.numbers.data(), &n, exchanged.data(), &failed);
    copy.write(factors);
    for (int i = 0; i < n; ++i) pivots(0, i) = exchanged[i];
    return failed;
}
template <bool left, bool adjoint> void blas_lu_solve(Matrix factors, Matrix pivots, Matrix b, Matrix x) {
    if (!left) return blas_lu_solve<true, !adjoint>(factors, pivots, b.transposed(), x.transposed());
    const int n = factors.rows;
    int failed = 0;
    Fortran copy(factors), right(b);
    std::vector<int> exchanged(n);
    for (int i = 0; i < n; ++i) exchanged[i] = int(pivots(0, i));
    dgetrs_(adjoint ? "T" : "N", &n, &right.columns, copy.numbers.data(), &n, exchanged.data(), right.numbers.data(), &n, &failed);
    right.write(x);
}
}
"""
