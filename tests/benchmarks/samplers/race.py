"""Rounds of samplers on one posterior, in turn, and what is made of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np

from interpreters.results.extras import extra
from tests.benchmarks.samplers.contestants import Drawn, Make, Sampler


@attrs.frozen
class Run:
    """One run of one sampler. ``wall`` and ``cpu`` in seconds, warmup included; ``ess``: the smallest bulk ESS of all parameters."""

    wall: float
    cpu: float
    ess: float
    leapfrogs: int


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


@attrs.frozen(eq=False)
class Compiled:
    """A sampler made for a posterior, and the seconds that took."""

    sampler: Sampler
    seconds: float

    @classmethod
    def of(cls, make: Make, problem: str) -> Compiled:
        begun = time.perf_counter()
        return cls(make(problem), time.perf_counter() - begun)


def race(samplers: Mapping[str, Sampler], seeds: Iterable[int], num_chains: int) -> dict[str, Score]:
    """Each sampler in turn with each seed, so that a machine that slows down hits all."""
    runs: dict[str, list[Run]] = {name: [] for name in samplers}
    for seed in seeds:
        for name, sampler in samplers.items():
            runs[name].append(timed(sampler, seed, num_chains))
    return {name: Score(tuple(timings)) for name, timings in runs.items()}


def timed(sampler: Sampler, seed: int, num_chains: int) -> Run:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    sampled = sampler.run(seed, num_chains)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    drawn = sampled()
    return Run(wall, cpu, smallest_ess(drawn), drawn.leapfrogs)


def smallest_ess(drawn: Drawn) -> float:
    """The smallest bulk ESS (Vehtari et al. 2021) of all parameters, pooled over chains; 0 if one did not move."""
    ess: Any = extra("arviz").ess
    sizes = [float(ess(np.ascontiguousarray(values))) for values in np.moveaxis(drawn.values, -1, 0)]
    return min(size if np.isfinite(size) else 0.0 for size in sizes)
