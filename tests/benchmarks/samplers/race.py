"""Runs of samplers, and what is made of them."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Mapping
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from interpreters.results.extras import extra
from tests.benchmarks.samplers.contestants import Make, Sampler, Size

SAME: Final = 5.0  # standard errors, which of a few hundred true numbers none exceeds


@attrs.frozen
class Run:
    """One run of one sampler. ``wall`` and ``cpu`` in seconds, warmup included; ``ess``: the smallest bulk ESS of all parameters.

    means: of each parameter the posterior mean and its Monte Carlo standard error.
    """

    wall: float
    cpu: float
    ess: float
    leapfrogs: int
    means: Mapping[str, tuple[float, float]]


@attrs.frozen
class Score:
    """Of several runs with different seeds, the medians."""

    runs: tuple[Run, ...]

    def per_second(self, clock: str) -> float:
        return statistics.median(run.ess / getattr(run, clock) for run in self.runs)

    @property
    def ess(self) -> float:
        return statistics.median(run.ess for run in self.runs)

    @property
    def leapfrogs(self) -> float:
        return statistics.median(run.leapfrogs for run in self.runs)

    @property
    def per_leapfrog(self) -> float:
        """Microseconds of the process's clock, the best: whatever disturbs makes it longer."""
        return min(run.cpu / run.leapfrogs for run in self.runs) * 1e6

    def mean(self, name: str) -> tuple[float, float]:
        """Of a parameter over all runs, with its standard error."""
        means, errors = zip(*(run.means[name] for run in self.runs), strict=True)
        return statistics.fmean(means), math.hypot(*errors) / len(errors)

    def distance(self, other: Score) -> float:
        """The largest difference of two means of the same parameter, in standard errors."""
        pairs = [(self.mean(name), other.mean(name)) for name in self.runs[0].means]
        return max(abs(ours - theirs) / math.hypot(error, their_error) for (ours, error), (theirs, their_error) in pairs)


@attrs.frozen(eq=False)
class Compiled:
    """A sampler made for a posterior, and the seconds that took."""

    sampler: Sampler
    seconds: float

    @classmethod
    def of(cls, make: Make, problem: str, size: Size) -> Compiled:
        begun = time.perf_counter()
        return cls(make(problem, size), time.perf_counter() - begun)


@attrs.frozen(eq=False)
class Timed:
    """What came of one run: ``values`` [chains, draws, parameters], constrained."""

    wall: float
    cpu: float
    leapfrogs: int
    names: list[str]
    values: npt.NDArray[np.float64]

    def judged(self) -> Run:
        sizes = effective_sizes(self.values)
        errors = self.values.std(axis=(0, 1)) / np.sqrt(np.maximum(sizes, 1.0))
        means = zip(self.values.mean(axis=(0, 1)).tolist(), errors.tolist(), strict=True)
        return Run(self.wall, self.cpu, float(sizes.min()), self.leapfrogs, dict(zip(self.names, means, strict=True)))


def timed(sampler: Sampler, seed: int, num_chains: int) -> Timed:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    sampled = sampler.run(seed, num_chains)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    drawn = sampled()
    return Timed(wall, cpu, drawn.leapfrogs, *drawn.columns)


def effective_sizes(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The bulk ESS (Vehtari et al. 2021) of all parameters, pooled over chains; 0 if one did not move."""
    ess: Any = extra("arviz").ess
    sizes = np.array([float(ess(np.ascontiguousarray(column))) for column in np.moveaxis(values, -1, 0)])
    return np.where(np.isfinite(sizes), sizes, 0.0)
