"""The log density of one site as a term of a weight: where a value may be impossible, and which sites make no weight."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributions import Distribution

from interpreters.errors import SubsampledWeight
from interpreters.ranges import bounded_log_density
from poutine import Choice, DistributionError, Observe, Sample, batch_log_density
from poutine.supports import contains, support_of
from poutine.trace_graph import is_subsample


def score(site: Choice) -> torch.Tensor:
    """``batch_log_density``, but -inf where an observation is outside of the range of its distribution.

    ``theta ~ HalfNormal(5); y ~ Uniform(0, theta)``: a draw of theta below y is no error, but a draw of weight zero. A nan is
    an error still. Raises ``NoDensity``, ``DistributionError``.
    """
    try:
        return batch_log_density(site)
    except DistributionError:
        if not is_outside(site):
            raise
    return bounded_log_density(site)


def check_not_subsampled(site: Sample) -> None:
    """Raises ``SubsampledWeight`` at the site in which a plate draws its index."""
    if is_subsample(site):
        raise SubsampledWeight(
            site.name,
            "it draws the index of a subsampled plate; a particle that sees a part of the data has no weight for all of them: take the whole "
            "plate, or give it its subsample, which then stands for the whole in every particle",
        )


def is_outside(site: Choice) -> bool:
    """Whether an observation is outside of the range of its distribution, or of what torch takes for it, and this is what is wrong.

    Of a mixture, torch's is what all components have in common.
    """
    dist: Any = site.dist
    support: Any = support_of(dist)
    if not isinstance(site, Observe) or not isinstance(dist, Distribution) or support is None:
        return False
    value = torch.as_tensor(site.value)
    try:
        inside = contains(dist, value).all() & support.check(value).all()
    except (RuntimeError, ValueError):  # of another shape
        return False
    # The questions that torch's own validation asks, which are answered for all runs inside of vmap.
    return not (torch._is_all_true(inside) or torch._is_any_true(value.isnan()))
