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
from collections.abc import Callable, Iterator, Mapping
from heapq import heappop, heappush
from itertools import count, islice
from types import MappingProxyType
from typing import Any, Final, Generic, Literal, TypeVar

import attrs
import torch

from interpreters.errors import NotFinite, StructureChanged
from interpreters.exact_posterior import Exact
from interpreters.finite import check_finite, combined, log_density, values_of
from interpreters.replies import with_own_value
from interpreters.weighted.scores import score as weight
from poutine import (
    Choice,
    Coroutine,
    DistributionError,
    Handling,
    Message,
    ParamStore,
    PoutineError,
    Program,
    Rule,
    Runtime,
    Sample,
    Trace,
    TracePoutine,
    answer,
    as_program,
)
from poutine.trace_graph import is_subsample

T = TypeVar("T")
Strategy = Literal["depth", "breadth", "best"]
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
        self._frontier = _Frontier(strategy, longest)

    @property
    def uncovered(self) -> float:
        return math.fsum(math.exp(path.log_prob) for path in self._frontier)

    def __iter__(self) -> Iterator[Leaf[T]]:
        return self

    def __next__(self) -> Leaf[T]:
        while (path := self._frontier.pop()) is not None:
            walk = _Walk(path, self._frontier)
            try:
                value = answer(self._program, walk.answers(self._params))
                walk.end()
            except _Elsewhere:
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
    _check_bound("budget", budget, 0)
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


def _check_bound(what: str, number: Any, least: int) -> None:
    if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < least):
        raise ValueError(f"expected as {what} an integer of at least {least}, or None for no bound, got {number!r}")


@attrs.frozen(eq=False)
class _Path:
    """A choice after those of ``before``, and where it was made: the site's name and number of values.

    value, own:  what was chosen, which nobody else may have, and the log probability of that.
    length:      of the path, in choices.
    log_prob:    of all of its choices.
    """

    before: _Path | None = None
    site: tuple[str, int] = ("", 0)
    value: torch.Tensor = attrs.field(factory=lambda: torch.zeros(()))
    own: float = 0.0
    log_prob: float = 0.0
    length: int = 0

    def steps(self) -> list[_Path]:
        """The paths to each of the choices, the first one first."""
        found, path = [], self
        while path.before is not None:
            found.append(path)
            path = path.before
        return found[::-1]


class _Frontier:
    """The paths that wait, the strategy's next one first, and those that are left for their length."""

    def __init__(self, strategy: Strategy, longest: int | None) -> None:
        if strategy not in _PRIORITIES:
            raise ValueError(f"expected a strategy out of {', '.join(_PRIORITIES)}, got {strategy!r}")
        _check_bound("longest", longest, 1)
        self._priority = _PRIORITIES[strategy]
        self._longest = math.inf if longest is None else longest
        self._number = count()
        self._heap: list[tuple[float, int, _Path]] = []
        self._left: list[_Path] = []
        self.push([_Path()])

    def push(self, paths: list[_Path]) -> None:
        """Adds paths, leaving out what cannot happen; of equals, the later one is the younger."""
        for path in paths:
            if path.log_prob > -math.inf:
                number = next(self._number)
                heappush(self._heap, (self._priority(path, number), number, path))

    def leaves(self, path: _Path) -> bool:
        """Whether ``path``, at its next choice, is too long to go on; then it is kept apart."""
        if path.length < self._longest:
            return False
        self._left.append(path)
        return True

    def peek(self) -> _Path | None:
        return self._heap[0][2] if self._heap else None

    def pop(self) -> _Path | None:
        return heappop(self._heap)[2] if self._heap else None

    def __iter__(self) -> Iterator[_Path]:
        yield from self._left
        yield from (path for _, _, path in self._heap)


_PRIORITIES: Final[Mapping[str, Callable[[_Path, int], float]]] = MappingProxyType(
    {
        "depth": lambda _, number: -number,
        "breadth": lambda path, _: path.length,
        "best": lambda path, _: -path.log_prob,
    }
)


class _Elsewhere(PoutineError):
    """Another path is better: this run is left where it is."""


