"""The log density of each observation, with those discrete sites summed out that belong to it alone.

Of a mixture whose component is local to the observation's plate, that is one number for each of its elements. Observations that share a
discrete site (the states of a chain, a site outside of the plate) are not independent given the continuous sites: what one of them adds to
the log density depends on the others, and no number is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import attrs
import torch

from interpreters.factor_graph.collecting import FactorGraph
from interpreters.factor_graph.eliminating import SUMS, eliminated
from interpreters.factor_graph.factors import Factor, Plate, loops, ordered, step_names, weight
from interpreters.factor_graph.layout import possible
from interpreters.factor_graph.loops import Chain


@attrs.frozen
class Pointwise:
    """densities: by name of site (in a plain run), in nats, each [*sizes of its ordered plates], those of loops left out.

    shared:     the discrete sites that an observation without such numbers shares with others, by its name.
    """

    densities: dict[str, torch.Tensor]
    shared: dict[str, tuple[str, ...]]


def pointwise(graph: FactorGraph, is_observed: Callable[[str], bool]) -> Pointwise:
    """Of those observations that depend on discrete sites, or are in a vectorised loop.

    is_observed:  tells them, and what else conditions, from samples, by the names of a plain run.

    **Law**: log p(y | the continuous sites), for each element of a site by itself (in a subsample, times the number that it stands for,
    as for other sites). Continuous sites that depend on the same discrete
    ones are given, too, so that what they tell of these counts.
    """
    found = Pointwise({}, {})
    for part in _connected(graph):
        variables = [variable for _, factor in part for variable in factor.variables]
        seen = [(name, factor) for name, factor in part if any(map(is_observed, step_names(name, factor.plates).values()))]
        local = len(seen) == 1 and all(seen[0][1].plates <= variable.plates for variable in variables)
        for name, factor in seen:
            if local:
                others = [other for _, other in part if other is not factor]
                density = _total([factor, *others], graph.chains, factor.plates) - _total(others, graph.chains, factor.plates)
                found.densities.update(_by_step(name, density * weight(factor.plates), factor.plates))
            else:
                every = [step_names(variable.name, variable.plates).values() for variable in variables if variable in graph.variables]
                names = tuple(dict.fromkeys(each for names in every for each in names))
                found.shared.update(dict.fromkeys(step_names(name, factor.plates).values(), names))
    return found


Part = list[tuple[str, Factor]]


def _total(factors: Iterable[Factor], chains: Sequence[Chain], kept: frozenset[Plate]) -> torch.Tensor:
    total, _ = eliminated(factors, chains, SUMS, kept)
    return possible(total)


def _by_step(name: str, density: torch.Tensor, plates: Collection[Plate]) -> dict[str, torch.Tensor]:
    axes, steps = ordered(plates), loops(plates)
    named = {}
    for at, each in step_names(name, plates).items():
        place = tuple(at[steps.index(plate)] if plate in steps else slice(None) for plate in axes)
        named[each] = density[place]
    return named


def _connected(graph: FactorGraph) -> Iterable[Part]:
    """The factors, by name of site, that are connected by variables; all states of a chain are."""
    parents: dict[Any, Any] = {}

    def root(node: Any) -> Any:
        while (parent := parents.setdefault(node, node)) is not node:
            parents[node] = node = parents[parent]
        return node

    for chain in graph.chains:
        for states in zip(chain.first, chain.before, chain.after, chain.last, strict=True):
            for variable in states[1:]:
                parents[root(variable)] = root(states[0])
    for factor in graph.factors:
        for variable in factor.variables:
            parents[root(variable)] = root(factor)
    parts: dict[Any, Part] = {}
    for name, factor in zip(graph.names, graph.factors, strict=True):
        parts.setdefault(root(factor), []).append((name, factor))
    return parts.values()
