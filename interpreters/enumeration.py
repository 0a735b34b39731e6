"""Exact enumeration: every trace of a program whose choices are finite.

1. Generators cannot be copied, so a run is forked by replay: a path is the choices so far; to go on, the program is run again and
   follows them. At the next choice each value makes a longer path.
2. Which path comes next is the strategy's: "depth" (the youngest; keeps the fewest), "breadth" (the shortest) or "best" (the most
   probable, so that a budget is spent where the mass is). A run goes on for as long as it is on that path, and is left there
   where another one is better.
3. Each path that comes to its end is a trace of its own; no two are the same, and together they are all that there is.
4. What a budget leaves is known: ``uncovered`` is the probability of all paths that still wait.

It runs algorithms, too, since their draws are messages: the expectation of an algorithm's output over its own randomness,
without a tolerance.

Sources: Goodman and Stuhlmüller, "The design and implementation of probabilistic programming languages" (2014), chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from heapq import heappop, heappush
from itertools import count, islice, product
from types import MappingProxyType
from typing import Any, Final, Generic, Literal, TypeVar

import attrs
import torch

from interpreters.errors import NotFinite, StructureChanged
from poutine import Message, ParamStore, PoutineError, Program, Runtime, Sample, Trace, TracePoutine, answer, as_program

T = TypeVar("T")
Strategy = Literal["depth", "breadth", "best"]
_MOST_VALUES: Final = 100_000  # of one site; a batch of n has all combinations, k**n


@attrs.frozen(eq=False)
class Leaf(Generic[T]):
    """One complete run: what the program returned, and the log probability (nats) of the choices that led there.

    Observations, factors, scales and masks do not count in it: for a model's density, enumerate its traces.
    """

    value: T
    log_prob: float
    choices: tuple[tuple[str, torch.Tensor], ...]


class Enumeration(Generic[T]):
    """Iterate over it for the leaves of ``program``, in the order of ``strategy``.

    ``uncovered`` is the probability of what has not been run yet: 1 before the first leaf, 0 after the last.
    Raises ``NotFinite`` at a site that is continuous, or whose support is infinite.
    """

    def __init__(self, program: Program[T] | Callable[..., Any], strategy: Strategy = "depth", params: ParamStore | None = None) -> None:
        self._program = as_program(program)
        self._params = ParamStore() if params is None else params
        self._frontier = _Frontier(strategy)

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
            except _Elsewhere:
                continue
            walk.end()
            return Leaf(value, walk.path.log_prob, tuple(walk.chosen))
        raise StopIteration


@attrs.frozen(eq=False)
class Exact:
    """The exact posterior of a program: its traces, and their unnormalised log densities, a tensor of shape [traces].

    ``uncovered`` is the prior probability of the traces that a budget left out; it is 0 where all of them are here.
    """

    traces: tuple[Trace, ...]
    log_densities: torch.Tensor
    uncovered: float

    @property
    def log_evidence(self) -> torch.Tensor:
        """The log of the normaliser (of the traces that are here), in nats."""
        return self.log_densities.logsumexp(0)

    @property
    def probabilities(self) -> torch.Tensor:
        """The posterior probability of each trace: shape [traces]."""
        return self.log_densities.softmax(0)

    def expectation(self, of: Callable[[Trace], Any]) -> torch.Tensor:
        """The posterior expectation of ``of(trace)``."""
        values = torch.stack([torch.as_tensor(of(trace), dtype=self.log_densities.dtype) for trace in self.traces])
        mean: torch.Tensor = torch.tensordot(self.probabilities, values, 1)
        return mean

    def marginal(self, name: str) -> dict[Any, float]:
        """The posterior probability of each value (nested tuples for tensors) of site ``name``; of "_RETURN", too."""
        total: dict[Any, float] = {}
        for trace, probability in zip(self.traces, self.probabilities.tolist(), strict=True):
            key = _hashable(trace[name].value)
            total[key] = total.get(key, 0.0) + probability
        return total


def exact(
    program: Program[Any] | Callable[..., Any],
    strategy: Strategy = "depth",
    budget: int | None = None,
    params: ParamStore | None = None,
) -> Exact:
    """Enumerates the traces of ``program``, at most ``budget`` of them.

    **Law**: the sum of ``exp(log_pdf)`` over all traces is the normaliser, whatever the strategy.
    Raises ``NotFinite`` at a continuous site or an infinite support, ``StructureChanged`` if the program asks for something else after the
    same choices (a generator or a counter that it keeps outside), and what the program raises.
    """
    whole = as_program(program)
    leaves = Enumeration(TracePoutine(whole.fn).traced(*whole.args, **whole.kwargs), strategy, params)
    traces = tuple(leaf.value for leaf in islice(leaves, budget))
    densities = [trace.log_pdf().detach().double() for trace in traces]
    return Exact(traces, torch.stack(densities) if densities else torch.zeros(0, dtype=torch.float64), leaves.uncovered)


@attrs.frozen
class _Path:
    """Choices by number, from the first on, their log probability, and where they were made: each site's name and number of values."""

    choices: tuple[int, ...]
    log_prob: float
    sites: tuple[tuple[str, int], ...] = ()


