"""Adaptation of the step size and of the metric: formulas, the same for a compiled loop over numbers and for tensors.

Step size: dual averaging of its logarithm towards a target acceptance (Hoffman and Gelman 2014, section 3.2, eq. 6; Nesterov
2009), with their constants.

Metric: its inverse stands for the covariance of the posterior.

- Diagonal: of coordinate i, sqrt(var(draws_i) / var(gradients_i)). For independent normal coordinates that is exact from two
  draws on, since a gradient is then the draw over its variance. Two estimates run: when the younger has seen enough draws it
  becomes the elder, which is in use, and a new one begins; so what was seen early is forgotten. As nuts-rs does it
  (Seyboldt, Carlson and Carpenter, "Preconditioning Hamiltonian Monte Carlo by minimizing Fisher divergence", 2026,
  arXiv:2603.18845, the diagonal case).
- Dense: the covariance of the draws, shrunk to a multiple of the identity, after windows that double in length (Stan
  Reference Manual, "HMC algorithm parameters"; stan/mcmc/windowed_adaptation.hpp, covar_adaptation.hpp).

Positions are unconstrained; a gradient is that of the log density, in nats.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from interpreters.hamiltonian.jit import jitable

NEVER: Final = 1 << 62
"""More draws than there will be."""

SHRINKAGE: Final = 10.0  # mu: the log of this many times the step size is what dual averaging shrinks to
_GAMMA: Final = 0.05
_OFFSET: Final = 10.0  # t_0
_FORGET: Final = 0.75  # kappa

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
def shrunk(scatter: Any, count: Any, diagonal: Any) -> Any:
    """An entry of the dense inverse metric, of a covariance over ``count`` draws; ``diagonal`` is 1 on it, and 0 off it."""
    return count / (count + 5.0) * scatter / (count - 1.0) + 1e-3 * 5.0 / (count + 5.0) * diagonal


@jitable
def is_good(place: Any, diverging: Any) -> Any:
    """Whether the metric should learn from a draw: one that moved, and did not only just start when the trajectory diverged."""
    return (abs(place) > 4) | ((place != 0) & (diverging == 0))


def diagonal_schedule(num_warmup: int) -> npt.NDArray[np.int64]:
    """For each warmup draw, how many draws the younger estimate must have seen to take over; 0 where nothing is estimated.

    10 in the first 30 % and 80 later, as long as as many draws are left; the last 15 % are for the step size alone.
    """
    end = num_warmup - int(0.15 * num_warmup)
    draws = np.arange(num_warmup)
    enough = np.where(draws < int(0.3 * num_warmup), 10, 80)
    schedule = np.where(draws + enough > end, NEVER, enough)
    return np.where(draws < end, schedule, 0).astype(np.int64)


def dense_schedule(num_warmup: int) -> npt.NDArray[np.int64]:
    """The same for the dense metric, which is computed at the ends of windows only: 1 there.

    75 draws for the step size alone, windows of 25, 50, 100, … draws, of which the last is stretched, and 50 for the step size.
    """
    first, window, last = (75, 25, 50) if num_warmup >= 150 else (int(0.15 * num_warmup), NEVER, int(0.1 * num_warmup))
    schedule = np.zeros(num_warmup, np.int64)
    end = num_warmup - last
    schedule[first:end] = NEVER
    start = first
    while start < end and num_warmup >= 20:
        stop = start + window if start + 3 * window <= end else end
        schedule[stop - 1] = 1
        start, window = stop, 2 * window
    return schedule
