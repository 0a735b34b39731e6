"""What can be chosen at a site, and with which probabilities."""

from __future__ import annotations

import math
from typing import Any, Final

import torch

from interpreters.errors import NotFinite
from interpreters.finite import check_finite, combined, log_density, values_of
from poutine import DistributionError, Sample
from poutine.trace_graph import is_subsample


def number_of_values(site: Sample) -> int:
    """For a batch, of all combinations. Raises ``NotFinite``."""
    dist: Any = site.dist
    if is_subsample(site):
        raise NotFinite(
            site.name,
            f"a plate draws which {dist.drawn} of its {dist.size} elements take part: that is an estimate, whose traces are no parts of one sum (the log "
            "density of the index is zero); give the plate its subsample, or condition on the index",
        )
    elements = math.prod(_batch_shape(site))
    return check_finite(site, elements, _OTHERWISE, "make it a sequential plate of smaller sites")


def values_and_log_probs(site: Sample, number: int) -> list[tuple[torch.Tensor, float]]:
    """All values of a site (for a batch, every combination), and their log probabilities."""
    dist: Any = site.dist
    shape, plain = _batch_shape(site), alone(site)
    found = []
    for value in combined(values_of(dist), math.prod(shape)).reshape(number, *shape, *dist.event_shape):
        log_prob = log_prob_of(plain, value).item()
        if math.isnan(log_prob):
            raise DistributionError(site.name, f"the log probability of {value!r} is nan; check the arguments of {dist!r}")
        found.append((value, log_prob))
    return found


def alone(site: Sample) -> Sample:
    """Neither scaled nor masked, as it is drawn."""
    return site.evolve(scale=1.0, mask=True) if "scale" in site.__dict__ or "mask" in site.__dict__ else site


def log_prob_of(site: Sample, value: torch.Tensor) -> torch.Tensor:
    return log_density(site.replaced("value", value)).sum().detach()


def _batch_shape(site: Sample) -> torch.Size:
    return getattr(site.dist, "batch_shape", torch.Size())


_OTHERWISE: Final = "condition it, put a finite distribution in its place, or use a method that draws"
