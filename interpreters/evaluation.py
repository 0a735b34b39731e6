"""Answers that evaluate a program's log density at given latent values, drawing nothing."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Final

import attrs
import torch
from torch.distributions.transforms import Transform

from interpreters.errors import NotContinuous, StructureChanged
from poutine import Choice, Deterministic, Message, Observe, ParamStore, Runtime, Sample, batch_log_density, bijection_to

WAY_OUT: Final = (
    "which sites there are must not depend on their values: make the branch a mask or a mixture, or use a method for such programs"
)


@attrs.frozen
class Coordinates:
    """Where a site lies in the flat vector: ``size`` entries from ``offset`` on, of shape ``unconstrained``; its value has ``shape``."""

    name: str
    shape: torch.Size
    unconstrained: torch.Size
    offset: int

    @property
    def size(self) -> int:
        return prod(self.unconstrained)

    def of(self, position: torch.Tensor) -> torch.Tensor:
        return position[self.offset : self.offset + self.size].reshape(self.unconstrained)


class Evaluation:
    """Adds up the log density of a run; a subclass says where each latent value comes from."""

    def __init__(self) -> None:
        self.log_density = torch.zeros(())
        self.named: dict[str, torch.Tensor] = {}
        self.likelihoods: dict[str, torch.Tensor] = {}

    def answers(self, params: ParamStore) -> Runtime:
        """What answers the messages of the run; parameters come from ``params``."""
        answers = Runtime(params=params)
        answers[Sample] = self._latent
        answers[Observe] = self._observe
        answers[Deterministic] = self._note
        return answers

    def locate(self, site: Sample, bijection: Transform) -> torch.Tensor:
        """The value of a latent site with this bijection onto its support."""
        raise NotImplementedError

    def _latent(self, site: Sample) -> Message:
        if site.is_decided:
            return self._score(site)
        if site.name in self.named:
            raise StructureChanged(f"site {site.name!r} is sampled twice in one run; give every site its own name")
        site = site.evolve(value=self.locate(site, _bijection_of(site)))
        self.named[site.name] = site.value
        return self._score(site)

    def _score(self, site: Choice) -> Message:
        self._add(site)
        return site

    def _observe(self, site: Observe) -> Message:
        self.likelihoods[site.name] = self._add(site)
        return site

    def _add(self, site: Choice) -> torch.Tensor:
        density = batch_log_density(site)
        self.log_density = self.log_density + density.sum()
        return density

    def _note(self, site: Deterministic) -> Message:
        self.named[site.name] = torch.as_tensor(site.value)
        return site


class Discovery(Evaluation):
    """Finds the latent sites, at the origin of unconstrained space; draws nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.sites: dict[str, Coordinates] = {}
        self._next = 0

    def locate(self, site: Sample, bijection: Transform) -> torch.Tensor:
        shape = _shape_of(site)
        unconstrained = torch.Size(bijection.inverse_shape(shape))  # type: ignore[no-untyped-call]  # torch's own
        self.sites[site.name] = found = Coordinates(site.name, shape, unconstrained, self._next)
        self._next += found.size
        value: torch.Tensor = bijection(torch.zeros(unconstrained, dtype=torch.float64))
        return value


class Unconstrained(Evaluation):
    """Reads each latent site from a flat unconstrained vector, and adds the log Jacobians."""

    def __init__(self, sites: Mapping[str, Coordinates], position: torch.Tensor) -> None:
        super().__init__()
        self.sites, self.position = sites, position

    def locate(self, site: Sample, bijection: Transform) -> torch.Tensor:
        x = _known(self.sites, site).of(self.position)
        value: torch.Tensor = bijection(x)
        jacobian: torch.Tensor = bijection.log_abs_det_jacobian(x, value)  # type: ignore[no-untyped-call]  # torch's own
        self.log_density = self.log_density + jacobian.sum()
        return value


class Constrained(Evaluation):
    """Reads each latent site from values by name; notes their unconstrained ``positions``."""

    def __init__(self, sites: Mapping[str, Coordinates], given: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        missing = sites.keys() - given.keys()
        if missing:
            raise KeyError(f"no value for {', '.join(sorted(missing))}; the latent sites are {', '.join(sites)}")
        self.sites, self.given = sites, given
        self.positions: dict[str, torch.Tensor] = {}

    def locate(self, site: Sample, bijection: Transform) -> torch.Tensor:
        expected = _known(self.sites, site).shape
        value = torch.as_tensor(self.given[site.name])
        if value.shape != expected:
            raise ValueError(f"site {site.name!r}: expected a value of shape {tuple(expected)}, got {tuple(value.shape)}")
        self.positions[site.name] = bijection.inv(value)
        return value


def _known(sites: Mapping[str, Coordinates], site: Sample) -> Coordinates:
    known = sites.get(site.name)
    if known is None:
        raise StructureChanged(f"site {site.name!r} was not there before; {WAY_OUT}")
    shape = _shape_of(site)
    if shape != known.shape:
        raise StructureChanged(f"site {site.name!r} has shape {tuple(shape)} and had {tuple(known.shape)}; {WAY_OUT}")
    return known


def _shape_of(site: Sample) -> torch.Size:
    dist: Any = site.dist
    return torch.Size(dist.batch_shape + dist.event_shape)


def _bijection_of(site: Sample) -> Transform:
    support = getattr(site.dist, "support", None)
    if support is None or not hasattr(site.dist, "batch_shape"):
        raise NotContinuous(
            site.name, f"{site.fn!r} tells no support, which a density over unconstrained space needs; condition it, or subsample outside"
        )
    if support.is_discrete:
        raise NotContinuous(site.name, f"{site.fn!r} is discrete: sum it out (a mixture), condition it, or use a method for discrete sites")
    try:
        return bijection_to(support)
    except NotImplementedError as error:
        raise NotContinuous(
            site.name, f"no bijection onto the support {support!r} of {site.fn!r} is known; parameterise it by what has one"
        ) from error
