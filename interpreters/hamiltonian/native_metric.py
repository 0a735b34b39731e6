"""The dense metric of one chain, learned from draws and gradients, compiled. The formulas are told in ``adaptation``."""

from __future__ import annotations

import math
from typing import Any, Final

from interpreters.adaptation import RIDGE, is_even, is_kept, is_scale, scale_of
from interpreters.hamiltonian.jit import jitable
from interpreters.hamiltonian.machine import ELDER, KEPT
from interpreters.hamiltonian.symmetric import cholesky, congruent, eigen, outer_square, solve_transposed

# The second axis of ``Machine.products``
DRAWS: Final = 0
GRADIENTS: Final = 1


@jitable
def learn_products(products: Any, mean: Any, count: int, value: Any) -> None:
    """Adds the ``count``-th value, from 1; ``mean`` is that of the values before it (Welford 1962)."""
    weight = 1.0 - 1.0 / count
    for i in range(len(value)):
        weighted = weight * (value[i] - mean[i])
        for j in range(i + 1):
            products[i, j] += weighted * (value[j] - mean[j])


@jitable
def renew(chain: Any, room: Any, most_uneven: float) -> None:
    """The metric of the elder estimate; diagonal if nothing is kept, or numbers or posterior allow no more. ``room``: [3, dim, dim]."""
    for i in range(len(chain.scale)):
        scale = scale_of(chain.products[0, DRAWS, i, i], chain.products[0, GRADIENTS, i, i])
        if is_scale(scale):
            chain.scale[i] = scale
    whiten(chain, room)
    kept = 0
    largest = geometric_mean(room)
    if largest > 0.0 and is_even(largest, len(chain.scale), chain.counts[ELDER], most_uneven):
        eigen(room[0], room[2])
        kept = compose(chain, room[0], room[2])
        if not (kept > 0 and cholesky(chain.dense, chain.factor)):
            kept = 0
    chain.counts[KEPT] = kept
    if kept == 0:
        be_diagonal(chain)


@jitable
def be_diagonal(chain: Any) -> None:
    """Writes ``scale`` into the dense metric as well: in the batched sampler some chains may be dense, and others not."""
    for i in range(len(chain.dense)):
        for j in range(len(chain.dense)):
            chain.dense[i, j] = chain.factor[i, j] = 0.0
        chain.dense[i, i], chain.factor[i, i] = chain.scale[i], math.sqrt(chain.scale[i])


@jitable
def whiten(chain: Any, room: Any) -> None:
    """The covariances of draws and of gradients, in coordinates in which the diagonal metric is the identity."""
    degrees = chain.counts[ELDER] - 1.0
    for i in range(len(chain.scale)):
        for j in range(i + 1):
            unit, ridge = math.sqrt(chain.scale[i] * chain.scale[j]), RIDGE if i == j else 0.0
            room[0, i, j] = room[0, j, i] = chain.products[0, DRAWS, i, j] / degrees / unit + ridge
            room[1, i, j] = room[1, j, i] = chain.products[0, GRADIENTS, i, j] / degrees * unit + ridge


@jitable
def geometric_mean(room: Any) -> float:
    """From C and G in ``room`` S with S G S = C, in the place of C, and the largest eigenvalue of S G; 0 if they are not positive definite.

    With G = L L', it is S = L'^-1 (L' C L)^(1/2) L^-1; and L' S L = (L' C L)^(1/2) has the eigenvalues of S G.
    """
    mean, lower, vectors = room[0], room[1], room[2]
    if not cholesky(lower, lower):
        return 0.0
    congruent(mean, lower)
    eigen(mean, vectors)
    largest = 0.0
    for k in range(len(mean)):
        if not mean[k, k] > 0.0:
            return 0.0
        largest = max(largest, math.sqrt(mean[k, k]))
        for i in range(len(mean)):
            vectors[i, k] *= mean[k, k] ** 0.25
    solve_transposed(lower, vectors)
    outer_square(vectors, mean)
    return largest


@jitable
def compose(chain: Any, values: Any, vectors: Any) -> int:
    """Writes the metric of the directions that are kept, the identity in all others; how many they are."""
    n, kept = len(chain.scale), 0
    for i in range(n):
        for j in range(n):
            chain.dense[i, j] = 1.0 if i == j else 0.0
    for k in range(n):
        if is_kept(values[k, k]):
            kept += 1
            for i in range(n):
                for j in range(n):
                    chain.dense[i, j] += (values[k, k] - 1.0) * vectors[i, k] * vectors[j, k]
    for i in range(n):
        for j in range(n):
            chain.dense[i, j] *= math.sqrt(chain.scale[i] * chain.scale[j])
    return kept
