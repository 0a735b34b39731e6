"""Angles as coordinates: a circle has no ends, and no bijection from a line.

On the line a density of angles comes back every turn, and has no finite integral: chains wander, each to other turns. Cut open, the circle
has two ends at which one mode is two. So an angle has two coordinates, a point in the plane, as Stan's unit vectors have (Stan Reference
Manual, "Unit vector"); its distance from the origin is one more variable, which tells nothing.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch.distributions import Distribution, Independent, MixtureSameFamily, TransformedDistribution, VonMises, constraints
from torch.distributions.transforms import ComposeTransform, IndependentTransform, Transform

_TIGHTNESS: Final = 10
"""``_TIGHTNESS`` times the squared distance has a chi-squared distribution of so many degrees of freedom: near 1, and far from the origin, where
a step would be a turn. Stan's is a normal point, which is 2."""


def is_circular(dist: Any) -> bool:
    """Whether what it draws are angles, for which torch says that their support is the real line."""
    if isinstance(dist, (Independent, TransformedDistribution)):
        return is_circular(dist.base_dist)
    if isinstance(dist, MixtureSameFamily):
        return is_circular(dist.component_distribution)
    return isinstance(dist, VonMises)


def is_angle(dist: Any) -> bool:
    """Whether what it draws are angles in radians: of a transformed circular distribution, nobody knows what a turn is."""
    return is_circular(dist) and not _is_transformed(dist)


def _is_transformed(dist: Any) -> bool:
    if isinstance(dist, MixtureSameFamily):
        return _is_transformed(dist.component_distribution)
    return _is_transformed(dist.base_dist) if isinstance(dist, Independent) else isinstance(dist, TransformedDistribution)


def onto_circle(dist: Distribution) -> Transform:
    """From the coordinates of a circular distribution's values to these."""
    if isinstance(dist, Independent):
        return IndependentTransform(onto_circle(dist.base_dist), dist.reinterpreted_batch_ndims)
    if isinstance(dist, TransformedDistribution):
        return ComposeTransform([onto_circle(dist.base_dist), *dist.transforms])
    return CircleTransform()


class CircleTransform(Transform):
    """From points [..., 2] to their angles, from -pi to pi.

    Not a bijection: the inverse is the point at distance 1. In place of a log Jacobian it has the log density of the plane, given the angle:
    integrated over all points of an angle it is 1, so that a density of angles keeps its integral.
    """

    domain = constraints.real_vector
    codomain = constraints.real

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    __hash__ = None  # type: ignore[assignment]  # torch's transforms are compared, not hashed

    def _call(self, x: torch.Tensor) -> torch.Tensor:
        return torch.atan2(x[..., 1], x[..., 0])

    def _inverse(self, y: torch.Tensor) -> torch.Tensor:
        return torch.stack([y.cos(), y.sin()], dim=-1)

    def log_abs_det_jacobian(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        half, square = _TIGHTNESS / 2, x.square().sum(-1)
        constant = (1 - half) * math.log(2.0) - math.lgamma(half) + half * math.log(_TIGHTNESS)
        return constant + (half - 1) * square.log() - half * square

    def forward_shape(self, shape: Any) -> torch.Size:
        return torch.Size(shape[:-1])

    def inverse_shape(self, shape: Any) -> torch.Size:
        return torch.Size((*shape, 2))
