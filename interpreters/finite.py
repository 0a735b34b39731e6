"""Distributions with finitely many values, and these values: what torch lists, and what is made of that.

A vector of finite elements has all of their combinations, a mixture the values of its components, a multinomial all ways to divide its
number of trials. A binomial may have another number of trials in each element of a batch: then the values are those of the largest, and
in the other elements some of them are out of range (``log_density``).
"""

from __future__ import annotations

from itertools import combinations, product
from math import comb, prod
from typing import Any, Final

import torch
from torch.distributions import Binomial, Independent, MixtureSameFamily, Multinomial

from interpreters.errors import NotFinite
from interpreters.ranges import bounded_log_density
from poutine import Sample, batch_log_density
from poutine.supports import support_of

_MOST: Final = 100_000  # values of one site


def number_of_values(dist: Any) -> int | None:
    """Of one element of a batch; None if there are infinitely many, or the distribution does not tell."""
    if getattr(dist, "has_enumerate_support", False):
        return _trials(dist) + 1 if isinstance(dist, Binomial) else len(dist.enumerate_support(expand=False))
    if isinstance(dist, Independent):
        each = number_of_values(dist.base_dist)
        return None if each is None else int(each ** prod(_inside(dist)))
    if isinstance(dist, MixtureSameFamily):
        return number_of_values(dist.component_distribution)
    if isinstance(dist, Multinomial):
        categories = dist.event_shape[0]
        return comb(int(dist.total_count) + categories - 1, categories - 1)
    return None


def values_of(dist: Any) -> torch.Tensor:
    """The values of one element of a batch: [values, *event_shape]."""
    event: torch.Size = dist.event_shape
    if getattr(dist, "has_enumerate_support", False):
        if isinstance(dist, Binomial):
            return torch.arange(_trials(dist) + 1).to(dist.probs.dtype)
        listed: torch.Tensor = dist.enumerate_support(expand=False)
        return listed.reshape(-1, *event)
    if isinstance(dist, MixtureSameFamily):
        return values_of(dist.component_distribution)
    if isinstance(dist, Independent):
        together = combined(values_of(dist.base_dist), prod(_inside(dist)))
        return together.reshape(len(together), *event)
    return _divided(int(dist.total_count), event[0]).to(dist.probs.dtype)


def combined(values: torch.Tensor, elements: int) -> torch.Tensor:
    """All combinations of as many ``values`` as there are ``elements``: [combinations, elements, *shape of one]."""
    rows = list(product(range(len(values)), repeat=elements))
    return values[torch.tensor(rows, dtype=torch.int64).reshape(len(rows), elements)]


def check_finite(site: Sample, elements: int, otherwise: str, too_many: str) -> int:
    """How many values that many elements have together.

    Raises ``NotFinite`` if so many elements together do not have finitely many values, or too many; the last two are the ways out.
    """
    each = number_of_values(site.dist)
    if each is None:
        support = support_of(site.dist)
        infinite = "has infinitely many values, or does not list them (enumerate_support)"
        what = infinite if getattr(support, "is_discrete", False) else "is continuous, or tells no finite support"
        raise NotFinite(site.name, f"{site.dist!r} {what}; {otherwise}")
    if each**elements > _MOST:
        raise NotFinite(site.name, f"{site.dist!r} has {each**elements} values, more than {_MOST}; {too_many}")
    return int(each**elements)


def log_density(site: Sample, wide: bool = False) -> torch.Tensor:
    """``batch_log_density(site, wide)`` of a site whose value is made of ``values_of``: -inf for those that are out of range in some elements."""
    return (bounded_log_density if _is_uneven(site.dist) else batch_log_density)(site, wide)


def _is_uneven(dist: Any) -> bool:
    """Whether elements of a batch may have other values than others."""
    if isinstance(dist, Independent):
        return _is_uneven(dist.base_dist)
    if isinstance(dist, MixtureSameFamily):
        return _is_uneven(dist.component_distribution)
    return isinstance(dist, Binomial) and bool((dist.total_count != dist.total_count.max()).any())


def _trials(dist: Binomial) -> int:
    return int(dist.total_count.max())


def _inside(dist: Independent[Any]) -> torch.Size:
    """The batch dimensions of the base that are a part of the event."""
    base: Any = dist.base_dist
    return torch.Size(base.batch_shape[len(base.batch_shape) - dist.reinterpreted_batch_ndims :])


def _divided(trials: int, categories: int) -> torch.Tensor:
    """All ways to divide trials among categories: the places of the bars between them, among trials and bars."""
    places = trials + categories - 1
    bars = torch.tensor(list(combinations(range(places), categories - 1)), dtype=torch.int64).reshape(-1, categories - 1)
    edges = torch.nn.functional.pad(bars, (1, 0), value=-1), torch.nn.functional.pad(bars, (0, 1), value=places)
    return edges[1] - edges[0] - 1
