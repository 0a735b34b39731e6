"""Answers that run a program once for all values of its discrete sites, and collect what its log density is made of."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import nullcontext
from typing import Any

import attrs
import torch
from torch.distributions import Distribution

from interpreters.errors import BatchError, NotVectorizable
from interpreters.factor_graph.causes import of_error, of_layout
from interpreters.factor_graph.factors import Factor, Plate, Variable, step_names, weight
from interpreters.factor_graph.hiding import Labels
from interpreters.factor_graph.layout import Layout, TooFewDimensions, floored, plates_of
from interpreters.factor_graph.looking import NoLooks, mark
from interpreters.factor_graph.loops import Chain, Loops
from interpreters.factor_graph.supports import enumerated_density, support
from interpreters.ranges import bounded_log_density, bounds_and_dims, is_bounded
from poutine import (
    Choice,
    Deterministic,
    EnterMarkov,
    EnterPlate,
    Message,
    Observe,
    ParamStore,
    PoutineError,
    Program,
    Runtime,
    Sample,
    answer,
    batch_log_density,
)
from poutine.messages import is_of_all_steps
from poutine.priors import checked
from poutine.trace_graph import is_subsample


@attrs.frozen(eq=False)
class FactorGraph:
    """A log density: the sum of ``constant`` (a scalar) and of all factors, over all elements of their plates.

    names:  of the site that each factor is of.
    terms:  what else the constant is made of, by name of site.
    rank:   how many batch dimensions the program has by itself.
    in_turn:  the names of vectorised loops whose steps were taken in turn.
    """

    constant: torch.Tensor
    factors: tuple[Factor, ...]
    names: tuple[str, ...]
    variables: tuple[Variable, ...]
    chains: tuple[Chain, ...]
    terms: dict[str, torch.Tensor]
    rank: int
    in_turn: frozenset[str] = frozenset()


class StepsUnlike(Exception):
    """Vectorised loops, by their names, whose steps must be taken in turn."""

    def __init__(self, loops: Collection[str]) -> None:
        super().__init__(loops)
        self.loops = frozenset(loops)


def _as_it_is(site: Any) -> Any:
    return site


def unvalidated(site: Any) -> Any:
    """A site whose distribution, if it is one of torch's and not built yet, will not validate its arguments and values."""
    fn = site.fn
    if isinstance(fn, type) and issubclass(fn, Distribution) and "validate_args" not in site.kwargs:
        return site.evolve(kwargs={**site.kwargs, "validate_args": False})
    return site


