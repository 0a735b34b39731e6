"""Discovery: the first evaluation, which finds the latent sites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.distributions.transforms import Transform

from interpreters.errors import NotContinuous
from interpreters.evaluations.coordinates import Coordinates, kind_of, shape_of
from interpreters.evaluations.evaluation import Evaluation
from interpreters.factor_graph.supports import some_value
from interpreters.factor_graph.watching import Watch
from interpreters.ranges import bounds, is_bounded
from poutine import Choice, EnterMarkov, Message, Observe, ParamStore, Runtime, Sample
from poutine.priors import checked


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
            answers.hidden[kind] = self._watched(answers.hidden[kind], is_hidden=True)
        answers[EnterMarkov] = self.watch.enter
        return answers

    def _watched(self, act: Callable[[Any], Message], is_hidden: bool = False) -> Callable[[Any], Message]:
        def watched(site: Any) -> Message:
            found: Any = checked(act(site))
            self.watch.sent(found, not site.is_decided, is_hidden)
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
        shape = shape_of(site)
        unconstrained = torch.Size(bijection.inverse_shape(shape))  # type: ignore[no-untyped-call]  # torch's own
        self.sites[site.name] = found = Coordinates(site.name, shape, unconstrained, self._next, kind_of(bijection))
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
