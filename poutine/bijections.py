"""Bijections from unconstrained space: torch's, and those of ordered vectors, which torch lacks.

torch keeps its own in a registry that anybody may change while a program runs; these are added by a function instead.
"""

from __future__ import annotations

from math import inf
from typing import Any, Final

import torch
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.constraint_registry import ConstraintRegistry
from torch.distributions.transforms import IndependentTransform, Transform


class Ordered(constraints.Constraint):
    """Vectors whose entries increase strictly."""

    event_dim: int = 1

    def check(self, value: torch.Tensor) -> torch.Tensor:
        return (value[..., 1:] > value[..., :-1]).all(-1)


class PositiveOrdered(Ordered):
    """Vectors of positive entries that increase strictly."""

    def check(self, value: torch.Tensor) -> torch.Tensor:
        return super().check(value) & (value > 0).all(-1)


class OrderedTransform(Transform):
    """From the reals to ordered vectors: the first entry as it is, then gaps ``exp(x)`` (Stan reference manual, "Ordered vector")."""

    domain = constraints.real_vector
    codomain = Ordered()
    bijective = True

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    __hash__ = None  # type: ignore[assignment]  # torch's transforms are compared, not hashed

    def _call(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[..., :1], x[..., 1:].exp()], -1).cumsum(-1)

    def _inverse(self, y: torch.Tensor) -> torch.Tensor:
        return torch.cat([y[..., :1], (y[..., 1:] - y[..., :-1]).log()], -1)

    def log_abs_det_jacobian(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x[..., 1:].sum(-1)


class PositiveOrderedTransform(OrderedTransform):
    """From the reals to positive ordered vectors: the first entry ``exp(x)``, then gaps ``exp(x)``."""

    codomain = PositiveOrdered()

    def _call(self, x: torch.Tensor) -> torch.Tensor:
        return x.exp().cumsum(-1)

    def _inverse(self, y: torch.Tensor) -> torch.Tensor:
        return torch.diff(y, prepend=torch.zeros_like(y[..., :1]), dim=-1).log()

    def log_abs_det_jacobian(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x.sum(-1)


ordered: Final = Ordered()
positive_ordered: Final = PositiveOrdered()


def bijection_to(constraint: constraints.Constraint) -> Transform:
    """A bijection from unconstrained tensors onto ``constraint``. Raises ``NotImplementedError`` if there is none."""
    return _transform(constraint, biject_to)


def transformation_to(constraint: constraints.Constraint) -> Transform:
    """A map from unconstrained tensors onto ``constraint``, of one shape where torch has such. Raises ``NotImplementedError``."""
    return _transform(constraint, transform_to)


def _transform(constraint: constraints.Constraint, registry: ConstraintRegistry) -> Transform:
    if isinstance(constraint, PositiveOrdered):
        return PositiveOrderedTransform()
    if isinstance(constraint, Ordered):
        return OrderedTransform()
    if isinstance(constraint, constraints.independent):
        inner: Any = constraint
        return IndependentTransform(_transform(inner.base_constraint, registry), inner.reinterpreted_batch_ndims)
    if isinstance(constraint, constraints.interval) and _is_infinite(constraint.upper_bound):
        # So torch writes the support of a GeneralizedPareto.
        constraint = constraints.greater_than_eq(constraint.lower_bound)  # type: ignore[no-untyped-call]  # torch's own
    transform: Transform = registry(constraint)
    return transform


def _is_infinite(bound: Any) -> bool:
    try:
        return bool((torch.as_tensor(bound) == inf).all())
    except RuntimeError:  # a tracer or a vmap has no answer
        return False
