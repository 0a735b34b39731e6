"""The log density of one site, in nats."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import torch
from torch.distributions import Distribution, TransformedDistribution
from torch.distributions.transforms import (
    AffineTransform,
    ComposeTransform,
    CumulativeDistributionTransform,
    IndependentTransform,
    PowerTransform,
    Transform,
    _InverseTransform,
)

from poutine.errors import DistributionError, NoDensity, PoutineError
from poutine.messages import Choice

# What torch's distributions keep in the shape it came in, also after ``expand``: how many dimensions of it are not of the batch.
_UNEXPANDED: Final = MappingProxyType(
    {
        "_unbroadcasted_scale_tril": 2,
        "_unbroadcasted_cov_factor": 2,
        "_unbroadcasted_cov_diag": 1,
        "_capacitance_tril": 2,
    }
)


def batch_log_density(site: Choice) -> torch.Tensor:
    """``scale * where(mask, log_prob(value), 0)``, with the batch shape of the site.

    The gradient is exactly zero where the mask is off, even where ``log_prob`` is infinite or nan there, and values
    outside the support are refused only where the mask is on: where it is off, the first element that is on is scored
    in the place of the element. Raises ``NoDensity``, ``DistributionError``.
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
    value = value.expand(shape + value.shape[value.dim() - event_dim :])
    if not _is_any_on(mask):
        return _zeros(shape, (value, *_tensors(dist)))
    value = _fill(value, mask)
    if isinstance(dist, Distribution):
        _check_support(site, dist, value, mask)
        dist = _filled(dist.expand(shape), mask)
    log_prob = torch.as_tensor(dist.log_prob(value))
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


def _fill(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``x`` where ``mask`` (over its leading dimensions) is on, and elsewhere the first element that is on, with no gradient.

    A gate is not enough for what several elements share: its gradient passes through the elements that are off, as zero
    times what the density's derivative is there. So that must be finite, which it is for a copy of an element that counts.
    """
    event_shape = x.shape[mask.dim() :]
    first = mask.reshape(-1).to(torch.int8).argmax().reshape(1)  # no question to the tensor: vmap and tracers could not answer
    on = x.detach().reshape((mask.numel(), *event_shape)).index_select(0, first)
    mask = mask.reshape(mask.shape + (1,) * len(event_shape))
    return torch.where(mask, x, on.reshape((1,) * (x.dim() - len(event_shape)) + event_shape))


def _filled(dist: Any, mask: torch.Tensor) -> Any:
    """A copy of a distribution whose batch shape starts with the mask's, with its parameters filled in, and unvalidated."""
    if dist.batch_shape[: mask.dim()] != mask.shape:
        return dist  # a part that all elements share
    dist = copy.copy(dist)
    fields, event_dims = vars(dist), _event_dims(dist)
    for key, value in fields.items():
        if isinstance(value, torch.Tensor):
            fields[key] = _filled_parameter(value, mask, dist.batch_shape, event_dims.get(key))
        elif isinstance(value, Distribution):
            fields[key] = _filled(value, mask)
    if isinstance(dist, TransformedDistribution):
        base = dist.base_dist
        fields["transforms"] = _filled_parts(dist.transforms, mask, len(base.batch_shape) + len(base.event_shape))
    fields["_validate_args"] = False  # _check_support has looked, where the mask is on
    return dist


def _filled_parameter(x: torch.Tensor, mask: torch.Tensor, batch_shape: torch.Size, event_dim: int | None) -> torch.Tensor:
    if event_dim is None:  # not a declared parameter: its shape may be the batch's by chance, so no value is replaced
        return _gate(x, mask) if x.shape[: mask.dim()] == mask.shape else x
    if x.dim() <= event_dim:
        return x
    return _fill(x.expand(batch_shape + x.shape[x.dim() - event_dim :]), mask)


def _event_dims(dist: Distribution) -> Mapping[str, int]:
    """For each parameter that the distribution declares, how many dimensions of it are not of the batch."""
    found = dict(_UNEXPANDED) if type(dist).__module__.startswith("torch.distributions.") else {}
    try:
        declared = dist.arg_constraints
    except NotImplementedError:
        return found
    for name, constraint in declared.items():
        x = vars(dist).get(name)
        try:
            event_dim = constraint.event_dim
        except NotImplementedError:
            continue
        if isinstance(x, torch.Tensor) and x.shape[: x.dim() - event_dim] == dist.batch_shape:
            found[name] = event_dim
    return found


def _filled_parts(parts: Iterable[Transform], mask: torch.Tensor, dim: int) -> list[Transform]:
    """Transforms, one after the other, the first of which is for tensors of ``dim`` dimensions."""
    filled = []
    for part in parts:
        filled.append(_filled_transform(part, mask, dim))
        dim += part.codomain.event_dim - part.domain.event_dim
    return filled


def _filled_transform(transform: Transform, mask: torch.Tensor, dim: int) -> Transform:
    """A copy whose parameters are filled in, for torch's transforms: how others' are laid out is not known."""
    if type(transform) not in _ELEMENTWISE | _COMPOUND:
        return transform
    if isinstance(transform, _InverseTransform):
        inner = transform.inv
        return _InverseTransform(_filled_transform(inner, mask, dim + inner.domain.event_dim - inner.codomain.event_dim))
    fields = vars(transform := copy.copy(transform))  # torch leaves out the inverse, which would have the old parameters
    for key, value in fields.items():
        if isinstance(value, torch.Tensor) and mask.dim() and dim >= value.dim() > dim - mask.dim():
            value = value.reshape((1,) * (dim - value.dim()) + value.shape)
            fields[key] = _fill(value.expand(mask.shape + value.shape[mask.dim() :]), mask)
        elif isinstance(value, Transform):
            fields[key] = _filled_transform(value, mask, dim)
        elif isinstance(value, Distribution) and len(value.batch_shape) == dim:
            fields[key] = _filled(value, mask)
        elif isinstance(transform, ComposeTransform) and key == "parts":
            fields[key] = _filled_parts(value, mask, dim)
    return transform


_ELEMENTWISE: Final = frozenset((AffineTransform, PowerTransform, CumulativeDistributionTransform))
_COMPOUND: Final = frozenset((ComposeTransform, IndependentTransform, _InverseTransform))


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


def _tensors(thing: Any) -> Iterator[torch.Tensor]:
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, (list, tuple)):
        for part in thing:
            yield from _tensors(part)
    elif isinstance(thing, (Distribution, Transform)):
        for key, value in vars(thing).items():
            if key != "_inv" or isinstance(thing, _InverseTransform):  # a transform and its inverse hold each other
                yield from _tensors(value)


def _check_support(site: Choice, dist: Distribution, value: torch.Tensor, mask: torch.Tensor) -> None:
    support = dist.support
    if not dist._validate_args or support is None:
        return
    valid = support.check(value)  # type: ignore[no-untyped-call]  # torch's own
    if not torch._is_all_true(valid | ~mask):  # the question that torch's own validation asks, which a tracer can answer
        raise DistributionError(site.name, f"a value where the mask is on is outside of the support {support!r} of {dist!r}")


def _shape(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
