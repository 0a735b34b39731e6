"""Many particles in one run (``vmapped``): whether a program can, and how many at once.

A program is tried with two particles. What vmap refuses, it refuses there or, on a branch that is rarer, in a whole batch. The trial
draws in a run of its own: it is no part of any algorithm, and decides only how one is run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any, Final

import attrs
import torch
from torch.utils._pytree import tree_leaves

from interpreters.errors import NotVectorizable
from interpreters.numeric import is_numeric
from interpreters.vmapped import vmapped
from interpreters.weighted.generators import generators_of, states
from interpreters.weighted.masked import masked_complaint
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
    """Finds out how to weigh many particles at once. What else a particle shows that runs alone is told in the log: masked latent sites.

    Raises ``NotVectorizable``, and what that particle raises.
    """
    alone: Weighted = run(Program(weighted, program, guide), seed, params)
    complaint = masked_complaint(program, alone, seed=seed, params=params)
    if complaint is not None:
        logging.getLogger(__name__).warning("%s", complaint)
    try_two(lambda _: Program(weighed, program, guide), seed=seed, params=params)
    return Vectorization(alone.trace, batch_size(alone.trace))


def weighed(program: Program[Any], guide: Program[Any] | None) -> Coroutine[tuple[Mapping[str, torch.Tensor], torch.Tensor]]:
    """What a particle draws and computes, and its log weight."""
    particle: Weighted = yield from weighted(program, guide)
    return particle.draws, particle.log_weight


def try_two(make: Callable[[Row], Program[Any]], given: Row | None = None, *, seed: int = 0, params: ParamStore | None = None) -> None:
    """Runs ``make(row)`` for two particles, twice. Raises ``NotVectorizable`` whatever it raises, and if it draws behind vmap's back.

    What takes long at once is told in the log, a line each. That it draws is seen if a generator of numpy or ``random`` has moved, a global one or one that the program refers to, and if the second time it
    computes other values from the same draws. It is not seen of a rare draw, or of one with few values, from any other source.
    """
    generators = generators_of(make)
    before = states(generators)
    slow: dict[str, None] = {}
    try:
        outcomes: list[Any] = [run(Program(vmapped, make, 2, given, slow.setdefault), seed, params) for _ in range(2)]
    except NotVectorizable:
        raise
    except Exception as error:
        raise NotVectorizable(f"run for two particles at once, it raises {type(error).__name__}: {error}") from error
    if states(generators) != before:
        raise NotVectorizable(
            "it draws from a generator of numpy or random, where all particles at once would share a draw; make it a site"
        )
    if not _is_the_same(*outcomes):
        raise NotVectorizable(
            "run twice with the same draws, it computes different values, which all particles at once would share: "
            "make a site of what is random, and keep nothing from run to run"
        )
    for text in slow:
        logging.getLogger(__name__).warning("%s", text)


def _is_the_same(first: Any, second: Any) -> bool:
    """But for rounding."""
    tensors = ([leaf for leaf in tree_leaves(each) if isinstance(leaf, torch.Tensor)] for each in (first, second))
    pairs = zip_longest(*tensors, fillvalue=torch.empty(0))
    return all(one.shape == other.shape and torch.allclose(one, other, equal_nan=True) for one, other in pairs)


def batch_size(trace: Trace) -> int:
    """How many particles like this one to run at once."""
    sites = (site for site in trace.nodes.values() if isinstance(site, (Choice, Deterministic)) and is_numeric(site.value))
    return max(1, _ELEMENTS // max(1, sum(torch.as_tensor(site.value).numel() for site in sites)))
