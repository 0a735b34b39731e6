"""A distribution in which the elements that are masked off cannot be felt: neither in a value nor in a gradient.

A mask on the log density alone is not enough. Where the density is infinite or nan, its gradient is zero times that, which is
nan, and it goes to every parameter that the element shares with others. So an element that is off is scored as a copy of one
that is on.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
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

# What torch's distributions keep in the shape it came in, also after ``expand``: how many dimensions of it are not of the batch.
_UNEXPANDED: Final = MappingProxyType(
    {
        "_unbroadcasted_scale_tril": 2,
        "_unbroadcasted_cov_factor": 2,
        "_unbroadcasted_cov_diag": 1,
        "_capacitance_tril": 2,
    }
)


def gate(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``x``, with no gradient where ``mask`` (over the leading dimensions of ``x``) is off.

    Masking the log density alone is not enough: where the density is infinite, zero times its gradient is nan.
    """
    if not x.requires_grad:
        return x
    mask = mask.reshape(mask.shape + (1,) * (x.dim() - mask.dim()))
    return torch.where(mask, x, x.detach())


def fill(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``x`` where ``mask`` (over its leading dimensions) is on, and elsewhere the first element that is on, with no gradient.

    A gate is not enough for what several elements share: its gradient passes through the elements that are off, as zero
    times what the density's derivative is there. So that must be finite, which it is for a copy of an element that counts.
    """
    event_shape = x.shape[mask.dim() :]
    first = mask.reshape(-1).to(torch.int8).argmax().reshape(1)  # no question to the tensor: vmap and tracers could not answer
    on = x.detach().reshape((mask.numel(), *event_shape)).index_select(0, first)
    mask = mask.reshape(mask.shape + (1,) * len(event_shape))
    return torch.where(mask, x, on.reshape((1,) * (x.dim() - len(event_shape)) + event_shape))


def filled(dist: Any, mask: torch.Tensor) -> Any:
    """A copy of a distribution whose batch shape starts with the mask's, with its parameters filled in, and unvalidated."""
    return _filled(dist, mask, {})


def _filled(whole: Any, mask: torch.Tensor, done: dict[int, Any]) -> Any:
    """``done``: the copies, by the identity of what is copied, which may refer back to what it is a part of."""
    if id(whole) in done:
        return done[id(whole)]
    if whole.batch_shape[: mask.dim()] != mask.shape:
        return whole  # a part that all elements share
    done[id(whole)] = dist = copy.copy(whole)
    fields, event_dims = vars(dist), _event_dims(dist)
    for key, value in fields.items():
        if isinstance(value, torch.Tensor):
            fields[key] = _filled_parameter(value, mask, dist.batch_shape, event_dims.get(key))
        elif isinstance(value, Distribution):
            fields[key] = _filled(value, mask, done)
    if isinstance(dist, TransformedDistribution):
        base = dist.base_dist
        fields["transforms"] = _filled_parts(dist.transforms, mask, len(base.batch_shape) + len(base.event_shape))
    fields["_validate_args"] = False  # _check_support has looked, where the mask is on
    return dist


def _filled_parameter(x: torch.Tensor, mask: torch.Tensor, batch_shape: torch.Size, event_dim: int | None) -> torch.Tensor:
    if event_dim is None:  # not a declared parameter: its shape may be the batch's by chance, so no value is replaced
        return gate(x, mask) if x.shape[: mask.dim()] == mask.shape else x
    if x.dim() <= event_dim:
        return x
    return fill(x.expand(batch_shape + x.shape[x.dim() - event_dim :]), mask)


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
            fields[key] = fill(value.expand(mask.shape + value.shape[mask.dim() :]), mask)
        elif isinstance(value, Transform):
            fields[key] = _filled_transform(value, mask, dim)
        elif isinstance(value, Distribution) and len(value.batch_shape) == dim:
            fields[key] = filled(value, mask)
        elif isinstance(transform, ComposeTransform) and key == "parts":
            fields[key] = _filled_parts(value, mask, dim)
    return transform


_ELEMENTWISE: Final = frozenset((AffineTransform, PowerTransform, CumulativeDistributionTransform))
_COMPOUND: Final = frozenset((ComposeTransform, IndependentTransform, _InverseTransform))
