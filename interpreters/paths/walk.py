"""Walk: a run along a path, and on from its end."""

from __future__ import annotations

import math

import torch

from interpreters.errors import StructureChanged
from interpreters.paths.choosing import alone, log_prob_of, number_of_values, values_and_log_probs
from interpreters.paths.frontier import Frontier
from interpreters.paths.path import Path
from poutine import Message, ParamStore, PoutineError, Runtime, Sample
from poutine.priors import checked


class Elsewhere(PoutineError):
    """Another path is better: this run is left where it is."""


class Walk:
    """Answers along ``path``, and beyond its end with whatever the frontier holds to be next.

    chosen, hidden:  the sites so far and their values; the log probability of those that ``block`` hides.
    """

    def __init__(self, path: Path, frontier: Frontier) -> None:
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
        self.here, at = (site.name, number_of_values(site)), len(self.chosen)
        if at == len(self._steps):
            self._fork(site)
        else:
            self._compare(site, self._steps[at])
        value = self._steps[at].value
        self.chosen.append((site.name, value))
        return checked(site.replaced("value", value.clone()))

    def _compare(self, site: Sample, before: Path) -> None:
        """Raises ``StructureChanged`` where the site is another one than it was, or its distribution, but for rounding."""
        if self.here != before.site:
            raise _changed(f"site {self.here[0]!r}, of {self.here[1]} values, is where", before.site)
        now = log_prob_of(alone(site), before.value)
        digits = torch.finfo(now.dtype).eps ** 0.5
        if not math.isclose(now.item(), before.own, rel_tol=digits, abs_tol=digits):
            name, value = site.name, before.value
            raise _changed(f"site {name!r} has the log probability {now.item():.6g} at {value!r} where {before.own:.6g} of", before.site)

    def _fork(self, site: Sample) -> None:
        here = self.path
        if self.frontier.leaves(here):
            raise Elsewhere
        paths = [
            Path(here, self.here, value, log_prob, here.log_prob + log_prob, here.length + 1)
            for value, log_prob in values_and_log_probs(site, self.here[1])
        ]
        self.frontier.push(paths[::-1])  # so that the first value is the youngest
        best = self.frontier.peek()
        if best is None or best.before is not here:
            raise Elsewhere
        self.path = best
        self._steps.append(best)
        self.frontier.pop()


def _changed(now: str, before: tuple[str, int]) -> StructureChanged:
    name, number = before
    return StructureChanged(
        f"{now} site {name!r}, of {number} values, was after the same choices in another run; what a program asks must depend on its arguments "
        "and on the values that it was sent alone"
    )
