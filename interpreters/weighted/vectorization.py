"""Many particles in one run (``vmapped``): whether a program can, and how many at once.

A program is tried once, with two particles. What vmap refuses, it refuses there or, on a branch that is rarer, in a whole batch. The trial
draws in a run of its own: it is no part of any algorithm, and decides only how one is run.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import numpy
import torch

from interpreters.errors import NotVectorizable
from interpreters.vmapped import vmapped
from interpreters.weighted.particles import is_numeric
from interpreters.weighted.weighing import Weighted, weighted
from poutine import Choice, Coroutine, Deterministic, ParamStore, Program, Trace, run

Row = dict[str, torch.Tensor]

_ELEMENTS: Final = 2**20  # of a batch: large enough that the machinery costs nothing, small enough for any memory


@attrs.frozen(eq=False)
class Vectorization:
    """How a program runs for many particles at once.

    trace:       the model's, of a particle that ran alone.
    batch_size:  how many particles at once, so that memory stays bounded.
    """

    trace: Trace
    batch_size: int

    def batches(self, num_particles: int) -> list[int]:
        """The sizes of the batches: as many as needed, each ``batch_size`` but for the last."""
        full, rest = divmod(num_particles, self.batch_size)
        return [self.batch_size] * full + [rest] * (rest > 0)


def vectorize(
    program: Program[Any], guide: Program[Any] | None = None, *, seed: int = 0, params: ParamStore | None = None
) -> Vectorization:
    """Finds out how to weigh many particles at once. Raises ``NotVectorizable``, and what a particle raises that runs alone."""
    alone: Weighted = run(Program(weighted, program, guide), seed, params)
    try_two(lambda _: Program(weighed, program, guide), seed=seed, params=params)
    return Vectorization(alone.trace, batch_size(alone.trace))


def weighed(program: Program[Any], guide: Program[Any] | None) -> Coroutine[tuple[Mapping[str, torch.Tensor], torch.Tensor]]:
    """What a particle draws and computes, and its log weight."""
    particle: Weighted = yield from weighted(program, guide)
    return particle.draws, particle.log_weight


def try_two(make: Callable[[Row], Program[Any]], given: Row | None = None, *, seed: int = 0, params: ParamStore | None = None) -> None:
    """Runs ``make(row)`` for two particles. Raises ``NotVectorizable`` whatever it raises, and if it draws behind vmap's back."""
    before = _others_generators()
    try:
        run(Program(vmapped, make, 2, given), seed, params)
    except NotVectorizable:
        raise
    except Exception as error:
        raise NotVectorizable(f"run for two particles at once, it raises {type(error).__name__}: {error}") from error
    if _others_generators() != before:
        raise NotVectorizable(
            "it draws from a generator of numpy or random, where all particles at once would share a draw; make it a site"
        )


def _others_generators() -> bytes:
    return pickle.dumps((random.getstate(), numpy.random.get_state()))


def batch_size(trace: Trace) -> int:
    """How many particles like this one to run at once."""
    sites = (site for site in trace.nodes.values() if isinstance(site, (Choice, Deterministic)) and is_numeric(site.value))
    return max(1, _ELEMENTS // max(1, sum(torch.as_tensor(site.value).numel() for site in sites)))