class Collector:
    """Collects the factors of one run.

    rank:     how many batch dimensions the program has by itself.
    build:    what is done to a site whose distribution is not built yet.
    asks:     whether states of loops are compared; a tracer cannot.
    in_turn:  the names of vectorised loops whose steps are taken in turn.
    drawn:    the names of those sites that are undecided in a plain run, if that is known.
    looks:    whether the program may look at values that depend on what is enumerated. To find out takes time in each operation.
    """

    def __init__(
        self,
        rank: int,
        build: Callable[[Any], Any] = _as_it_is,
        asks: bool = True,
        in_turn: Collection[str] = (),
        drawn: Collection[str] | None = None,
        looks: bool = True,
    ) -> None:
        self.looks = looks
        self._build, self._asks, self._in_turn, self._drawn = build, asks, frozenset(in_turn), drawn
        self._layout = Layout(rank)
        self._loops = Loops(self._layout, asks, self._in_turn)
        self._labels = Labels()
        self._factors: list[tuple[str, Factor]] = []
        self._variables: dict[str, Variable] = {}
        self._terms: dict[str, torch.Tensor] = {}

    def wider(self, rank: int) -> Collector:
        """Another one, which has collected nothing, for a program of so many batch dimensions."""
        return Collector(rank, self._build, self._asks, self._in_turn, self._drawn, self.looks)

    def in_turn(self, loops: Collection[str]) -> Collector:
        """Another one, which takes the steps of these loops in turn, too."""
        return Collector(self._layout.rank, self._build, self._asks, self._in_turn.union(loops), self._drawn, self.looks)

    def answers(self, params: ParamStore | None) -> Runtime:
        """What answers the messages of a run whose samples are all to be summed out."""
        answers = Runtime(params=params, wide=True)
        answers[Sample] = self._sample
        answers[Observe] = self._observe
        answers[Deterministic] = _as_it_is
        answers[EnterMarkov] = self.enter
        answers[EnterPlate] = self.roomy(answers[EnterPlate])
        answers.hidden = {Sample: self._hidden_sample, Observe: _as_it_is}
        return answers

    @property
    def variables(self) -> Collection[str]:
        """The names of the sites that are enumerated so far."""
        return self._variables

    @property
    def plates(self) -> frozenset[Plate]:
        """Those, and the steps of loops, that the sites that are enumerated so far are in."""
        return frozenset[Plate]().union(*(variable.plates for variable in self._variables.values()))

    def graph(self) -> FactorGraph:
        constant = sum(self._terms.values(), start=torch.zeros(()))
        names, factors = tuple(name for name, _ in self._factors), tuple(factor for _, factor in self._factors)
        variables = tuple(self._variables.values())
        return FactorGraph(constant, factors, names, variables, tuple(self._loops.chains), self._terms, self._layout.rank, self._in_turn)

    def enumerate(self, site: Sample) -> Message:
        """All values of an undecided site, along a dimension of its own. Raises ``NotFinite``, ``NotVectorizable``."""
        if site.name in self._variables:
            raise NotVectorizable(f"site {site.name!r} is sampled twice in one run; give every site its own name")
        if is_subsample(site):
            raise NotVectorizable(
                f"site {site.name!r} draws the index of a subsampled plate; give the plate its subsample, or condition it"
            )
        plates, site = self._plates(site), self._build(site)
        self._check_steps(site, plates)
        variable, event_dim = _variable(site, plates, self._layout.rank)
        self._variables[site.name] = variable
        value = self._layout.place(variable, event_dim, site.cond_indep_stack)
        if not self.looks and variable.size > 1:
            mark(value)
        if not is_of_all_steps(site):
            self._loops.note(variable)
        dist: Any = site.dist
        site = checked(site.evolve(value=value), dist.batch_shape + dist.event_shape)
        self._collect(site, enumerated_density(site))
        return site

    def add(self, site: Choice, may_be_outside: bool = False) -> torch.Tensor:
        """Collects the log density of a site that has a value; returns it, of the site's batch shape.

        ``may_be_outside``: whether the value may be outside of the distribution's range, for what is not enumerated.
        """
        self._plates(site)
        site = self._build(site)
        if self._drawn is None and isinstance(site, Observe):  # or else a plain run tells
            self._check_rows(site)
        score = bounded_log_density if may_be_outside or self._depends_on_bounds(site) else batch_log_density
        density = score(site, wide=True)
        self._collect(site, density)
        return density

    def _depends_on_bounds(self, site: Choice) -> bool:
        """Whether the value is in the range of its distribution for some of what is enumerated, maybe not for all."""
        if not self._variables or not is_bounded(site.dist):
            return False
        parts = ((site.value, len(getattr(site.dist, "event_shape", ()))), *bounds_and_dims(site.dist))
        return any(self.depends(part, event_dim) for part, event_dim in parts)

    def depends(self, value: torch.Tensor, event_dim: int = 0) -> bool:
        """Whether ``value`` is another one for other values of what is enumerated."""
        return bool(self._layout.seen_in(value, event_dim))

    def plain_shape(self, site: Sample, rank: int) -> torch.Size:
        """The shape of a site's value in a plain run, where it has ``rank`` dimensions: without those of what it depends on."""
        dist: Any = site.dist
        shape = dist.batch_shape[max(0, len(dist.batch_shape) - self._layout.rank) :] + dist.event_shape
        extra = len(shape) - rank
        return torch.Size(shape[extra:]) if extra > 0 and all(size == 1 for size in shape[:extra]) else torch.Size(shape)

    def enter(self, entry: EnterMarkov) -> Message:
        """The next steps of a markov loop."""
        return entry.evolve(value=self._loops.enter(entry))

    def roomy(self, enter: Callable[[Any], Message]) -> Callable[[Any], Message]:
        """Answers plates like ``enter``, if there is a dimension for each: what is broadcast inside would collide with a variable."""

        def entered(entry: EnterPlate) -> Message:
            needed = 1 + sum(frame.dim is not None for frame in getattr(entry, "cond_indep_stack", ()))
            if needed > self._layout.rank:
                raise TooFewDimensions(needed)
            return enter(entry)

        return entered

    def _sample(self, site: Sample) -> Message:
        if not site.is_decided:
            return self.enumerate(site)
        self.add(site)
        return site

    def _hidden_sample(self, site: Sample) -> Message:
        """What is hidden counts if it is drawn, and then with its probability alone."""
        if site.is_decided:
            return site
        self.require_one_step(site)
        return site.evolve(value=self.enumerate(self._labels.of(site)).value)

    def require_one_step(self, site: Sample) -> None:
        """Raises ``StepsUnlike`` for a site of many steps at once: it must have a value, and a name, for each."""
        if loops := [plate.name for plate in self._plates(site) if plate.loop is not None]:
            raise StepsUnlike(loops)

    def _check_steps(self, site: Sample, plates: frozenset[Plate]) -> None:
        """Whether a plain run decides a site in some of the steps that are taken at once. Raises ``StepsUnlike``."""
        loops = [plate.name for plate in plates if plate.loop is not None]
        if loops and self._drawn is not None and not set(step_names(site.name, plates).values()) <= set(self._drawn):
            raise StepsUnlike(loops)

    def _check_rows(self, site: Observe) -> None:
        """Raises ``StepsUnlike`` where what is observed at many steps at once may have them along the dimension of a variable.

        Whole rows of a plate, ``y.T[t]``, have: [steps, 1, size of the plate]. What depends on a variable of as many values looks the same: one
        step after the other, both are right.
        """
        loops = [plate for plate in plates_of(site.cond_indep_stack) if plate.loop is not None]
        if loops and (seen := self._layout.seen_in(site.value, len(getattr(site.dist, "event_shape", ())))):
            sizes = {variable.size for variable in seen}
            if unclear := [plate.name for plate in loops if plate.size in sizes]:
                raise StepsUnlike(unclear)

    def _observe(self, site: Observe) -> Message:
        self.add(site)
        return site

    def _collect(self, site: Choice, density: torch.Tensor) -> None:
        frames = site.cond_indep_stack  # without dimensions, a density in a vectorised loop is that of each of its steps
        factor = self._layout.named(site.name, density, frames) if density.dim() or frames else Factor(density)
        if factor.variables or any(plate.loop is not None for plate in factor.plates):
            times = weight(factor.plates)  # which the site's scale has, and which the product over these plates is taken to
            tensor = factor.tensor if times == 1.0 else factor.tensor / times
            self._factors.append((site.name, attrs.evolve(factor, tensor=floored(tensor))))
        else:
            total = density.sum()
            self._terms[site.name] = self._terms[site.name] + total if site.name in self._terms else total

    def _plates(self, site: Choice) -> frozenset[Plate]:
        needed = max((-frame.dim for frame in site.cond_indep_stack if frame.vectorized and frame.dim is not None), default=0)
        if needed > self._layout.rank:
            raise TooFewDimensions(needed)
        self._loops.inside(site.cond_indep_stack)
        return plates_of(site.cond_indep_stack)


