"""Whether a program means, run once for all values, what it means run plainly: site by site, at the values of some plain runs.

A program that does not broadcast (``x.sum()``, ``xs[i]`` of what a plate returned) is silently wrong otherwise. It may be right at some
values, as ``x.max()`` is where one of the x is the largest value. So it is compared at the first values, at the last, at some
others, and at those of a run that draws them, element by element.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import torch

from interpreters.errors import NotVectorizable
from interpreters.factor_graph.causes import of_layout
from interpreters.factor_graph.collecting import FactorGraph
from interpreters.factor_graph.factors import Factor, Indices, Plate, Variable, from_steps, loops, ordered, step_names, weight
from interpreters.factor_graph.loops import Chain

WAYS: Final = (0, 1, 2)  # of ``some_value``, in which the values are chosen


def check(graph: FactorGraph, values: Mapping[str, torch.Tensor], densities: Mapping[str, torch.Tensor], drawn: Collection[str]) -> None:
    """Raises ``NotVectorizable`` unless the graph has ``densities``, by site of a plain run, where its variables have ``values``.

    drawn:  the names of the sites that are not decided in the plain run.
    """
    _check_names(graph, densities, drawn)
    indices = _indices(graph, values)
    ours: dict[str, torch.Tensor] = {name: term.detach() for name, term in graph.terms.items()}
    plates: dict[str, frozenset[Plate]] = {}
    for name, factor in zip(graph.names, graph.factors, strict=True):
        for each, part in _by_step(name, factor, indices).items():
            ours[each] = ours[each].sum() + part.sum() if each in ours else part
            plates[each] = factor.plates
    pairs = {name: _reduced(density, densities[name]) for name, density in ours.items()}
    if not _alike(pairs.values()):
        for name, (here, there) in pairs.items():
            _compare(name, here, there, plates.get(name, frozenset()))


def _check_names(graph: FactorGraph, densities: Mapping[str, torch.Tensor], drawn: Collection[str]) -> None:
    names = {*graph.terms}
    for name, factor in zip(graph.names, graph.factors, strict=True):
        names.update(step_names(name, factor.plates).values())
    sampled = {each for variable in graph.variables for each in step_names(variable.name, variable.plates).values()}
    for here, there in ((names, set(densities)), (sampled, set(drawn))):
        if here != there:
            odd = sorted(name.removesuffix(" (hidden)") for name in here ^ there)
            raise NotVectorizable(
                f"for all values at once the program has other sites than in a plain run, or others that are undecided: {', '.join(odd)}; "
                f"are there names of steps of a vectorised markov loop? {_WAY_OUT}"
            )


_WAY_OUT: Final = "interpreters.enumeration.exact runs it once for each value"


def _by_step(name: str, factor: Factor, indices: Indices) -> dict[str, torch.Tensor]:
    """The log density of a factor by the names of a plain run, each [*sizes of its plates that are no loops, ordered]."""
    plates, inner = ordered(factor.plates), loops(factor.plates)
    whole = factor.at(indices, ())[0].detach() * weight(plates)
    if not inner:
        return {name: whole}
    steps = whole.movedim([plates.index(plate) for plate in inner], list(range(len(inner)))).flatten(0, len(inner) - 1)
    return dict(zip(step_names(name, factor.plates).values(), steps.unbind(), strict=True))


def _reduced(ours: torch.Tensor, theirs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Element by element, where both have as many, or both sums. What belongs to no plate is summed here already."""
    a, b = ours.squeeze(), theirs.detach().squeeze()
    return (a, b) if a.shape == b.shape else (a.sum(), b.sum())


def _alike(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> bool:
    """Whether all of them are close: by one comparison for each precision."""
    kinds: dict[torch.dtype, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    for a, b in pairs:
        kinds.setdefault(a.dtype, []).append((a.reshape(-1), b.reshape(-1)))
    return all(bool(_close(torch.cat([a for a, _ in each]), torch.cat([b for _, b in each])).all()) for each in kinds.values())


def _compare(name: str, ours: torch.Tensor, theirs: torch.Tensor, plates: frozenset[Plate]) -> None:
    if not bool(_close(ours, theirs).all()):
        cause = of_layout(plates)
        raise NotVectorizable(
            f"site {name!r}: its log density at values of a plain run is {ours.sum().item():.6g} when all values are taken at once, and "
            f"{theirs.sum().item():.6g} there, or is laid out otherwise; {cause or 'does the program broadcast over dimensions to the left?'} {_WAY_OUT}"
        )


def _close(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Equal but for the rounding of two orders of summation. What is impossible is a huge number in a factor.

    Half of the digits or, in double, those that single precision leaves: a tensor of a model may be single, as torch.ones(2) is.
    """
    tolerance = max(torch.finfo(a.dtype).eps ** 0.5, 1e-5) if a.is_floating_point() else 0.0
    impossible = (b == -torch.inf) & (a < -1e30)
    return impossible | torch.isclose(a.double(), b.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


def _indices(graph: FactorGraph, values: Mapping[str, torch.Tensor]) -> Indices:
    indices: Indices = {}
    for variable in graph.variables:
        try:
            indices[variable] = _index(variable, values)
        except RuntimeError as error:
            raise NotVectorizable(
                f"site {variable.name!r}: its values have another shape when all values are taken at once than in a plain run; {_WAY_OUT}"
            ) from error
    for chain in graph.chains:
        _follow(chain, indices)
    return indices


def _index(variable: Variable, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Which of its values a variable has in a plain run: [1, *sizes of ordered plates]."""
    value = from_steps(variable, {name: values[name].unsqueeze(0) for name in step_names(variable.name, variable.plates).values()})
    equal = variable.values == value
    rank = len(variable.batch)
    dims = {1 + rank + plate.dim for plate in variable.plates if plate.branch is None}
    rest = [dim for dim in range(1, equal.dim()) if dim not in dims]
    for dim in rest[::-1]:
        equal = equal.all(dim)
    return equal.to(torch.int8).argmax(0).reshape(1, *(plate.size for plate in ordered(variable.plates)))


def _follow(chain: Chain, indices: Indices) -> None:
    """The state before a step is that after the one before, and the last one that after the last step."""
    for first, before, after, last in zip(chain.first, chain.before, chain.after, chain.last, strict=True):
        dim = 1 + ordered(after.plates).index(chain.plate)
        steps = indices[after]
        indices[before] = torch.cat([indices[first].unsqueeze(dim), steps.narrow(dim, 0, chain.plate.size - 1)], dim)
        indices[last] = steps.select(dim, chain.plate.size - 1)