class _Frontier:
    """The paths that wait, the strategy's next one first."""

    def __init__(self, strategy: Strategy) -> None:
        if strategy not in _PRIORITIES:
            raise ValueError(f"expected a strategy out of {', '.join(_PRIORITIES)}, got {strategy!r}")
        self._priority = _PRIORITIES[strategy]
        self._number = count()
        self._heap: list[tuple[float, int, _Path]] = []
        self.push([_Path((), 0.0)])

    def push(self, paths: list[_Path]) -> None:
        """Adds paths, leaving out what cannot happen; of equals, the later one is the younger."""
        for path in paths:
            if path.log_prob > -math.inf:
                number = next(self._number)
                heappush(self._heap, (self._priority(path, number), number, path))

    def peek(self) -> _Path | None:
        return self._heap[0][2] if self._heap else None

    def pop(self) -> _Path | None:
        return heappop(self._heap)[2] if self._heap else None

    def __iter__(self) -> Iterator[_Path]:
        return (path for _, _, path in self._heap)


_PRIORITIES: Final[Mapping[str, Callable[[_Path, int], float]]] = MappingProxyType(
    {
        "depth": lambda _, number: -number,
        "breadth": lambda path, _: len(path.choices),
        "best": lambda path, _: -path.log_prob,
    }
)


class _Elsewhere(PoutineError):
    """Another path is better: this run is left where it is."""


class _Walk:
    """Answers along ``path``, and beyond its end with whatever the frontier holds to be next."""

    def __init__(self, path: _Path, frontier: _Frontier) -> None:
        self.path, self.frontier = path, frontier
        self.chosen: list[tuple[str, torch.Tensor]] = []
        self.here = "", 0  # the site that is being answered, and its number of values

    def end(self) -> None:
        """The program has returned. Raises ``StructureChanged`` if there were more choices in the run before."""
        if len(self.chosen) < len(self.path.sites):
            raise _changed("the program has ended where", self.path.sites[len(self.chosen)])

    def answers(self, params: ParamStore) -> Runtime:
        answers = Runtime(params=params)
        answers[Sample] = self._choose
        return answers

    def _choose(self, site: Sample) -> Message:
        if site.is_decided:
            return site
        values, log_probs = _finite(site)
        self.here = site.name, len(values)
        if len(self.chosen) == len(self.path.choices):
            self._fork(log_probs)
        elif self.here != (before := self.path.sites[len(self.chosen)]):
            raise _changed(f"site {site.name!r}, of {len(values)} values, is where", before)
        value = values[self.path.choices[len(self.chosen)]]
        self.chosen.append((site.name, value))
        return site.evolve(value=value)

    def _fork(self, log_probs: list[float]) -> None:
        here = self.path
        sites = (*here.sites, self.here)
        paths = [_Path((*here.choices, choice), here.log_prob + log_prob, sites) for choice, log_prob in enumerate(log_probs)]
        self.frontier.push(paths[::-1])  # so that the first value is the youngest
        best = self.frontier.peek()
        if best is None or best not in paths:
            raise _Elsewhere
        self.path = best
        self.frontier.pop()


def _changed(now: str, before: tuple[str, int]) -> StructureChanged:
    name, number = before
    return StructureChanged(
        f"{now} site {name!r}, of {number} values, was after the same choices in another run; what a program asks must depend on its arguments "
        "and on the values that it was sent alone"
    )


def _finite(site: Sample) -> tuple[list[torch.Tensor], list[float]]:
    """All values of a site (for a batch, every combination), and their log probabilities."""
    dist: Any = site.dist
    if not getattr(dist, "has_enumerate_support", False):
        support = getattr(dist, "support", None)
        what = "has infinitely many values" if getattr(support, "is_discrete", False) else "is continuous, or tells no finite support"
        raise NotFinite(
            site.name, f"{site.dist!r} {what}; condition it, put a finite distribution in its place, or use a method that draws"
        )
    one = dist.enumerate_support(expand=False).reshape(-1, *dist.event_shape)
    number = len(one) ** math.prod(dist.batch_shape)
    if number > _MOST_VALUES:
        raise NotFinite(
            site.name, f"{site.dist!r} has {number} values, more than {_MOST_VALUES}; make it a sequential plate of smaller sites"
        )
    shape = (*dist.batch_shape, *dist.event_shape)
    values = [torch.stack(combination).reshape(shape) for combination in product(one, repeat=math.prod(dist.batch_shape))]
    return values, [float(dist.log_prob(value).sum()) for value in values]


def _hashable(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return _hashable(value.tolist())
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value