def collected(program: Program[Any], answers: Runtime, collector: Collector) -> FactorGraph:
    """What ``collector`` collects of ``program``, run by its ``answers``. Raises ``NotVectorizable``, ``TooFewDimensions``, ``StepsUnlike``."""
    try:
        with nullcontext() if collector.looks else NoLooks(collector.variables):
            answer(program, answers)
    except BatchError as error:
        if not collector.variables:
            raise
        raise NotVectorizable(
            f"the program runs a batch, whose instances' dimension is the first, and so is that of all values of {', '.join(collector.variables)} "
            f"({error}); eliminate the program of one instance, or use interpreters.enumeration.exact, which runs the batch once for each value"
        ) from error
    except (TooFewDimensions, StepsUnlike):
        raise
    except PoutineError as error:
        if cause := of_layout(collector.plates):
            error.add_note(cause)
        raise
    except Exception as error:
        if not collector.variables:
            raise
        raise NotVectorizable(
            f"with all values at once of {', '.join(collector.variables)}, the program raises {type(error).__name__}: {error}; "
            + of_error(error, collector.plates)
        ) from error
    return collector.graph()


def _variable(site: Sample, plates: frozenset[Plate], program_rank: int) -> tuple[Variable, int]:
    dist: Any = site.dist
    values = support(site, frozenset(plate.dim for plate in plates), program_rank)
    dims = {plate.dim: plate.size for plate in plates}
    batch = values.shape[1 : values.dim() - len(dist.event_shape)]
    event = values.shape[1 + len(batch) :]
    rank = max([-frame.dim for frame in site.cond_indep_stack if frame.vectorized and frame.dim is not None], default=0)
    filled = len(dist.batch_shape) > program_rank  # by what it depends on: a plain run does not have dimensions of size 1 in between
    batch = batch[next((i for i in range(len(batch)) if not filled or batch[i] > 1 or len(batch) - i <= rank), len(batch)) :]
    batch = torch.Size([1] * (rank - len(batch)) + list(batch))
    shape = torch.Size(dims.get(dim - len(batch), size) for dim, size in enumerate(batch))
    return Variable(site.name, values.reshape(len(values), *batch, *event), plates, shape), len(event)
