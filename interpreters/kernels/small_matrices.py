"""The C++ of products, factors and solves of small matrices: loops whose bounds the compiler knows.

A call of BLAS or LAPACK takes some hundred nanoseconds before it does anything, which is as much as an 11 x 11 factor takes in all.
Each function works on rows of whole vectors, of which what lies beyond the matrix is zero and is never written back.

Source: Golub and Van Loan, "Matrix Computations" (2013), algorithms 3.1.1 to 3.1.4 (substitution, by rows), 3.4.1 (LU by outer products,
partial pivoting) and section 4.2.5 (Cholesky by outer products, on the upper triangle).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from interpreters.kernels.arrays import Array

SMALL: Final = 32  # rows and columns, up to which a matrix is small: beyond, LAPACK's blocks are as fast


def is_small(*arrays: Array) -> bool:
    return all(0 < n <= SMALL for array in arrays for n in array.size[-2:])


def small_matrix(array: Array, batch: Sequence[str]) -> str:
    """One of a batch, in C++: any strides will do."""
    index = [*batch[len(batch) - len(array.size) + 2 :], "0", "0"]
    (m, n), (down, right) = array.size[-2:], array.stride[-2:]
    return f"Small<{m}, {n}, {down}, {right}>{{const_cast<double*>(&{array.at(index)})}}"


LIBRARY: Final = r"""
namespace {
template <int Rows, int Columns, int Down, int Right> struct Small {
    static constexpr int rows = Rows, columns = Columns, right = Right;
    double* at;
    double& operator()(int i, int j) const { return at[i * Down + j * Right]; }
    Small<Columns, Rows, Right, Down> transposed() const { return {at}; }
};
typedef double Eight __attribute__((vector_size(64)));
template <int Columns> struct alignas(64) Row {
    static constexpr int count = (Columns + 7) / 8;
    Eight at[count];
    double& operator[](int j) { return reinterpret_cast<double*>(at)[j]; }
    double operator[](int j) const { return reinterpret_cast<const double*>(at)[j]; }
    void zero() {
        _Pragma("GCC unroll 4") for (int v = 0; v < count; ++v) at[v] = Eight{};
    }
    void add(double factor, const Row& other) {
        _Pragma("GCC unroll 4") for (int v = 0; v < count; ++v) at[v] += factor * other.at[v];
    }
    void scale(double factor) {
        _Pragma("GCC unroll 4") for (int v = 0; v < count; ++v) at[v] *= factor;
    }
    void divide(double by) {
        _Pragma("GCC unroll 4") for (int v = 0; v < count; ++v) at[v] /= by;
    }
};
template <> struct Row<1> {
    double at;
    double& operator[](int) { return at; }
    double operator[](int) const { return at; }
    void zero() { at = 0; }
    void add(double factor, const Row& other) { at += factor * other.at; }
    void scale(double factor) { at *= factor; }
};
template <class Matrix> void read(Matrix from, Row<Matrix::columns>* rows) {
    for (int i = 0; i < Matrix::rows; ++i) {
        rows[i].zero();
        if constexpr (Matrix::right == 1) __builtin_memcpy(&rows[i], &from(i, 0), sizeof(double) * Matrix::columns);
        else for (int j = 0; j < Matrix::columns; ++j) rows[i][j] = from(i, j);
    }
}
template <class Matrix> void write(const Row<Matrix::columns>& row, Matrix to, int i) {
    if constexpr (Matrix::right == 1) __builtin_memcpy(&to(i, 0), &row, sizeof(double) * Matrix::columns);
    else for (int j = 0; j < Matrix::columns; ++j) to(i, j) = row[j];
}
template <class A, class B, class C> void small_product(A a, B b, C c) {
    Row<B::columns> rows[B::rows];
    read(b, rows);
    for (int i = 0; i < A::rows; ++i) {
        Row<B::columns> sum;
        sum.zero();
        for (int k = 0; k < A::columns; ++k) sum.add(a(i, k), rows[k]);
        write(sum, c, i);
    }
}
template <bool upper, bool left, bool unit, class A, class B, class X> void small_solve(A a, B b, X x) {
    if constexpr (!left) {
        small_solve<!upper, true, unit>(a.transposed(), b.transposed(), x.transposed());
    } else {
        constexpr int n = A::rows;
        Row<B::columns> rows[n];
        double inverse[n];
        read(b, rows);
        for (int i = 0; i < n; ++i) inverse[i] = unit ? 1.0 : 1.0 / a(i, i);
        for (int s = 0; s < n; ++s) {
            const int i = upper ? n - 1 - s : s;
            Row<B::columns> row = rows[i];
            for (int t = 0; t < s; ++t) {
                const int k = upper ? n - 1 - t : t;
                row.add(-a(i, k), rows[k]);
            }
            row.scale(inverse[i]);
            rows[i] = row;
        }
        for (int i = 0; i < n; ++i) write(rows[i], x, i);
    }
}
template <class A, class L> int small_cholesky(A a, L factor) {
    constexpr int n = A::rows;
    Row<n == 1 ? 2 : n> rows[n];  // of the transposed factor
    for (int i = 0; i < n; ++i) {
        rows[i].zero();
        for (int j = i; j < n; ++j) rows[i][j] = a(j, i);
    }
    int failed = 0;
    for (int k = 0; k < n && !failed; ++k) {
        const double pivot = rows[k][k];
        if (!(pivot > 0)) failed = k + 1;
        rows[k].divide(std::sqrt(pivot));
        for (int i = k + 1; i < n; ++i) rows[i].add(-rows[k][i], rows[k]);
    }
    for (int i = 0; i < n; ++i) for (int j = 0; j < n; ++j) factor(i, j) = j > i ? 0.0 : rows[j][i];
    return failed;
}
template <class A, class F, class P> int small_lu(A a, F factors, P pivots) {
    constexpr int n = A::rows;
    Row<n == 1 ? 2 : n> rows[n];
    double lower[n][n];
    int failed = 0;
    for (int i = 0; i < n; ++i) {
        rows[i].zero();
        for (int j = 0; j < n; ++j) rows[i][j] = a(i, j);
    }
    for (int k = 0; k < n; ++k) {
        int best = k;
        for (int i = k + 1; i < n; ++i) if (std::abs(rows[i][k]) > std::abs(rows[best][k])) best = i;
        pivots(0, k) = best + 1;
        if (best != k) {
            const auto row = rows[k];
            rows[k] = rows[best], rows[best] = row;
            for (int j = 0; j < k; ++j) {
                const double number = lower[k][j];
                lower[k][j] = lower[best][j], lower[best][j] = number;
            }
        }
        const double pivot = rows[k][k];
        if (pivot == 0 && !failed) failed = k + 1;
        for (int i = k + 1; i < n; ++i) {
            lower[i][k] = pivot == 0 ? 0.0 : rows[i][k] / pivot;
            rows[i].add(-lower[i][k], rows[k]);  // what this leaves to the left of the diagonal is not read
        }
    }
    for (int i = 0; i < n; ++i) for (int j = 0; j < n; ++j) factors(i, j) = j < i ? lower[i][j] : rows[i][j];
    return failed;
}
template <bool left, bool adjoint, class F, class P, class B, class X> void small_lu_solve(F factors, P pivots, B b, X x) {
    if constexpr (!left) {
        small_lu_solve<true, !adjoint>(factors, pivots, b.transposed(), x.transposed());
    } else {
        constexpr int n = F::rows;
        for (int i = 0; i < n; ++i) for (int j = 0; j < B::columns; ++j) x(i, j) = b(i, j);
        const auto exchange = [&](int i) {
            const int other = int(pivots(0, i)) - 1;
            for (int j = 0; other != i && j < B::columns; ++j) {
                const double number = x(i, j);
                x(i, j) = x(other, j), x(other, j) = number;
            }
        };
        if constexpr (adjoint) {
            small_solve<false, true, false>(factors.transposed(), x, x);
            small_solve<true, true, true>(factors.transposed(), x, x);
            for (int i = n - 1; i >= 0; --i) exchange(i);
        } else {
            for (int i = 0; i < n; ++i) exchange(i);
            small_solve<false, true, true>(factors, x, x);
            small_solve<true, true, false>(factors, x, x);
        }
    }
}
}
"""
