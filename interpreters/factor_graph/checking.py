"""Whether a program means, run once for all values, what it means run plainly: site by site, at the values of one plain run.

A program that does not broadcast (``x.sum()``, ``xs[i]`` of what a plate returned) is silently wrong otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from interpreters.errors import NotVectorizable
from interpreters.factor_graph.collecting import FactorGraph
from interpreters.factor_graph.factors import Indices, Variable, from_steps, ordered, step_names
from interpreters.factor_graph.loops import Chain


def check(graph: FactorGraph, values: Mapping[str, torch.Tensor], densities: Mapping[str, torch.Tensor]) -> None:
    """Raises ``NotVectorizable`` unless the graph has ``densities``, by site of a plain run, where its variables have ``values``."""
    indices = _indices(graph, values)
    ours: dict[str, torch.Tensor] = dict(graph.terms)
    theirs = {name: densities.get(name, torch.zeros(())).sum() for name in ours}
    names = dict.fromkeys(theirs)
    for name, factor in zip(graph.names, graph.factors, strict=True):
        plain = step_names(name, factor.plates).values()
        names |= dict.fromkeys(plain)
        ours[name] = ours.get(name, torch.zeros(())) + factor.at(indices, ()).sum()
        theirs[name] = sum((densities[each].sum() for each in plain if each in densities), start=torch.zeros(()))
    if names.keys() != densities.keys():
        odd = sorted(names.keys() ^ densities.keys())
        raise NotVectorizable(f"for all values at once the program has other sites than in a plain run: {', '.join(odd)}; {_WAY_OUT}")
    for name, density in ours.items():
        if not _close(density.detach(), theirs[name].detach()):
            raise NotVectorizable(
                f"site {name!r}: its log density at values of a plain run is {density.item():.6g} when all values are taken at once, and "
                f"{theirs[name].item():.6g} there; does the program broadcast over dimensions to the left? {_WAY_OUT}"
            )


_WAY_OUT = "interpreters.enumeration.exact runs it once for each value"


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal but for the rounding of two orders of summation: half of the digits. What is impossible is a huge number in a factor."""
    eps = torch.finfo(a.dtype).eps if a.is_floating_point() else 0.0
    impossible = bool(b == -torch.inf) and bool(a < -1e30)
    return impossible or torch.allclose(a.double(), b.double(), rtol=eps**0.5, atol=eps**0.5, equal_nan=True)


def _indices(graph: FactorGraph, values: Mapping[str, torch.Tensor]) -> Indices:
    indices: Indices = {}
    for variable in graph.variables:
        missing = [name for name in step_names(variable.name, variable.plates).values() if name not in values]
        if missing:
            raise NotVectorizable(f"site {missing[0]!r} is not in a plain run: which sites there are depends on their values; {_WAY_OUT}")
        indices[variable] = _index(variable, values)
    for chain in graph.chains:
        _follow(chain, indices)
    return indices


def _index(variable: Variable, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Which of its values a variable has in a plain run: [1, *sizes of ordered plates]."""
    value = from_steps(variable, {name: values[name].unsqueeze(0) for name in step_names(variable.name, variable.plates).values()})
    equal = variable.values == value
    rank = len(variable.batch)
    dims = {1 + rank + plate.dim for plate in variable.plates}
    rest = [dim for dim in range(1, equal.dim()) if dim not in dims]
    for dim in rest[::-1]:
        equal = equal.all(dim)
    return equal.to(torch.int8).argmax(0).unsqueeze(0)


def _follow(chain: Chain, indices: Indices) -> None:
    """The state before a step is that after the one before, and the last one that after the last step."""
    for first, before, after, last in zip(chain.first, chain.before, chain.after, chain.last, strict=True):
        dim = 1 + ordered(after.plates).index(chain.plate)
        steps = indices[after]
        indices[before] = torch.cat([indices[first].unsqueeze(dim), steps.narrow(dim, 0, chain.plate.size - 1)], dim)
        indices[last] = steps.select(dim, chain.plate.size - 1)
