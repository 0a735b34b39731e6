"""The log density of one site as a term of a weight: where a value may be impossible, and which sites make no weight."""

from __future__ import annotations

import math
from typing import Any

import torch

from interpreters.errors import SubsampledWeight
from poutine import Choice, DistributionError, Observe, Sample, batch_log_density
from poutine.trace_graph import is_subsample


def score(site: Choice) -> torch.Tensor:
    """``batch_log_density``, but -inf where an observation is outside of the support of its distribution.

    ``theta ~ HalfNormal(5); y ~ Uniform(0, theta)``: a draw of theta below y is no error, but a draw of weight zero. A nan is
    an error still. Raises ``NoDensity``, ``DistributionError``.
    """
    try:
        return batch_log_density(site)
    except DistributionError:
        inside = _inside(site)
        if inside is None:
            raise
        mask = torch.as_tensor(site.mask)
        log_density = batch_log_density(site.evolve(mask=mask & inside))
        return torch.where(mask & ~inside, -math.inf, log_density)


def check_not_subsampled(site: Sample) -> None:
    """Raises ``SubsampledWeight`` at the site in which a plate draws its index."""
    if is_subsample(site):
        raise SubsampledWeight(
            site.name,
            "it draws the index of a subsampled plate; a particle that sees a part of the data has no weight for all of them: take the whole "
            "plate, or give it its subsample, which then stands for the whole in every particle",
        )


def _inside(site: Choice) -> torch.Tensor | None:
    """Where the value is in the support, of the shape of a log density; None if this is not what is wrong with it."""
    if not isinstance(site, Observe):
        return None
    dist: Any = site.dist
    value = torch.as_tensor(site.value)
    try:
        inside: torch.Tensor = dist.support.check(value)
    except (AttributeError, RuntimeError, ValueError):  # a distribution that has no support, a value of another shape
        return None
    # The questions that torch's own validation asks, which are answered for all runs inside of vmap.
    return None if torch._is_all_true(inside) or torch._is_any_true(value.isnan()) else inside
