"""The values of a discrete site, and their log densities."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any, Final

import torch
from torch.distributions import Categorical

from interpreters.errors import NotFinite
from poutine import Sample, batch_log_density
from poutine.randomness import stream_seed

_MOST: Final = 100_000  # values of one site


def is_finite(site: Sample) -> bool:
    """Whether the distribution of a site has a finite support that it can enumerate."""
    return bool(getattr(site.dist, "has_enumerate_support", False))


def some_value(site: Sample) -> torch.Tensor:
    """A value of a finite site, always the same for its name; another one in each element of a batch."""
    dist: Any = site.dist
    values = dist.enumerate_support(expand=False)
    generator = torch.Generator().manual_seed(stream_seed((0, site.name, 1)))
    index = torch.randint(len(values), dist.batch_shape, generator=generator)
    return values.reshape(len(values), *dist.event_shape)[index]  # type: ignore[no-any-return]


def support(site: Sample, plate_dims: frozenset[int], rank: int) -> torch.Tensor:
    """The values of a site: [values, *batch, *event_shape], where ``batch`` has size 1 in the dimensions of plates.

    What is no plate is one joint choice: all combinations. Only the last ``rank`` dimensions are the program's own. Raises ``NotFinite``.
    """
    dist: Any = site.dist
    if not is_finite(site):
        discrete = getattr(getattr(dist, "support", None), "is_discrete", False)
        what = "has infinitely many values" if discrete else "is continuous, or tells no finite support"
        raise NotFinite(
            site.name,
            f"{site.dist!r} {what}; condition it, put a finite distribution in its place, or sample it (density sums out the rest)",
        )
    shape = dist.batch_shape[max(0, len(dist.batch_shape) - rank) :]
    batch = tuple(1 if dim in plate_dims else size for dim, size in zip(range(-len(shape), 0), shape, strict=True))
    one = dist.enumerate_support(expand=False).reshape(-1, *dist.event_shape)
    number = len(one) ** prod(batch)
    if number > _MOST:
        raise NotFinite(
            site.name, f"{site.dist!r} has {number} values, more than {_MOST}; put it into a plate, whose elements are summed one by one"
        )
    if prod(batch) == 1:
        return one.reshape(len(one), *batch, *dist.event_shape)  # type: ignore[no-any-return]  # a distribution's
    rows = torch.tensor(list(product(range(len(one)), repeat=prod(batch))))
    return one[rows].reshape(number, *batch, *dist.event_shape)  # type: ignore[no-any-return]


def enumerated_density(site: Sample) -> torch.Tensor:
    """``batch_log_density`` of a site whose value is its whole support, laid out in one dimension of its own."""
    dist: Any = site.dist
    if type(dist) is Categorical and site.mask is True and _is_plain(site):
        # The same without a gather, whose gradient is a scatter into the product of all that its arguments broadcast to.
        logits = dist.logits.movedim(-1, 0)
        density = logits.reshape(len(logits), *[1] * (site.value.dim() - logits.dim()), *logits.shape[1:])
        return density if isinstance(site.scale, float) and site.scale == 1.0 else density * site.scale
    return batch_log_density(site)


def _is_plain(site: Sample) -> bool:
    """Whether the values are the numbers 0, 1, …, left of all dimensions of the distribution."""
    value: torch.Tensor = site.value
    return value.dim() > len(site.dist.batch_shape) and value.numel() == len(value)  # type: ignore[attr-defined]
