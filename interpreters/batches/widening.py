"""The distribution of many runs' draws, from what it is inside of vmap for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.distributions import (
    AffineTransform,
    CatTransform,
    ComposeTransform,
    Distribution,
    Independent,
    IndependentTransform,
    MixtureSameFamily,
    StackTransform,
    TransformedDistribution,
)
from torch.distributions.transforms import _InverseTransform

from interpreters.batches.inside import Inside
from interpreters.batches.recipes import aligned, is_known, recipe_of
from interpreters.errors import NotVectorizable
from poutine import Sample
from poutine.tensors import tensors_in


def widened(name: str, dist: Any, inside: Inside) -> Distribution:
    """``dist``, that of site ``name`` in a step, for all runs: a batch dimension for them is left of all others.

    To be called inside. Raises ``NotVectorizable`` for a distribution that is not torch's, if it differs from run to run, or cannot be expanded.
    """
    if not isinstance(dist, Distribution):
        raise NotVectorizable(f"site {name!r}: {dist!r} is none of torch's distributions, and draws for one run at a time")
    if not any(differs for _, differs in inside.whole(*tensors_in(dist))):
        return _expanded(name, dist, inside.size)
    if type(dist) is Independent:
        return Independent(widened(name, dist.base_dist, inside), dist.reinterpreted_batch_ndims, dist._validate_args)
    if type(dist) is MixtureSameFamily:
        mixture: Any = widened(name, dist.mixture_distribution, inside)
        return MixtureSameFamily(mixture, widened(name, dist.component_distribution, inside), validate_args=dist._validate_args)
    if type(dist) is TransformedDistribution:
        base, shape = dist.base_dist, dist.base_dist.batch_shape + dist.base_dist.event_shape
        transforms = _transforms(name, dist.transforms, inside, shape)
        return TransformedDistribution(widened(name, base, inside), transforms, dist._validate_args)
    found = recipe_of(Sample(name, dist))
    if found is None:
        raise _unknown(name, dist)
    recipe, arguments = found
    try:
        event_dims = recipe.event_dims
    except NotImplementedError as error:
        raise _unknown(name, dist) from error
    columns = []
    for argument, event_dim in zip(arguments, event_dims, strict=True):
        if isinstance(argument, torch.Tensor) and event_dim is not None:
            columns.append(_aligned(inside, argument, len(dist.batch_shape) + event_dim))
        elif isinstance(argument, torch.Tensor) and inside.whole(argument)[0][1]:
            raise _unknown(name, dist)
        else:
            columns.append(argument)
    return recipe.make(columns)


def _aligned(inside: Inside, argument: torch.Tensor, rank: int) -> torch.Tensor:
    """All of it, with ``rank`` dimensions right of that of the runs."""
    return aligned(inside.rows(argument), rank - argument.dim())


def _unknown(name: str, thing: Any) -> NotVectorizable:
    return NotVectorizable(f"site {name!r}: it is not known how {thing!r}, which differs from run to run, is made")


def _expanded(name: str, dist: Distribution, size: int) -> Distribution:
    inner: Any = dist
    while inner is not None:
        for each in getattr(inner, "transforms", ()):
            _check_counts_from_the_right(name, each)
        inner = getattr(inner, "base_dist", None)
    try:
        wide: Distribution = dist.expand(torch.Size((size, *dist.batch_shape)))
    except NotImplementedError as error:
        raise NotVectorizable(f"site {name!r}: {dist!r} cannot be expanded") from error
    lost = () if is_known(type(dist)) else vars(dist).keys() - vars(wide).keys()
    if lost:
        raise NotVectorizable(f"site {name!r}: {dist!r} loses {', '.join(sorted(lost))} when it is expanded")
    return wide


def _check_counts_from_the_right(name: str, transform: Any) -> None:
    """A dimension that is counted from the left is another one for all runs. Raises ``NotVectorizable``."""
    inner = transform.inv if isinstance(transform, _InverseTransform) else transform
    if isinstance(inner, (CatTransform, StackTransform)) and inner.dim >= 0:
        raise NotVectorizable(f"site {name!r}: {inner!r} is along dimension {inner.dim}, counted from the left; count from the right")
    for each in getattr(inner, "parts", ()):
        _check_counts_from_the_right(name, each)
    if isinstance(inner, IndependentTransform):
        _check_counts_from_the_right(name, inner.base_transform)


def _transforms(name: str, transforms: Sequence[Any], inside: Inside, shape: torch.Size) -> list[Any]:
    """One after another, for values of ``shape`` in one run."""
    wide = []
    for each in transforms:
        _check_counts_from_the_right(name, each)
        wide.append(_transform(name, each, inside, shape))
        shape = torch.Size(each.forward_shape(shape))
    return wide


def _transform(name: str, transform: Any, inside: Inside, shape: torch.Size) -> Any:
    """For values of ``shape`` in one run."""
    if type(transform) is ComposeTransform:
        return ComposeTransform(_transforms(name, transform.parts, inside, shape))
    tensors = [*tensors_in(transform)]
    if not tensors or not any(differs for _, differs in inside.whole(*tensors)):
        return transform
    if type(transform) is not AffineTransform:
        raise _unknown(name, transform)
    rank = len(transform.forward_shape(shape))  # type: ignore[no-untyped-call]  # torch's own
    loc, scale = (_aligned(inside, each, rank) if isinstance(each, torch.Tensor) else each for each in (transform.loc, transform.scale))
    return AffineTransform(loc, scale, transform.event_dim)
