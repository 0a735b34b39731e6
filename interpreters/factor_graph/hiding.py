"""What elimination calls the choices that ``block`` hides: their names may be those of other sites."""

from __future__ import annotations

from collections import Counter
from typing import Final

from interpreters.factor_graph.factors import weight
from interpreters.factor_graph.layout import plates_of
from poutine import Sample

_MARK: Final = " (hidden)"


class Labels:
    """Names of hidden choices by name and number of visit, so that they are the same in each run."""

    def __init__(self) -> None:
        self._visits: Counter[str] = Counter()

    def of(self, site: Sample) -> Sample:
        """A hidden choice as one that counts with the probability that it is drawn with, whatever its scale or mask.

        In a subsample, as often as its plate's elements do.
        """
        self._visits[site.name] += 1
        visit = self._visits[site.name]
        return site.evolve(
            name=f"{site.name}{_MARK}" + (f" {visit}" if visit > 1 else ""), scale=weight(plates_of(site.cond_indep_stack)), mask=True
        )


def is_label(name: str) -> bool:
    return _MARK in name
