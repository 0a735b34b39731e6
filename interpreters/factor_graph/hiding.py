"""What elimination and densities call the choices that ``block`` hides: their names may be those of other sites, and are in no result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, TypeVar

from interpreters.factor_graph.factors import weight
from interpreters.factor_graph.layout import plates_of
from poutine import Sample

T = TypeVar("T")

_MARK: Final = " (hidden)"


class Label(str):
    """The name of a hidden choice: of a type of its own, since a site that is not hidden may be called anything."""

    __slots__ = ()

    @property
    def hides(self) -> str:
        """The name that the program gave it."""
        return self.partition(_MARK)[0]


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
        label = Label(f"{site.name}{_MARK}" + (f" {visit}" if visit > 1 else ""))
        return site.evolve(name=label, scale=weight(plates_of(site.cond_indep_stack)), mask=True)


def is_label(name: str) -> bool:
    return isinstance(name, Label)


def visible(by_name: Mapping[str, T]) -> dict[str, T]:
    """What is not hidden of ``by_name``."""
    return {name: value for name, value in by_name.items() if not is_label(name)}