class _Walk:
    """Answers along ``path``, and beyond its end with whatever the frontier holds to be next.

    chosen, hidden:  the sites so far and their values; the log probability of those that ``block`` hides.
    """

    def __init__(self, path: _Path, frontier: _Frontier) -> None:
        self.path, self.frontier = path, frontier
        self.chosen: list[tuple[str, torch.Tensor]] = []
        self.hidden = 0.0
        self.here = "", 0  # the site that is being answered, and its number of values
        self._steps = path.steps()

    def end(self) -> None:
        """The program has returned. Raises ``StructureChanged`` if there were more choices in the run before."""
        if len(self.chosen) < len(self._steps):
            raise _changed("the program has ended where", self._steps[len(self.chosen)].site)

    def answers(self, params: ParamStore) -> Runtime:
        answers = Runtime(params=params)
        answers[Sample] = self._choose
        answers.hidden[Sample] = self._choose_hidden
        return answers

    def _choose(self, site: Sample) -> Message:
        return site if site.is_decided else self._next(site)

    def _choose_hidden(self, site: Sample) -> Message:
        if site.is_decided:
            return site
        site = self._next(site)
        self.hidden += self._steps[len(self.chosen) - 1].own
        return site

    def _next(self, site: Sample) -> Sample:
        """The site with its value on the path: a copy, which the program may change in place."""
        self.here, at = (site.name, _number_of_values(site)), len(self.chosen)
        if at == len(self._steps):
            self._fork(site)
        else:
            self._compare(site, self._steps[at])
        value = self._steps[at].value
        self.chosen.append((site.name, value))
        return site.replaced("value", value.clone())

    def _compare(self, site: Sample, before: _Path) -> None:
        """Raises ``StructureChanged`` where the site is another one than it was, or its distribution, but for rounding."""
        if self.here != before.site:
            raise _changed(f"site {self.here[0]!r}, of {self.here[1]} values, is where", before.site)
        now = _log_prob(_alone(site), before.value)
        digits = torch.finfo(now.dtype).eps ** 0.5
        if not math.isclose(now.item(), before.own, rel_tol=digits, abs_tol=digits):
            name, value = site.name, before.value
            raise _changed(f"site {name!r} has the log probability {now.item():.6g} at {value!r} where {before.own:.6g} of", before.site)

    def _fork(self, site: Sample) -> None:
        here = self.path
        if self.frontier.leaves(here):
            raise _Elsewhere
        paths = [
            _Path(here, self.here, value, log_prob, here.log_prob + log_prob, here.length + 1)
            for value, log_prob in _finite(site, self.here[1])
        ]
        self.frontier.push(paths[::-1])  # so that the first value is the youngest
        best = self.frontier.peek()
        if best is None or best.before is not here:
            raise _Elsewhere
        self.path = best
        self._steps.append(best)
        self.frontier.pop()


def _changed(now: str, before: tuple[str, int]) -> StructureChanged:
    name, number = before
    return StructureChanged(
        f"{now} site {name!r}, of {number} values, was after the same choices in another run; what a program asks must depend on its arguments "
        "and on the values that it was sent alone"
    )


def _number_of_values(site: Sample) -> int:
    """For a batch, of all combinations. Raises ``NotFinite``."""
    dist: Any = site.dist
    if is_subsample(site):
        raise NotFinite(
            site.name,
            f"a plate draws which {dist.drawn} of its {dist.size} elements take part: that is an estimate, whose traces are no parts of one sum (the log "
            "density of the index is zero); give the plate its subsample, or condition on the index",
        )
    elements = math.prod(_batch_shape(site))
    return check_finite(site, elements, _OTHERWISE, "make it a sequential plate of smaller sites")


def _batch_shape(site: Sample) -> torch.Size:
    return getattr(site.dist, "batch_shape", torch.Size())


def _finite(site: Sample, number: int) -> list[tuple[torch.Tensor, float]]:
    """All values of a site (for a batch, every combination), and their log probabilities."""
    dist: Any = site.dist
    shape, plain = _batch_shape(site), _alone(site)
    found = []
    for value in combined(values_of(dist), math.prod(shape)).reshape(number, *shape, *dist.event_shape):
        log_prob = _log_prob(plain, value).item()
        if math.isnan(log_prob):
            raise DistributionError(site.name, f"the log probability of {value!r} is nan; check the arguments of {dist!r}")
        found.append((value, log_prob))
    return found


def _alone(site: Sample) -> Sample:
    """Neither scaled nor masked, as it is drawn."""
    return site.evolve(scale=1.0, mask=True) if "scale" in site.__dict__ or "mask" in site.__dict__ else site


def _log_prob(site: Sample, value: torch.Tensor) -> torch.Tensor:
    return log_density(site.replaced("value", value)).sum().detach()


_OTHERWISE: Final = "condition it, put a finite distribution in its place, or use a method that draws"
