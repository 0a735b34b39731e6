"""Answers that evaluate a program's log density at given latent values, drawing nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from math import prod
from typing import Any, Final

import attrs
import torch
from torch.distributions.transforms import ComposeTransform, IndependentTransform, Transform

from interpreters.errors import NotContinuous, StructureChanged
from interpreters.factor_graph.collecting import Collector
from interpreters.factor_graph.eliminating import log_evidence
from interpreters.factor_graph.supports import is_finite, some_value
from interpreters.factor_graph.watching import Watch
from interpreters.precision import doubled, in_double, with_double_parameters
from interpreters.ranges import bounded_log_density, bounds, is_bounded, onto_range
from poutine import Choice, Deterministic, EnterMarkov, Message, Observe, Param, ParamStore, Runtime, Sample, batch_log_density
from poutine.supports import contains, support_of

WAY_OUT: Final = (
    "which sites there are must not depend on their values: make the branch a mask or a mixture, or use a method for such programs"
)


@attrs.frozen
class Coordinates:
    """Where a site lies in the flat vector: ``size`` entries from ``offset`` on, of shape ``unconstrained``; its value has ``shape``.

    kind:  of the bijection onto its support: the types of the transforms that it is made of.
    """

    name: str
    shape: torch.Size
    unconstrained: torch.Size
    offset: int
    kind: tuple[type, ...] = ()

    @property
    def size(self) -> int:
        return prod(self.unconstrained)

    def of(self, position: torch.Tensor) -> torch.Tensor:
        return position[self.offset : self.offset + self.size].reshape(self.unconstrained)


class Evaluation:
    """Adds up the log density of a run; a subclass says where each latent value comes from.

    collector:  for a program with discrete sites, which it sums out; None without.
    bounded:    the names of sites whose values may be outside of the range of their distributions.
    named:      the values of continuous samples and of Deterministic sites; not those that depend on what is summed out.
    """

    def __init__(self, collector: Collector | None = None, bounded: Collection[str] = ()) -> None:
        self.collector, self.bounded = collector, bounded
        self.named: dict[str, torch.Tensor] = {}
        self.likelihoods: dict[str, torch.Tensor] = {}
        self._expected: Iterator[str] | None = None
        self._sum = torch.zeros(())

    @property
    def log_density(self) -> torch.Tensor:
        return self._sum if self.collector is None else self._sum + log_evidence(self.collector.graph())

    def answers(self, params: ParamStore) -> Runtime:
        """What answers the messages of the run; parameters come from ``params``."""
        answers = Runtime(params=params, wide=self.collector is not None)
        answers[Sample] = self._latent
        answers[Observe] = self._observe
        answers[Deterministic] = self._note
        answer_param = answers[Param]
        answers[Param] = lambda site: doubled(answer_param(site))
        if self.collector is not None:
            answers[EnterMarkov] = self.collector.enter
        return answers

    def locate(self, site: Sample, bijection: Transform) -> torch.Tensor:
        """The value of a latent site with this bijection onto its support."""
        raise NotImplementedError

    def discrete(self, site: Sample) -> Message:
        """A latent site with finitely many values."""
        if self.collector is None:
            raise StructureChanged(f"site {site.name!r} was not discrete before; {WAY_OUT}")
        return self.collector.enumerate(site)

    def _latent(self, site: Sample) -> Message:
        site = with_double_parameters(site)
        if site.is_decided:
            return self._score(doubled(site))
        if is_finite(site):
            return doubled(self.discrete(site))  # or else torch takes a number times it as single
        if site.name in self.named:
            raise StructureChanged(f"site {site.name!r} is sampled twice in one run; give every site its own name")
        if self.collector is not None:
            self.collector.require_one_step(site)
        site = site.evolve(value=self.locate(site, _bijection_of(site)))
        self.named[site.name] = site.value.clone()  # as drawn, whatever the program then changes in place
        return self._score(site)

    def _score(self, site: Choice) -> Message:
        self._add(site)
        return site

    def _observe(self, site: Observe) -> Message:
        site = doubled(with_double_parameters(site))
        density = self._add(site)
        if not self._depends(density):
            self.likelihoods[site.name] = density
        return site

    def _add(self, site: Choice) -> torch.Tensor:
        may_be_outside = self._may_be_outside(site)
        if self.collector is not None:
            return self.collector.add(site, may_be_outside)
        density = bounded_log_density(site) if may_be_outside else batch_log_density(site)
        self._sum = self._sum + density.sum()
        return density

    def _may_be_outside(self, site: Choice) -> bool:
        return site.name in self.bounded

    def _known(self, sites: Mapping[str, Coordinates], site: Sample, bijection: Transform) -> Coordinates:
        known = sites.get(site.name)
        shape = _shape_of(site) if self.collector is None or known is None else self.collector.plain_shape(site, len(known.shape))
        kind = _kind(bijection)
        if known is not None and kind != known.kind and any(bool(bound.isinf().any()) for bound in bounds(site.dist)):
            kind = known.kind  # a bound that overflows makes a half-line of an interval; the density is not finite there
        known = require_same(site.name, shape, kind, sites)
        if self.collector is None:
            self._expected = self._expected or iter(sites)
            require_order(site.name, next(self._expected, None))
        return known

    def _note(self, site: Deterministic) -> Message:
        value = torch.as_tensor(site.value)
        if not self._depends(value):
            self.named[site.name] = value.clone()
        return site

    def _depends(self, value: torch.Tensor) -> bool:
        return self.collector is not None and self.collector.depends(value)


class Discovery(Evaluation):
    """Finds the latent sites, at the origin of unconstrained space; draws nothing.

    What depends on a latent site is told by autograd: run it where gradients are enabled.

    may_be_outside:     the names of those that are scored as ``bounded`` in later runs.
    values, densities:  of all sites, by name; each discrete site has some value or other, different ones along a batch.
    summed, rank:       the names of those, and how many batch dimensions the program has.
    scored:             the site whose log density is being computed.
    watch:              knows the vectorised loops whose steps are not alike.
    """

    def __init__(self, way: int = 2) -> None:
        """way:  in which discrete sites have the value that ``some_value`` gives them."""
        self.way, self.watch = way, Watch()
        self.may_be_outside: set[str] = set()
        super().__init__(bounded=self.may_be_outside)
        self.sites: dict[str, Coordinates] = {}
        self.values: dict[str, torch.Tensor] = {}
        self.densities: dict[str, torch.Tensor] = {}
        self.summed: list[str] = []
        self.scored: Choice | None = None
        self._next = 0

    def answers(self, params: ParamStore) -> Runtime:
        answers = super().answers(params)
        for kind in (Sample, Observe):
            answers[kind] = self._watched(answers[kind])
        answers[EnterMarkov] = self.watch.enter
        return answers

    def _watched(self, act: Callable[[Any], Message]) -> Callable[[Any], Message]:
        def watched(site: Any) -> Message:
            found: Any = act(site)
            self.watch.sent(found, not site.is_decided)
            return found  # type: ignore[no-any-return]  # a Choice

        return watched

    @property
    def drawn(self) -> set[str]:
        """The names of all sites that are not decided."""
        return {*self.sites, *self.summed}

    @property
    def rank(self) -> int:
        return max([value.dim() for value in (*self.densities.values(), *self.named.values())], default=0)

    def discrete(self, site: Sample) -> Message:
        self.summed.append(site.name)
        return self._score(site.evolve(value=some_value(site, self.way)))

    def _add(self, site: Choice) -> torch.Tensor:
        self.scored = site
        density = super()._add(site)
        self.scored = None
        if site.name in self.sites and not bool(density.isfinite().all()):
            _require_finite(site)
        self.values[site.name], self.densities[site.name] = _detached(site.value), density.detach()
        return density

    def _may_be_outside(self, site: Choice) -> bool:
        """A range that depends on no latent site is asked here, by torch's validation, and not again; of discrete ones, autograd tells nothing."""
        if site.name not in self.sites and is_bounded(site.dist):
            limits = list(bounds(site.dist))
            if any(_has_gradient(tensor) for tensor in (site.value, *limits)) or (limits and self.summed):
                self.may_be_outside.add(site.name)
        return super()._may_be_outside(site)

    def locate(self, site: Sample, bijection: Transform) -> torch.Tensor:
        shape = _shape_of(site)
        unconstrained = torch.Size(bijection.inverse_shape(shape))  # type: ignore[no-untyped-call]  # torch's own
        self.sites[site.name] = found = Coordinates(site.name, shape, unconstrained, self._next, _kind(bijection))
        self._next += found.size
        value: torch.Tensor = bijection(torch.zeros(unconstrained, dtype=torch.float64).requires_grad_().clone())
        if not bool(value.isfinite().all()) and not any(map(_has_gradient, bounds(site.dist))):
            _require_finite(site)
            support: Any = site.dist
            raise NotContinuous(
                site.name,
                f"the bijection onto the support {support.support!r} of {site.fn!r} is not finite; parameterise it by what has one",
            )
        return value


