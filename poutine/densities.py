"""The log density of one site, in nats."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.distributions import Distribution
from torch.distributions.transforms import Transform

from poutine.errors import DistributionError, NoDensity, PoutineError
from poutine.messages import Choice


def batch_log_density(site: Choice) -> torch.Tensor:
    """``scale * where(mask, log_prob(value), 0)``, with the batch shape of the site.

    The gradient is exactly zero where the mask is off, even where ``log_prob`` is infinite or nan there, and values
    outside the support are refused only where the mask is on. Raises ``NoDensity``, ``DistributionError``.
    """
    try:
        log_prob = _log_prob(site)
    except PoutineError:
        raise
    except Exception as error:
        raise DistributionError(site.name, f"cannot score a value of {_shape(site.value)} under {site.dist!r}: {error}") from error
    if not isinstance(log_prob, torch.Tensor):
        log_prob = torch.as_tensor(log_prob)
    return log_prob if isinstance(site.scale, float) and site.scale == 1.0 else log_prob * site.scale


def log_density(site: Choice) -> torch.Tensor:
    """``batch_log_density`` summed: a scalar."""
    return batch_log_density(site).sum()


def _log_prob(site: Choice) -> Any:
    if not site.is_decided:
        raise NoDensity(site.name, "it has no value yet; a density needs a finished site")
    dist = site.dist
    value = _as_tensor(site.value) if isinstance(dist, Distribution) else site.value
    if site.mask is True:
        return dist.log_prob(value)
    batch_shape = getattr(dist, "batch_shape", None)
    if batch_shape is None:
        return _log_prob_without_shapes(dist, value, torch.as_tensor(site.mask))
    event_dim = len(getattr(dist, "event_shape", ()))
    value = torch.as_tensor(value)
    mask = torch.as_tensor(site.mask, device=value.device)
    shape = torch.broadcast_shapes(batch_shape, value.shape[: value.dim() - event_dim], mask.shape)  # type: ignore[no-untyped-call]  # torch's own
    mask = mask.expand(shape)
    if isinstance(dist, Distribution):
        _check_support(site, dist, value, mask, event_dim)
        dist = _gated(dist.expand(shape), mask)
    log_prob = torch.as_tensor(dist.log_prob(_gate(value.expand(shape + value.shape[value.dim() - event_dim :]), mask)))
    return torch.where(mask, log_prob, torch.zeros_like(log_prob))


def _log_prob_without_shapes(dist: Any, value: Any, mask: torch.Tensor) -> torch.Tensor:
    """The same for a distribution that does not tell its shapes: which part of a value is one draw, only its density shows."""
    if isinstance(value, torch.Tensor) and value.shape[: mask.dim()] == mask.shape:
        value = _gate(value, mask)
    log_prob = torch.as_tensor(dist.log_prob(value))
    return torch.where(mask, log_prob, torch.zeros_like(log_prob))


def _as_tensor(value: Any) -> torch.Tensor:
    # A Python number is exact to double precision, whatever torch's default type is.
    return torch.as_tensor(value, dtype=torch.float64 if isinstance(value, float) else None)


def _gate(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``x``, with no gradient where ``mask`` (over the leading dimensions of ``x``) is off.

    Masking the log density alone is not enough: where the density is infinite, zero times its gradient is nan.
    """
    if not x.requires_grad:
        return x
    mask = mask.reshape(mask.shape + (1,) * (x.dim() - mask.dim()))
    return torch.where(mask, x, x.detach())


def _gated(thing: Any, mask: torch.Tensor) -> Any:
    """A copy of a distribution (already of the mask's batch shape) or transform whose tensors are gated, and unvalidated."""
    thing = copy.copy(thing)
    fields = vars(thing)
    if "_inv" in fields:
        fields["_inv"] = None  # a transform and its inverse hold each other
    for key, value in fields.items():
        if isinstance(value, torch.Tensor):
            fields[key] = _gate(value, mask) if value.shape[: mask.dim()] == mask.shape else value
        elif isinstance(value, (Distribution, Transform)):
            fields[key] = _gated(value, mask)
        elif isinstance(value, list) and key == "transforms":
            fields[key] = [_gated(part, mask) for part in value]
    if isinstance(thing, Distribution):
        fields["_validate_args"] = False  # _check_support has looked, where the mask is on
    return thing


def _check_support(site: Choice, dist: Distribution, value: torch.Tensor, mask: torch.Tensor, event_dim: int) -> None:
    support = dist.support
    if not dist._validate_args or support is None:
        return
    valid = support.check(value)  # type: ignore[no-untyped-call]  # torch's own
    if not torch._is_all_true(valid | ~mask):  # the question that torch's own validation asks, which a tracer can answer
        raise DistributionError(site.name, f"a value where the mask is on is outside of the support {support!r} of {dist!r}")


def _shape(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
