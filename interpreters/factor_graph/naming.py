"""Which variables sites are, by their names in a plain run, and in which step of their loops.

A state of a vectorised loop is several: after its own step, before the next one, and after the end of the loop. So two neighbours are
found in one step, as the state before it and the state after it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product

import attrs

from interpreters.factor_graph.factors import Plate, Variable, loops, step_names
from interpreters.factor_graph.loops import Chain


@attrs.frozen(eq=False)
class Place:
    """A variable at an element of each of its loops, or in all of its steps: then that is None."""

    variable: Variable
    at: Mapping[Plate, int | None]


@attrs.frozen(eq=False)
class Together:
    """Variables that are in one step of each of their loops: ``at`` is which. All of their plates are those of one of them."""

    variables: list[Variable]
    plates: frozenset[Plate]
    at: Mapping[Plate, int | None]


def places(variables: Iterable[Variable], chains: Sequence[Chain]) -> dict[str, list[Place]]:
    """Where each site is to be found, by name: its own variable first."""
    found: dict[str, list[Place]] = defaultdict(list)
    every = list(variables)
    for variable in every:
        steps = loops(variable.plates)
        if steps:
            found[variable.name].append(Place(variable, dict.fromkeys(steps)))
        for step, name in step_names(variable.name, variable.plates).items():
            found[name].append(Place(variable, dict(zip(steps, step, strict=True))))
    for chain in chains:
        for first, before, after, last in zip(chain.first, chain.before, chain.after, chain.last, strict=True):
            if after in every:
                _add_state(found, chain.plate, (first, before, after, last))
    return dict(found)


def _add_state(found: dict[str, list[Place]], steps: Plate, state: tuple[Variable, Variable, Variable, Variable]) -> None:
    first, before, after, last = state
    found[first.name].append(Place(before, {steps: 0}))
    for (element,), name in step_names(after.name, [steps]).items():
        found[name].append(Place(before, {steps: element + 1}) if element + 1 < steps.size else Place(last, {}))


def together(names: Collection[str], known: Mapping[str, Sequence[Place]], chains: Sequence[Chain]) -> Together:
    """Sites, all of whose names are ``known``, in one step. Raises ``ValueError`` if there is none, or a name is there twice."""
    if len(set(names)) < len(names):
        raise ValueError(f"sites {', '.join(names)}: expected each name once; the joint probabilities of a site with itself are its own")
    for each in product(*(known[name] for name in names)):
        plates = max((place.variable.plates for place in each), key=len)
        at = {loop: element for place in each for loop, element in place.at.items()}
        if all(place.variable.plates <= plates and place.at.items() <= at.items() for place in each) and not _is_end(each, plates, chains):
            return Together([place.variable for place in each], plates, at)
    raise ValueError(
        f"sites {', '.join(names)} have no joint marginal here: expected sites whose plates are all around one of them, and in vectorised markov "
        "loops those of one step or of two neighbours; ask for each by itself, or make the loop or plate vectorized=False"
    )


def _is_end(each: Iterable[Place], plates: Collection[Plate], chains: Iterable[Chain]) -> bool:
    """Whether one of them is the state at an end of a loop, where another one is in a step of it: the loop is a sum that knows its ends."""
    ends = {variable for chain in chains if chain.plate in plates for variable in (*chain.first, *chain.last)}
    return any(place.variable in ends for place in each)
