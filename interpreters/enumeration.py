"""Exact enumeration: every trace of a program whose choices are finite.

1. Generators cannot be copied, so a run is forked by replay: a path is the choices so far; to go on, the program is run again and
   follows them. At the next choice each value makes a longer path.
2. Which path comes next is the strategy's: "depth" (the youngest; keeps the fewest), "breadth" (the shortest) or "best" (the most
   probable, so that a budget is spent where the mass is). A run goes on for as long as it is on that path, and is left there
   where another one is better.
3. Each path that comes to its end is a trace of its own; no two are the same, and together they are all that there is.
4. What a budget leaves is known: ``uncovered`` is the probability of all paths that still wait. A path that gets too long for a budget is
   left, too: depth first, a program of unbounded length might never come to an end.
5. What ``block`` hides is in no trace. Hidden choices are made all the same: each makes a path, of its probability.

It runs algorithms, too, since their draws are messages: the expectation of an algorithm's output over its own randomness,
without a tolerance.

Sources: Goodman and Stuhlmüller, "The design and implementation of probabilistic programming languages" (2014), chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, Generic, TypeVar

import attrs
import torch

from interpreters.exact_posterior import Exact
from interpreters.paths.frontier import Frontier, Strategy, check_bound
from interpreters.paths.walk import Elsewhere, Walk
from interpreters.replies import with_own_value
from interpreters.weighted.scores import score as weight
from poutine import (
    Choice,
    Coroutine,
    Handling,
    Message,
    ParamStore,
    Program,
    Rule,
    Sample,
    Trace,
    TracePoutine,
    answer,
    as_program,
)

T = TypeVar("T")
_LONGEST: Final = 1_000  # choices of a path, where there is a budget


@attrs.frozen(eq=False)
class Leaf(Generic[T]):
    """One complete run: what the program returned, and the log probability (nats) of the choices that led there.

    Observations, factors, scales and masks do not count in it: for a model's density, enumerate its traces.
    ``log_prob_hidden`` is the part of it that is of choices that ``block`` hides, which are in no trace.
    """

    value: T
    log_prob: float
    choices: tuple[tuple[str, torch.Tensor], ...]
    log_prob_hidden: float = 0.0


class Enumeration(Generic[T]):
    """Iterate over it for the leaves of ``program``, in the order of ``strategy``.

    longest:  the most choices of a run; those that make more are left. None is for as many as there are.

    ``uncovered`` is the probability of what has not been run to its end: 1 before the first leaf and, if nothing is left, 0 after the
    last. It is right after an interruption, too, and the iteration can go on.
    Raises ``NotFinite`` at a site that is continuous, or whose support is infinite, ``DistributionError`` where a probability is nan.
    """

    def __init__(
        self,
        program: Program[T] | Callable[..., Any],
        strategy: Strategy = "depth",
        params: ParamStore | None = None,
        *,
        longest: int | None = None,
    ) -> None:
        self._program = as_program(program)
        self._params = ParamStore() if params is None else params
        self._frontier = Frontier(strategy, longest)

    @property
    def uncovered(self) -> float:
        return math.fsum(math.exp(path.log_prob) for path in self._frontier)

    def __iter__(self) -> Iterator[Leaf[T]]:
        return self

    def __next__(self) -> Leaf[T]:
        while (path := self._frontier.pop()) is not None:
            walk = Walk(path, self._frontier)
            try:
                value = answer(self._program, walk.answers(self._params))
                walk.end()
            except Elsewhere:
                continue
            except BaseException:
                self._frontier.push([walk.path])
                raise
            return Leaf(value, walk.path.log_prob, tuple(walk.chosen), walk.hidden)
        raise StopIteration


def exact(
    program: Program[Any] | Callable[..., Any],
    strategy: Strategy = "depth",
    budget: int | None = None,
    params: ParamStore | None = None,
    *,
    longest: int | None = None,
) -> Exact:
    """Enumerates the traces of ``program``.

    budget:   the most traces.
    longest:  the most choices of one trace; a run that makes more is left. By default 1,000 with a budget; without one there is no bound.

    **Law**: the sum of ``exp(log_densities)`` over all traces is the normaliser, whatever the strategy. (A subsample's scale makes a power
    of each of these terms. Where it has discrete sites of its own, ``eliminate`` takes the power of the sum, for which the plate stands.)
    Raises ``NotFinite`` at a continuous site or an infinite support, ``StructureChanged`` if the program asks for something else after the
    same choices, or for the same with other probabilities (a generator or a counter that it keeps outside), ``DistributionError`` where a probability is nan or an
    observation is outside of its support in all traces, and what the program raises.
    """
    check_bound("budget", budget, 0)
    longest = _LONGEST if longest is None and budget is not None else longest
    whole = as_program(program)
    leaves: Enumeration[tuple[Trace, float]] = Enumeration(Program(_scored, whole), strategy, params, longest=longest)
    found = list(islice(leaves, budget))
    densities = torch.tensor([leaf.value[1] + leaf.log_prob_hidden for leaf in found], dtype=torch.float64)
    priors = torch.tensor([leaf.log_prob for leaf in found], dtype=torch.float64)
    if not leaves.uncovered and bool((densities == -math.inf).all()):
        for leaf in found:
            leaf.value[0].log_pdf()  # which says so, if it is an observation that nothing can explain
    return Exact(tuple(leaf.value[0] for leaf in found), densities, leaves.uncovered, priors)


def _scored(program: Program[Any]) -> Coroutine[tuple[Trace, float]]:
    """The trace of ``program`` and its log density. Sites are scored, and their values copied, before the program goes on: it may change
    in place what it draws, or what a distribution is made of.
    """
    densities: list[float] = []

    def score(site: Choice) -> Message:
        densities.append(weight(site).sum().item())
        return with_own_value(site) if isinstance(site, Sample) else site

    def scored(*args: Any, **kwargs: Any) -> Coroutine[Any]:
        return (yield Handling(Program(program.fn, *args, **kwargs), {Choice: Rule(down=score)}))

    trace = yield from TracePoutine(scored).traced(*program.args, **program.kwargs)
    return trace, math.fsum(densities)
