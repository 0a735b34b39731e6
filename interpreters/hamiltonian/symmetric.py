"""Symmetric matrices in compiled loops: what the dense metric needs of linear algebra, in place and without allocation.

numba would call LAPACK through scipy, which allocates; these matrices are small, and few.

Source of the eigenvalues: Golub and Van Loan, "Matrix Computations" (2013), section 8.5, Jacobi's method, cyclic by row.
"""

from __future__ import annotations

import math
from typing import Any, Final

from interpreters.hamiltonian.jit import jitable

_SWEEPS: Final = 30  # four to seven are enough; of numbers that are not finite, none
_NEGLIGIBLE: Final = 1e-26  # squared, relative to the diagonal


@jitable
def cholesky(matrix: Any, factor: Any) -> bool:
    """Writes the lower Cholesky factor; False, with ``factor`` half written, if the matrix is not positive definite.

    Only the lower triangle is read and written. Both may be the same array.
    """
    for i in range(len(matrix)):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i == j and not total > 0.0:
                return False
            factor[i, j] = math.sqrt(total) if i == j else total / factor[j, j]
    return True


@jitable
def congruent(matrix: Any, lower: Any) -> None:
    """Replaces ``matrix`` by L' matrix L, where L is the lower triangle of ``lower``."""
    n = len(matrix)
    for i in range(n):
        for j in range(n):
            total = 0.0
            for k in range(j, n):
                total += matrix[i, k] * lower[k, j]
            matrix[i, j] = total
    for i in range(n):
        for j in range(n):
            total = 0.0
            for k in range(i, n):
                total += lower[k, i] * matrix[k, j]
            matrix[i, j] = total


@jitable
def eigen(matrix: Any, vectors: Any) -> None:
    """Leaves the eigenvalues on the diagonal of ``matrix``, and in the columns of ``vectors`` the eigenvectors."""
    n = len(matrix)
    for i in range(n):
        for j in range(n):
            vectors[i, j] = 1.0 if i == j else 0.0
    for _ in range(_SWEEPS):
        off = on = 0.0
        for i in range(n):
            on += matrix[i, i] ** 2
            for j in range(i):
                off += matrix[i, j] ** 2
        if not off > _NEGLIGIBLE * on:
            return
        for p in range(n - 1):
            for q in range(p + 1, n):
                if matrix[p, q] != 0.0:
                    rotate(matrix, vectors, p, q)


@jitable
def rotate(matrix: Any, vectors: Any, p: int, q: int) -> None:
    """The rotation of coordinates p and q that makes matrix[p, q] zero."""
    tau = (matrix[q, q] - matrix[p, p]) / (2.0 * matrix[p, q])
    tangent = (1.0 if tau >= 0.0 else -1.0) / (abs(tau) + math.sqrt(1.0 + tau * tau))
    cosine = 1.0 / math.sqrt(1.0 + tangent * tangent)
    sine = tangent * cosine
    for k in range(len(matrix)):
        a, b = matrix[p, k], matrix[q, k]
        matrix[p, k], matrix[q, k] = cosine * a - sine * b, sine * a + cosine * b
    for k in range(len(matrix)):
        a, b = matrix[k, p], matrix[k, q]
        matrix[k, p], matrix[k, q] = cosine * a - sine * b, sine * a + cosine * b
        a, b = vectors[k, p], vectors[k, q]
        vectors[k, p], vectors[k, q] = cosine * a - sine * b, sine * a + cosine * b


@jitable
def solve_transposed(lower: Any, columns: Any) -> None:
    """Replaces each column c by the solution x of L' x = c."""
    n = len(lower)
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            for j in range(n):
                columns[i, j] -= lower[k, i] * columns[k, j]
        for j in range(n):
            columns[i, j] /= lower[i, i]


@jitable
def outer_square(columns: Any, to: Any) -> None:
    """Writes ``columns`` times its transpose."""
    n = len(columns)
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for k in range(n):
                total += columns[i, k] * columns[j, k]
            to[i, j] = to[j, i] = total
