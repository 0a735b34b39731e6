"""Bijections from unconstrained space: torch's, and those of ordered vectors and of triangular and positive definite matrices, which torch lacks.

torch keeps its own in a registry that anybody may change while a program runs; these are added by a function instead.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.constraint_registry import ConstraintRegistry
from torch.distributions.transforms import IndependentTransform, Transform


class Ordered(constraints.Constraint):
    """Vectors whose entries increase strictly."""

    event_dim: int = 1

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"  # torch's cuts off a leading underscore, which this name has not

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


class LowerCholeskyBijection(Transform):
    """From vectors to lower triangular matrices with a positive diagonal, the logarithm of which is in the vector; row by row.

    (Torch's ``LowerCholeskyTransform`` is from square matrices, of which it reads a half.)
    """

    domain = constraints.real_vector
    codomain: constraints.Constraint = constraints.lower_cholesky
    bijective = True

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    __hash__ = None  # type: ignore[assignment]  # torch's transforms are compared, not hashed

    def _call(self, x: torch.Tensor) -> torch.Tensor:
        size = _side(x.shape[-1])
        rows, columns = torch.tril_indices(size, size)
        places = torch.zeros(size, size, dtype=torch.long)
        places[rows, columns] = torch.arange(len(rows))
        matrix = x[..., places]
        return matrix.tril(-1) + matrix.diagonal(dim1=-2, dim2=-1).exp().diag_embed()

    def _inverse(self, y: torch.Tensor) -> torch.Tensor:
        matrix = y.tril(-1) + y.diagonal(dim1=-2, dim2=-1).log().diag_embed()
        rows, columns = torch.tril_indices(*y.shape[-2:])
        return matrix[..., rows, columns]

    def log_abs_det_jacobian(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Of the lower triangle."""
        return self._logarithms(x).sum(-1)

    def forward_shape(self, shape: Any) -> torch.Size:
        return torch.Size((*shape[:-1], _side(shape[-1]), _side(shape[-1])))

    def inverse_shape(self, shape: Any) -> torch.Size:
        return torch.Size((*shape[:-2], shape[-1] * (shape[-1] + 1) // 2))

    def _logarithms(self, x: torch.Tensor) -> torch.Tensor:
        """Of the diagonal, which a row ends with."""
        return x[..., torch.arange(1, _side(x.shape[-1]) + 1).cumsum(0) - 1]


class PositiveDefiniteBijection(LowerCholeskyBijection):
    """From vectors to positive definite matrices, by their Cholesky factors (Stan reference manual, "Covariance matrices")."""

    codomain = constraints.positive_definite

    def _call(self, x: torch.Tensor) -> torch.Tensor:
        factor = super()._call(x)
        return factor @ factor.mT

    def _inverse(self, y: torch.Tensor) -> torch.Tensor:
        return super()._inverse(torch.linalg.cholesky(y))

    def log_abs_det_jacobian(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Of the lower triangle: of a matrix with Cholesky factor L, the product over i of ``2 L[i, i] ** (size - i + 1)``, i from 0."""
        logarithms = self._logarithms(x)
        size = logarithms.shape[-1]
        powers = torch.arange(size + 1, 1, -1, dtype=x.dtype, device=x.device)
        return size * math.log(2.0) + (powers * logarithms).sum(-1)


def _side(count: int) -> int:
    """Of the triangle with so many entries."""
    size = math.isqrt(2 * count)
    if size * (size + 1) != 2 * count:
        raise ValueError(f"expected the entries of a lower triangle, got {count}")
    return size


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
    if isinstance(constraint, constraints.MixtureSameFamilyConstraint):
        return _transform(_of_all_components(constraint.base_constraint), registry)
    if registry is biject_to and isinstance(constraint, _MATRICES):
        return PositiveDefiniteBijection() if isinstance(constraint, _MATRICES[1]) else LowerCholeskyBijection()
    transform: Transform = registry(constraint)
    return transform


def _is_infinite(bound: Any) -> bool:
    try:
        return bool((torch.as_tensor(bound) == math.inf).all())
    except Exception:  # a tracer or a vmap has no answer, and each raises what it likes: what depends on a sample is taken as finite
        return False


_MATRICES: Final = (type(constraints.lower_cholesky), type(constraints.positive_definite))


def _of_all_components(constraint: constraints.Constraint) -> constraints.Constraint:
    """The constraint of a mixture's components, if it is one and the same for all of them."""
    inner: Any = constraint
    while isinstance(inner, constraints.independent):
        inner = inner.base_constraint
    if any(isinstance(part, torch.Tensor | constraints.Constraint | list | tuple) for part in vars(inner).values()):
        raise NotImplementedError(f"{constraint!r} may be another one for each component")
    return constraint
