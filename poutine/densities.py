"""The log density of one site, in nats."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch.distributions import Distribution, constraints

from poutine.equivalents import Equivalents
from poutine.errors import DistributionError, NoDensity, PoutineError
from poutine.masked import fill, filled, gate
from poutine.supports import contains, support_of
from poutine.tensors import tensors_in
from poutine.whole_numbers import as_number, as_tensor, with_numbers


class Scored(Protocol):
    """What a log density is asked of: a finished site with a distribution."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> Any: ...
    @property
    def scale(self) -> Any: ...
    @property
    def mask(self) -> Any: ...
    @property
    def infer(self) -> Any: ...
    @property
    def dist(self) -> Any: ...
    @property
    def is_decided(self) -> bool: ...


def batch_log_density(site: Scored, wide: bool = False) -> torch.Tensor:
    """``scale * where(mask, log_prob(value), 0)``, with the batch shape of the site.

    The gradient is exactly zero where the mask is off, even where ``log_prob`` is infinite or nan there, and values
    outside the support are refused only where the mask is on: where it is off, the first element that is on is scored
    in the place of the element. A mask or a scale with more elements than the site has is refused: each of its elements would count
    several times, and a mask that is True everywhere would be no identity. Not so if ``wide``: for a runtime that has many values of
    something at once, on which they may depend and the site not. Raises ``NoDensity``, ``DistributionError``.
    """
    try:
        log_prob = _log_prob(site, wide)
        if not isinstance(log_prob, torch.Tensor):
            log_prob = torch.as_tensor(log_prob)
        return log_prob if isinstance(site.scale, float) and site.scale == 1.0 else _scaled(site, log_prob, wide)
    except PoutineError:
        raise
    except Exception as error:
        raise DistributionError(
            site.name, f"cannot score a value of {_shape(site.value)} under {site.dist!r}{_shapes(site)}: {error}"
        ) from error


def log_density(site: Scored) -> torch.Tensor:
    """``batch_log_density`` summed: a scalar."""
    return batch_log_density(site).sum()


def _scaled(site: Scored, log_prob: torch.Tensor, wide: bool) -> torch.Tensor:
    scaled: torch.Tensor = log_prob * site.scale
    _check_fits(site, "scale", site.scale, log_prob.shape, scaled.shape, wide)
    return scaled


def _check_fits(site: Scored, what: str, factor: Any, own: torch.Size, shape: torch.Size, wide: bool) -> None:
    """Raises ``DistributionError`` if a site of batch shape ``own`` would have another number of elements with ``factor``, of ``shape``."""
    if wide or shape.numel() == own.numel() or site.infer.get("is_subsample"):  # whose density is zero, however often it counts
        return
    raise DistributionError(
        site.name,
        f"the {what} around it has shape {tuple(factor.shape)}, and the site batch shape {tuple(own)}: each of its elements would count "
        f"several times; put the {what} around the sites alone that have its shape, or give it one that broadcasts to {tuple(own)}",
    )


def _log_prob(site: Scored, wide: bool) -> Any:
    if not site.is_decided:
        raise NoDensity(site.name, "it has no value yet; a density needs a finished site")
    dist = site.dist
    value, is_exact = as_tensor(site.value) if isinstance(dist, Distribution) else site.value, isinstance(site.value, int)
    if site.mask is True:
        return _scored(dist, value, is_exact)
    batch_shape = getattr(dist, "batch_shape", None)
    if batch_shape is None:
        return _log_prob_without_shapes(site, value, torch.as_tensor(site.mask), wide)
    event_dim = len(getattr(dist, "event_shape", ()))
    value = torch.as_tensor(value)
    mask = torch.as_tensor(site.mask, device=value.device)
    own = torch.broadcast_shapes(batch_shape, value.shape[: value.dim() - event_dim])  # type: ignore[no-untyped-call]  # torch's own
    shape = torch.broadcast_shapes(own, mask.shape)  # type: ignore[no-untyped-call]  # torch's own
    _check_fits(site, "mask", mask, own, shape, wide)
    mask = mask.expand(shape)
    value = value.expand(shape + value.shape[value.dim() - event_dim :])
    if not _is_any_on(mask):
        return _zeros(shape, (value, *tensors_in(dist)))
    value = fill(value, mask)
    if isinstance(dist, Distribution):
        _check_support(site, dist, value, mask)
        dist = filled(dist.expand(shape), mask)
    log_prob = torch.as_tensor(_scored(dist, value, is_exact))
    return torch.where(mask, log_prob, torch.zeros_like(log_prob))


def _scored(dist: Any, value: Any, is_exact: bool) -> Any:
    """``dist.log_prob(value)``; where torch computes with them, of whole numbers as such of floating point."""
    if not isinstance(dist, Distribution) or value.dtype is torch.float32:
        return _asked(dist, value)
    number = as_number(dist, value, is_exact)
    return _asked(with_numbers(dist, number), number)


def _asked(dist: Any, value: Any) -> Any:
    """``dist.log_prob(value)``; where torch refuses, by ``Equivalents``."""
    try:
        return dist.log_prob(value)
    except RuntimeError:
        with Equivalents():
            return dist.log_prob(value)


def _log_prob_without_shapes(site: Scored, value: Any, mask: torch.Tensor, wide: bool) -> torch.Tensor:
    """The same for a distribution that does not tell its shapes: which part of a value is one draw, only its density shows."""
    if isinstance(value, torch.Tensor) and value.shape[: mask.dim()] == mask.shape:
        value = gate(value, mask)
    log_prob = torch.as_tensor(site.dist.log_prob(value))
    masked = torch.where(mask, log_prob, torch.zeros_like(log_prob))
    _check_fits(site, "mask", mask, log_prob.shape, masked.shape, wide)
    return masked


def _is_any_on(mask: torch.Tensor) -> bool:
    if mask.numel() == 0:
        return False
    try:
        return bool(torch._is_any_true(mask))
    except RuntimeError:  # a tracer or a vmap has no answer: it scores, whatever the mask turns out to be
        return True


def _zeros(shape: torch.Size, tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """Zeros of the tensors' common type that depend on them, so that a gradient is zero rather than missing."""
    zero = sum(torch.where(torch.zeros_like(x, dtype=torch.bool), x, 0).sum() for x in tensors if x.is_floating_point())
    return torch.as_tensor(zero, dtype=None if isinstance(zero, torch.Tensor) else torch.get_default_dtype()).expand(shape)


def _check_support(site: Scored, dist: Distribution, value: torch.Tensor, mask: torch.Tensor) -> None:
    support = support_of(dist)
    if not dist._validate_args or support is None:
        return
    valid = _in_range(dist, support, value)
    if not torch._is_all_true(valid | ~mask):  # the question that torch's own validation asks, which a tracer can answer
        raise DistributionError(site.name, f"a value where the mask is on is outside of the range of {dist!r}, of support {support!r}")


def _in_range(dist: Distribution, support: constraints.Constraint, value: torch.Tensor) -> torch.Tensor:
    valid: torch.Tensor = support.check(value)  # type: ignore[no-untyped-call]  # torch's own
    try:
        return valid & contains(dist, value)
    except NotImplementedError:  # a transform without an inverse, or a base that tells no support
        return valid


def _shapes(site: Scored) -> str:
    parts = (("scale", site.scale), ("mask", site.mask))
    return "".join(f", {name} of {_shape(part)}" for name, part in parts if isinstance(part, torch.Tensor))


def _shape(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
