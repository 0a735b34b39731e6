"""What a distribution tells of the values that it can take."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributions import Independent, MixtureSameFamily, TransformedDistribution, constraints


def support_of(dist: Any) -> constraints.Constraint | None:
    """Its support; None if it tells none, by not having one or, as torch's own do that leave it out, by raising ``NotImplementedError``."""
    try:
        return getattr(dist, "support", None)
    except NotImplementedError:
        return None


def contains(dist: Any, value: torch.Tensor) -> torch.Tensor:
    """Whether ``value`` is in its range: of the batch shape, broadcast with the value's.

    What torch calls the support of a transformed distribution is the codomain of its last transform, which may be wider.
    """
    if isinstance(dist, Independent):
        return _all_of_last(contains(dist.base_dist, value), dist.reinterpreted_batch_ndims)
    if isinstance(dist, MixtureSameFamily):
        return contains(dist.component_distribution, value.unsqueeze(-1 - len(dist.event_shape))).any(-1)
    if not is_plainly_transformed(dist):
        inside: torch.Tensor = dist.support.check(value)
        return inside
    event_dim = len(dist.event_shape)
    for transform in reversed(dist.transforms):
        value = transform.inv(value)
        event_dim += transform.domain.event_dim - transform.codomain.event_dim
    return _all_of_last(contains(dist.base_dist, value), event_dim - len(dist.base_dist.event_shape))


def is_plainly_transformed(dist: Any) -> bool:
    """Whether what it calls its support is the codomain of its last transform."""
    return isinstance(dist, TransformedDistribution) and type(dist).support is TransformedDistribution.support


def _all_of_last(inside: torch.Tensor, count: int) -> torch.Tensor:
    return inside.flatten(-count).all(-1) if count else inside
