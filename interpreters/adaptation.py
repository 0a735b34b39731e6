"""Adaptation of the step size and of the metric: formulas, the same for a compiled loop over numbers and for tensors.

Step size: dual averaging of its logarithm towards a target acceptance (Hoffman and Gelman 2014, section 3.2, eq. 6; Nesterov
2009), with their constants.

Metric: its inverse stands for the covariance of the posterior.

- Diagonal: of coordinate i, sqrt(var(draws_i) / var(gradients_i)). For independent normal coordinates that is exact from two
  draws on, since a gradient is then the draw over its variance. Two estimates run: when the younger has seen enough draws it
  becomes the elder, which is in use, and a new one begins; so what was seen early is forgotten. As nuts-rs does it
  (Seyboldt, Carlson and Carpenter, "Preconditioning Hamiltonian Monte Carlo by minimizing Fisher divergence", 2026,
  arXiv:2603.18845, the diagonal case).
- Dense: in coordinates scaled so, the matrix S that carries the gradients' covariance G into the draws' covariance C,
  S G S = C, which for a normal posterior is its covariance, exact from dim + 1 draws on. Only directions in which it differs from
  the identity by more than ``CUTOFF`` are kept, so that noise adds nothing, and without strong correlations it is the diagonal
  metric again. So it is with "auto" where the posterior is far from normal: see ``is_even``. It is renewed at the ends of windows, each
  half as long as all that came before. (The same source, the full and the low-rank case; the solution S is the geometric mean of C
  and the inverse of G: Bhatia, "Positive Definite Matrices", ch. 4.)

Positions are unconstrained; a gradient is that of the log density, in nats.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from interpreters.hamiltonian.jit import jitable

WARMUP: Final = 400
"""Draws of warmup unless another number is asked for, as in nuts-rs: learning from gradients, a metric is known in half of the 1000 that Stan takes."""

NEVER: Final = 1 << 62
"""More draws than there will be."""

SHRINKAGE: Final = 10.0  # mu: the log of this many times the step size is what dual averaging shrinks to
_GAMMA: Final = 0.05
_OFFSET: Final = 10.0  # t_0
_FORGET: Final = 0.75  # kappa

CUTOFF: Final = 2.0  # nuts-rs' as well
RIDGE: Final = 1e-5  # added to both covariances, so that where fewer draws than dimensions say nothing, nothing is changed
MOST_DENSE: Final = 32  # dimensions, up to which the metric "auto" may be dense: beyond, its products cost more than many a density
MOST_UNEVEN: Final = 1.6  # see is_even; in windows of 150 draws, regressions have less than 1.5, hierarchical models of much data more

LOWEST: Final = 1e-20
HIGHEST: Final = 1e20


@jitable
def dual_average(error: Any, log_average: Any, count: Any, centre: Any, acceptance: Any, target: Any) -> Any:
    """One update, the ``count``-th, from 1. Returns the new error, the log step size to try, and the new average of it."""
    weight = 1.0 / (count + _OFFSET)
    error = (1.0 - weight) * error + weight * (target - acceptance)
    log_step = centre - error * count**0.5 / _GAMMA
    forgetting = count**-_FORGET
    return error, log_step, forgetting * log_step + (1.0 - forgetting) * log_average


@jitable
def welford(mean: Any, scatter: Any, count: Any, value: Any) -> Any:
    """The mean and the sum of squared deviations after ``value``, the ``count``-th, from 1 (Welford 1962)."""
    delta = value - mean
    mean = mean + delta / count
    return mean, scatter + delta * (value - mean)


@jitable
def scale_of(draws: Any, gradients: Any) -> Any:
    """A diagonal entry of the inverse metric from the two sums of squared deviations. It may come out as nan or infinite."""
    return (draws / gradients) ** 0.5


@jitable
def is_scale(value: Any) -> Any:
    """Whether it can be an entry of the inverse metric; where not, the one before stays."""
    return (value > LOWEST) & (value < HIGHEST)


@jitable
def is_kept(eigenvalue: Any) -> Any:
    """Whether a direction of the dense metric is kept; not of a nan."""
    return (eigenvalue > CUTOFF) | (eigenvalue < 1.0 / CUTOFF)


@jitable
def is_even(largest: Any, dim: Any, count: Any, most: Any) -> Any:
    """Whether one matrix suits the whole posterior; ``largest`` is that eigenvalue of S G, where S is the matrix and G the gradients' covariance.

    Of a normal posterior they all are 1, but for the noise of ``count`` draws, by which the largest is (1 + sqrt(dim / count))^2
    (Marchenko and Pastur 1967). Where the curvature varies, gradients are larger than S has it, and with the long steps that S allows a
    sampler diverges where the curvature is greatest; the diagonal metric's steps are as short as that needs.
    """
    return largest <= most * (1.0 + (dim / count) ** 0.5) ** 2


@jitable
def is_good(place: Any, diverging: Any) -> Any:
    """Whether the metric should learn from a draw: one that moved, and did not only just start when the trajectory diverged."""
    return (abs(place) > 4) | ((place != 0) & (diverging == 0))


def diagonal_schedule(num_warmup: int) -> npt.NDArray[np.int64]:
    """For each warmup draw, how many draws the younger estimate must have seen to take over; 0 where nothing is estimated.

    10 in the first 30 % and 80 later, as long as as many draws are left; the last 15 % are for the step size alone.
    """
    draws = np.arange(num_warmup)
    return _until_the_end(draws, np.where(draws < int(0.3 * num_warmup), 10, 80))


def dense_schedule(num_warmup: int) -> npt.NDArray[np.int64]:
    """The same for the dense metric: a third of the draws so far, at least 10; and the last that is learned from ends a window.

    For a matrix takes longer to know than its diagonal, and is renewed only when a window ends.
    """
    draws = np.arange(num_warmup)
    schedule = _until_the_end(draws, np.maximum(10, draws // 3))
    learning = np.flatnonzero(schedule)
    schedule[learning[-1:]] = 1
    return schedule


def _until_the_end(draws: npt.NDArray[np.int64], enough: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    end = len(draws) - int(0.15 * len(draws))
    schedule = np.where(draws + enough > end, NEVER, enough)
    return np.where(draws < end, schedule, 0).astype(np.int64)