class Unconstrained(Evaluation):
    """Reads each latent site from a flat unconstrained vector, and adds the log Jacobians."""

    def __init__(
        self, sites: Mapping[str, Coordinates], position: torch.Tensor, collector: Collector | None = None, bounded: Collection[str] = ()
    ) -> None:
        super().__init__(collector, bounded)
        self.sites, self.position = sites, position

    def locate(self, site: Sample, bijection: Transform) -> torch.Tensor:
        known = self._known(self.sites, site, bijection)
        x = known.of(self.position)
        value: torch.Tensor = bijection(x)
        _check_shape(site, value, known)
        jacobian: torch.Tensor = bijection.log_abs_det_jacobian(x, value)  # type: ignore[no-untyped-call]  # torch's own
        self._sum = self._sum + jacobian.sum()
        return value


class Constrained(Evaluation):
    """Reads each latent site from values by name, which may be anything; notes their unconstrained ``positions``.

    refuses:     whether a value outside of its range is an error; it has no position.
    impossible:  whether there was a value that cannot be: what comes after it is nobody's concern, and may be nan.
    """

    def __init__(
        self,
        sites: Mapping[str, Coordinates],
        given: Mapping[str, torch.Tensor],
        collector: Collector | None = None,
        bounded: Collection[str] = (),
        refuses: bool = False,
    ) -> None:
        super().__init__(collector, bounded)
        self.refuses = refuses
        missing = sites.keys() - given.keys()
        if missing:
            raise KeyError(f"no value for {', '.join(sorted(missing))}; the latent sites are {', '.join(sites)}")
        self.sites, self.given = sites, given
        self.positions: dict[str, torch.Tensor] = {}
        self.impossible = torch.tensor(False)

    def locate(self, site: Sample, bijection: Transform) -> torch.Tensor:
        expected = self._known(self.sites, site, bijection).shape
        value: torch.Tensor = in_double(torch.as_tensor(self.given[site.name]))
        if value.shape != expected:
            raise ValueError(f"site {site.name!r}: expected a value of shape {tuple(expected)}, got {tuple(value.shape)}")
        if self.refuses and not bool(contains(site.dist, value).all()):
            raise ValueError(f"site {site.name!r}: expected a value that can be drawn, got one outside of the range of {site.dist!r}")
        self.positions[site.name] = bijection.inv(value)
        return value

    @property
    def log_density(self) -> torch.Tensor:
        return torch.where(self.impossible, -torch.inf, super().log_density)

    def _add(self, site: Choice) -> torch.Tensor:
        density = super()._add(site)
        if not self._depends(density):
            self.impossible = self.impossible | (density == -torch.inf).any()
        return density

    def _may_be_outside(self, site: Choice) -> bool:
        return (site.name in self.sites and is_bounded(site.dist)) or super()._may_be_outside(site)


