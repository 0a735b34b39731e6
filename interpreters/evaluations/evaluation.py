"""Evaluation: what adds up the log density of a run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import torch
from torch.distributions.transforms import Transform

from interpreters.errors import StructureChanged
from interpreters.evaluations.coordinates import WAY_OUT, Coordinates, bijection_of, kind_of, require_order, require_same, shape_of
from interpreters.factor_graph.collecting import Collector
from interpreters.factor_graph.eliminating import log_evidence
from interpreters.factor_graph.hiding import Labels
from interpreters.factor_graph.supports import is_finite
from interpreters.numeric import is_numeric
from interpreters.precision import doubled, with_double_parameters
from interpreters.ranges import bounded_log_density, bounds
from poutine import Choice, Deterministic, EnterMarkov, EnterPlate, Message, Observe, Param, ParamStore, Runtime, Sample, batch_log_density


class Evaluation:
    """Adds up the log density of a run; a subclass says where each latent value comes from.

    collector:  for a program with discrete sites, which it sums out; None without.
    bounded:    the names of sites whose values may be outside of the range of their distributions.
    named:      the values of continuous samples and of Deterministic sites; not those that depend on what is summed out. Samples that
                ``block`` hides are here by their labels (``hiding``); of what else it hides, nothing is here, and nothing counts.
    """

    def __init__(self, collector: Collector | None = None, bounded: Collection[str] = ()) -> None:
        self.collector, self.bounded = collector, bounded
        self.named: dict[str, torch.Tensor] = {}
        self.likelihoods: dict[str, torch.Tensor] = {}
        self._labels = Labels()
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
            answers[EnterPlate] = self.collector.roomy(answers[EnterPlate])
        answers.hidden = {Sample: self._hidden_sample, Observe: doubled, Deterministic: _as_it_is}
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
        site = site.evolve(value=self.locate(site, bijection_of(site)))
        self.named[site.name] = site.value.clone()  # as drawn, whatever the program then changes in place
        return self._score(site)

    def _hidden_sample(self, site: Sample) -> Message:
        """What is hidden counts if it is drawn, and then with its probability alone."""
        if site.is_decided:
            return doubled(site)
        if self.collector is not None:
            self.collector.require_one_step(site)
        return site.evolve(value=self._latent(self._labels.of(site)).value)

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
        shape = shape_of(site) if self.collector is None or known is None else self.collector.plain_shape(site, len(known.shape))
        kind = kind_of(bijection)
        if known is not None and kind != known.kind and any(bool(bound.isinf().any()) for bound in bounds(site.dist)):
            kind = known.kind  # a bound that overflows makes a half-line of an interval; the density is not finite there
        known = require_same(site.name, shape, kind, sites)
        if self.collector is None:
            self._expected = self._expected or iter(sites)
            require_order(site.name, next(self._expected, None))
        return known

    def _note(self, site: Deterministic) -> Message:
        if not is_numeric(site.value):
            return site
        value = torch.as_tensor(site.value)
        if not self._depends(value):
            self.named[site.name] = value.clone()
        return site

    def _depends(self, value: torch.Tensor) -> bool:
        return self.collector is not None and self.collector.depends(value)


def _as_it_is(site: Message) -> Message:
    return site
