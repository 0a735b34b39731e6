"""The range of a distribution: the values that it can take, and how a value outside of it is scored.

torch's distributions refuse such values when they validate them, and otherwise give some finite number or other. A density is
evaluated where a sampler tries, and where a range depends on what is sampled (``Pareto(a, 3.0)``), a value may be outside of it: its
log density is -inf there, and no error.

What torch calls the support of a transformed distribution is the codomain of its last transform, which may be wider: that of
``TransformedDistribution(Exponential(1.0), AffineTransform(a, 1.0))`` is the real line.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, ClassVar, Final

import torch
from torch.distributions import Distribution, Independent, MixtureSameFamily, TransformedDistribution, constraints
from torch.distributions.transforms import ComposeTransform, IndependentTransform, Transform

from interpreters.circles import is_circular, onto_circle
from interpreters.validation import SkipValidation
from poutine import Choice, batch_log_density, bijection_to
from poutine.supports import contains, is_plainly_transformed, support_of
from poutine.tensors import tensors_in
from poutine.whole_numbers import as_number, as_tensor

_REAL: Final = type(constraints.real)


def is_bounded(dist: Any) -> bool:
    """Whether there are numbers outside of its range. Of what tells no support, nobody knows: False."""
    support = support_of(dist)
    return isinstance(dist, Distribution) and support is not None and (not _is_real(support) or is_narrow(dist))


def is_narrow(dist: Any) -> bool:
    """Whether its range is narrower than what torch calls its support."""
    if isinstance(dist, Independent):
        return is_narrow(dist.base_dist)
    if isinstance(dist, MixtureSameFamily):
        return is_narrow(dist.component_distribution)
    if not is_plainly_transformed(dist):
        return False
    reached: Any = dist.base_dist.support
    for transform in dist.transforms:
        if _is_real(transform.domain) and not _is_real(reached):
            return True
        reached = transform.codomain
    return is_narrow(dist.base_dist)


def bounds(dist: Any) -> Iterator[torch.Tensor]:
    """The tensors that its range depends on."""
    return (bound for bound, _ in bounds_and_dims(dist))


def bounds_and_dims(dist: Any, inside: int = 0) -> Iterator[tuple[torch.Tensor, int]]:
    """These, and how many of the last dimensions of each are not of the batch: ``inside``, and those of what ``dist`` is made of."""
    if isinstance(dist, Independent):
        yield from bounds_and_dims(dist.base_dist, inside + dist.reinterpreted_batch_ndims)
    elif isinstance(dist, MixtureSameFamily):
        yield from bounds_and_dims(dist.component_distribution, inside + 1)
    elif is_plainly_transformed(dist):
        yield from bounds_and_dims(dist.base_dist, inside)
        yield from ((bound, inside + len(dist.base_dist.event_shape)) for bound in tensors_in(dist.transforms))
    else:
        yield from ((bound, inside) for bound in _in_constraint(support_of(dist)))


def onto_range(dist: Any) -> Transform:
    """A bijection from unconstrained space onto its range. Raises ``NotImplementedError`` if none is known.

    Onto a circle there is none; see ``circles`` for what it has instead.
    """
    if is_circular(dist):
        return onto_circle(dist)
    if not is_narrow(dist):
        return bijection_to(dist.support)
    if isinstance(dist, Independent):
        return IndependentTransform(onto_range(dist.base_dist), dist.reinterpreted_batch_ndims)
    if isinstance(dist, TransformedDistribution) and all(transform.bijective for transform in dist.transforms):
        return ComposeTransform([onto_range(dist.base_dist), *dist.transforms])
    raise NotImplementedError


def bounded_log_density(site: Choice, wide: bool = False) -> torch.Tensor:
    """``batch_log_density(site, wide)``, and -inf where the value is outside of the range of its distribution.

    There, some value inside is scored in its place, so that no gradient is zero times infinity. A nan is an error, as it is of
    ``batch_log_density``, unless nobody validates.
    """
    dist: Any = site.dist
    value = as_number(dist, as_tensor(site.value), isinstance(site.value, int))
    inside = contains(dist, value)
    counts = inside if site.mask is True else inside | ~torch.as_tensor(site.mask)
    if not torch._is_all_true(counts | ~_is_nan(dist, value)):  # the question that torch's own validation asks
        return batch_log_density(site, wide)
    stand_in = value_in_range(dist)
    if stand_in is not None:
        chosen = inside.reshape(inside.shape + (1,) * len(dist.event_shape))
        value = torch.where(chosen, value, stand_in.detach().to(value.dtype))
    with SkipValidation():
        density = batch_log_density(site.evolve(value=value, fn=_by_components(dist), args=(), kwargs={}), wide)
    return torch.where(counts, density, -torch.inf)


def _is_nan(dist: Any, value: torch.Tensor) -> torch.Tensor:
    """Whether something of a value is, of the value's batch shape."""
    return value.isnan().unsqueeze(-1).flatten(value.dim() - len(dist.event_shape)).any(-1)


class _Bounded(Distribution):
    """``base``, with no density outside of its range: a component of a mixture, whose others may be inside."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, base: Any) -> None:
        self.base = base
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        support: constraints.Constraint = self.base.support
        return support

    def expand(self, batch_shape: Any, _instance: Any = None) -> _Bounded:
        return _Bounded(self.base.expand(batch_shape))

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        return torch.where(contains(self.base, value), self.base.log_prob(value), -torch.inf)


def _by_components(dist: Any) -> Any:
    if isinstance(dist, Independent):
        base = _by_components(dist.base_dist)
        return dist if base is dist.base_dist else Independent(base, dist.reinterpreted_batch_ndims)
    if not isinstance(dist, MixtureSameFamily):
        return dist
    mixture = copy.copy(dist)
    mixture._component_distribution = _Bounded(dist.component_distribution)
    return mixture


def value_in_range(dist: Any) -> torch.Tensor | None:
    """A value in its range, of its shape, if one is easily found."""
    if isinstance(dist, Independent):
        return value_in_range(dist.base_dist)
    if isinstance(dist, MixtureSameFamily):
        of_all = value_in_range(dist.component_distribution)
        return None if of_all is None else of_all.select(-1 - len(dist.event_shape), 0)
    support: Any = dist.support
    if support.is_discrete:
        least = getattr(support, "lower_bound", None)
        return None if least is None else torch.as_tensor(least).expand(dist.batch_shape + dist.event_shape)
    try:
        bijection: Any = onto_range(dist)
    except NotImplementedError:
        return None
    value: torch.Tensor = bijection(torch.zeros(bijection.inverse_shape(dist.batch_shape + dist.event_shape), dtype=torch.float64))
    return value


def _is_real(constraint: Any) -> bool:
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    return isinstance(constraint, _REAL)


def _in_constraint(constraint: Any) -> Iterator[torch.Tensor]:
    for part in vars(constraint).values() if constraint is not None else ():
        for each in part if isinstance(part, list | tuple) else [part]:
            if isinstance(each, constraints.Constraint):
                yield from _in_constraint(each)
            else:
                yield from tensors_in(each)
