"""The summary of angles, in radians: pi and -pi are one, so their mean is not between the two.

Source: Mardia and Jupp, "Directional Statistics" (2000), sections 2.2 and 2.3.
"""

from __future__ import annotations

import math

import torch


def circular_mean(x: torch.Tensor) -> torch.Tensor:
    """Of each column of [n, k]: the direction of the sum of the points on the circle, from -pi to pi."""
    return torch.atan2(x.sin().mean(0), x.cos().mean(0))


def circular_sd(x: torch.Tensor) -> torch.Tensor:
    """Of each column of [n, k]: sqrt(-2 log R), where R is the length of the mean of the points; of few turns spread, the standard deviation."""
    length = torch.hypot(x.sin().mean(0), x.cos().mean(0))
    return (-2 * length.clamp(max=1.0).log()).sqrt()


def from_mean(x: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """How far it is from the mean to each angle, the shorter way: from -pi to pi."""
    return torch.remainder(x - mean + math.pi, 2 * math.pi) - math.pi
