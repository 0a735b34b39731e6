"""Statistics of weighted draws.

Everywhere, ``log_weights`` has shape [n] (nats, up to a common constant unless said otherwise) and ``values`` shape [n, *shape].
Where a value is nan, the site does not exist in that particle; the statistic is over the particles that have it.

Source: Owen, "Monte Carlo theory, methods and examples" (2013), chapter 9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch

_FEWEST: Final = 1.5  # effective draws of which an error is told


def normalized(log_weights: torch.Tensor) -> torch.Tensor:
    """The weights as probabilities."""
    return torch.softmax(log_weights, dim=0)


def ess(log_weights: torch.Tensor) -> float:
    """The effective sample size, (sum w)² / sum w²: as many equally weighted draws tell as much.

    Source: Kong, "A note on importance sampling using standardized weights" (1992); Kish (1965).
    """
    return (1.0 / normalized(log_weights).square().sum()).item()


def log_mean(log_weights: torch.Tensor) -> float:
    """The log of the mean weight (nats): the estimate of the log evidence, if the weights are not up to a constant."""
    return (torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))).item()


def log_mean_error(log_weights: torch.Tensor) -> float:
    """The Monte Carlo standard error (nats) of ``log_mean``: sd(w) / (mean(w) sqrt(n)), by the delta method; nan for one draw."""
    n = len(log_weights)
    relative = torch.softmax(log_weights, dim=0) * n
    return (relative.std(correction=1) / math.sqrt(n)).item() if n > 1 else math.nan


def mean(values: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
    """The weighted mean, of shape [*shape]."""
    return _average(values, _spread(values, log_weights))


def sd(values: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
    """The weighted standard deviation, of shape [*shape]."""
    weights = _spread(values, log_weights)
    return _average((values - _average(values, weights)).square(), weights).sqrt()


def mcse(values: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
    """The Monte Carlo standard error of the weighted mean, of shape [*shape]: sqrt(sum w² (x - mean)²) (Owen, equation 9.9).

    nan where nearly all of the weight is on one draw, whose distance from the mean, which is itself, tells nothing of the error.
    """
    weights = _spread(values, log_weights)
    error = _average((values - _average(values, weights)).square(), weights.square()).sqrt()
    return error.masked_fill(weights.square().sum(dim=0) > 1 / _FEWEST, math.nan)


def quantiles(values: torch.Tensor, log_weights: torch.Tensor, probabilities: Sequence[float]) -> torch.Tensor:
    """For each probability the smallest value that has at least so much weight at or below it: [len(probabilities), *shape]."""
    columns, order = values.reshape(len(values), -1).T.contiguous().sort(dim=1)  # nan comes last, with weight zero
    weights = _spread(values, log_weights).expand(values.shape).reshape(len(values), -1).T
    cumulative = weights.gather(1, order).cumsum(dim=1)
    wanted = cumulative.new_tensor(probabilities) * cumulative[:, -1:]
    reached = torch.searchsorted(cumulative, wanted).clamp(max=len(values) - 1)
    return columns.gather(1, reached).T.reshape(-1, *values.shape[1:])


def _spread(values: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
    """The weights, to be broadcast with ``values``: zero where a value is missing, and summing to one over the others."""
    weights = normalized(log_weights).reshape(-1, *[1] * (values.dim() - 1))
    missing = values.isnan()
    if not bool(missing.any()):
        return weights
    weights = weights * ~missing
    return weights / weights.sum(dim=0)


def _average(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The sum of ``weights * values``; a weight of zero counts nothing, whatever the value."""
    return torch.where(weights > 0, values, 0.0).mul(weights).sum(dim=0)
