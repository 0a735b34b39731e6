"""The values of a discrete site, and their log densities."""

from __future__ import annotations

from math import prod
from typing import Any, Final

import torch
from torch.distributions import Categorical

from interpreters.finite import check_finite, combined, log_density, number_of_values, values_of
from poutine import Sample
from poutine.randomness import stream_seed


def is_finite(site: Sample) -> bool:
    """Whether the distribution of a site has finitely many values, and tells which."""
    return number_of_values(site.dist) is not None


def some_value(site: Sample, way: int) -> torch.Tensor:
    """A value of a finite site that is possible: in way 0 the first, in way 1 the last, in others any, always the same for its name.

    In each element of a batch another one. Raises ``NotFinite``.
    """
    dist: Any = site.dist
    check_finite(site, 1, _OTHERWISE, _TOO_MANY)
    values = values_of(dist)
    number, batch = len(values), dist.batch_shape
    with torch.no_grad():
        every = values.reshape(number, *[1] * len(batch), *dist.event_shape)
        densities = enumerated_density(site.evolve(value=every, scale=1.0, mask=True))
    if way < 2:
        preferred = torch.arange(number).flip(0) if way == 0 else torch.arange(number)
        preferred = preferred.reshape(number, *[1] * len(batch)).expand(number, *batch).float()
    else:
        preferred = torch.rand(number, *batch, generator=torch.Generator().manual_seed(stream_seed((way, site.name, 1))))
    return values[preferred.masked_fill(densities == -torch.inf, -1.0).argmax(0)]


def support(site: Sample, plate_dims: frozenset[int], rank: int) -> torch.Tensor:
    """The values of a site: [values, *batch, *event_shape], where ``batch`` has size 1 in the dimensions of plates.

    What is no plate is one joint choice: all combinations. Only the last ``rank`` dimensions are the program's own. Raises ``NotFinite``.
    """
    dist: Any = site.dist
    shape = getattr(dist, "batch_shape", torch.Size())
    shape = shape[max(0, len(shape) - rank) :]
    batch = tuple(1 if dim in plate_dims else size for dim, size in zip(range(-len(shape), 0), shape, strict=True))
    check_finite(site, prod(batch), _OTHERWISE, _TOO_MANY)
    one = values_of(dist)
    together = one if prod(batch) == 1 else combined(one, prod(batch))
    return together.reshape(len(together), *batch, *dist.event_shape)


_OTHERWISE: Final = "condition it, put a finite distribution in its place, or sample it (density sums out the rest)"
_TOO_MANY: Final = "put it into a plate, whose elements are summed one by one"


def enumerated_density(site: Sample) -> torch.Tensor:
    """The log density, of the batch shape, of a site whose value is its whole support, laid out in one dimension of its own."""
    dist: Any = site.dist
    if type(dist) is Categorical and site.mask is True and _is_plain(site):
        # The same without a gather, whose gradient is a scatter into the product of all that its arguments broadcast to.
        logits = dist.logits.movedim(-1, 0)
        density = logits.reshape(len(logits), *[1] * (site.value.dim() - logits.dim()), *logits.shape[1:])
        return density if isinstance(site.scale, float) and site.scale == 1.0 else density * site.scale
    return log_density(site, wide=True)


def _is_plain(site: Sample) -> bool:
    """Whether the values are the numbers 0, 1, …, left of all dimensions of the distribution."""
    value: torch.Tensor = site.value
    return value.dim() > len(site.dist.batch_shape) and value.numel() == len(value)  # type: ignore[attr-defined]