def require_same(name: str, shape: torch.Size, kind: tuple[type, ...], sites: Mapping[str, Coordinates]) -> Coordinates:
    """Where the site lies. Raises ``StructureChanged`` if it is not among ``sites``, or has another shape or kind of support there."""
    known = sites.get(name)
    if known is None:
        raise StructureChanged(f"site {name!r} was not there before; {WAY_OUT}")
    if shape != known.shape:
        raise StructureChanged(f"site {name!r} has shape {tuple(shape)} and had {tuple(known.shape)}; {WAY_OUT}")
    if kind != known.kind:
        raise StructureChanged(
            f"site {name!r} has another kind of support than it had: {_words(kind)}, not {_words(known.kind)}; {WAY_OUT}"
        )
    return known


def require_order(name: str, expected: str | None) -> None:
    """Raises ``StructureChanged`` if it is another site's turn."""
    if name != expected:
        raise StructureChanged(f"site {name!r} comes before {expected!r}, and came after it; {WAY_OUT}")


def _kind(bijection: Transform) -> tuple[type, ...]:
    if isinstance(bijection, IndependentTransform):
        return _kind(bijection.base_transform)
    if isinstance(bijection, ComposeTransform):
        return tuple(each for part in bijection.parts for each in _kind(part))
    return (type(bijection),)


def _words(kind: tuple[type, ...]) -> str:
    return " and ".join(each.__name__ for each in kind) or "the identity"


def _has_gradient(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value


def _require_finite(site: Choice) -> None:
    """Raises ``NotContinuous`` if its range is infinite where torch has a density for finite ones only: ``Uniform(0, inf)``."""
    if any(bool(bound.isinf().any()) and not _has_gradient(bound) for bound in bounds(site.dist)):
        raise NotContinuous(
            site.name,
            f"{site.dist!r} has an infinite range, and so no density; a flat prior is ImproperUniform(constraints.positive), or of another support",
        )


def _check_shape(site: Sample, value: torch.Tensor, known: Coordinates) -> None:
    """One value, whatever the discrete sites are: what its support is must not depend on them."""
    if value.shape != known.shape:
        raise StructureChanged(f"site {site.name!r} has a support that depends on discrete sites that are summed out; {WAY_OUT}")


def _shape_of(site: Sample) -> torch.Size:
    dist: Any = site.dist
    return torch.Size(dist.batch_shape + dist.event_shape)


def _bijection_of(site: Sample) -> Transform:
    support: Any = support_of(site.dist)
    if support is None or not hasattr(site.dist, "batch_shape"):
        raise NotContinuous(
            site.name, f"{site.dist!r} tells no support, which a density over unconstrained space needs; condition it, or subsample outside"
        )
    if support.is_discrete:
        raise NotContinuous(
            site.name,
            f"{site.dist!r} has infinitely many values, which cannot be summed out; condition it, or use a method that draws it (poutine infer --method importance)",
        )
    try:
        return onto_range(site.dist)
    except NotImplementedError as error:
        raise NotContinuous(
            site.name, f"no bijection onto the support {support!r} of {site.dist!r} is known; parameterise it by what has one"
        ) from error
