"""Whole numbers, in values and in parameters, as numbers of floating point, before a density is computed from them.

torch's ``lgamma`` and ``log`` of whole numbers are in single precision, even if all else is double: the log density of a count of a
million would be off by 0.4 nats.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import reduce
from typing import Any, Final

import torch
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, OneHotCategorical, TransformedDistribution
from torch.distributions.transforms import Transform, _InverseTransform

from poutine.tensors import tensors_in

_OF_INDICES: Final = (Categorical, OneHotCategorical)
_PARTS: Final = (Distribution, Transform)
_PLAIN: Final = frozenset((int, float, bool, type(None), torch.Size))


def as_tensor(value: Any) -> torch.Tensor:
    """``torch.as_tensor``; a Python number of floating point is exact to double precision, whatever torch's default type is."""
    return torch.as_tensor(value, dtype=torch.float64 if isinstance(value, float) else None)


def as_number(dist: Distribution, value: torch.Tensor, is_exact: bool = False) -> torch.Tensor:
    """A value of ``dist``, in floating point, if torch computes with it.

    An index remains one, and so does what code of others gets, to which it may be an index, too: a distribution or a transform of a class
    that is not torch's, also in one of torch's.

    Whole numbers take the type of the tensors of ``dist``, and double precision if it has none, or if they are ``is_exact``: a Python
    number, which ``as_tensor`` takes to be exact to it if it has a point.

    **Law**: 3 is scored as 3.0 is, and ``tensor(3)`` as ``tensor(3.0)`` of the distribution's type: in single precision, if it is that.
    """
    if value.is_floating_point() or value.is_complex() or not _is_of_numbers(dist):
        return value
    return value.to(torch.float64 if is_exact else _common(x.dtype for x in tensors_in(dist)))


def with_numbers(dist: Any, value: torch.Tensor) -> Any:
    """``dist``; if ``value`` is in double precision, and it has parameters of whole numbers, a copy with these in double precision, too.

    Torch's own distributions and transforms only: in others, whole numbers may be indices.
    """
    return _converted(dist) if value.dtype is torch.float64 and has_whole_parameters(dist) else dist


def _is_of_numbers(dist: Any) -> bool:
    """Whether torch's code is all that the values of ``dist`` come to, and takes no index from them."""
    if not _is_torchs(dist):
        return False
    if isinstance(dist, Independent):
        return _is_of_numbers(dist.base_dist)
    if isinstance(dist, MixtureSameFamily):
        return _is_of_numbers(dist.component_distribution)
    if isinstance(dist, TransformedDistribution):
        return _is_of_numbers(dist.base_dist) and all(map(_is_torchs_throughout, dist.transforms))
    return not isinstance(dist, _OF_INDICES)


def _common(dtypes: Iterable[torch.dtype]) -> torch.dtype:
    """Not less than single precision, in which torch's functions of whole numbers are."""
    floats = [dtype for dtype in dtypes if dtype.is_floating_point]
    return reduce(torch.promote_types, floats, torch.float32) if floats else torch.float64


def has_whole_parameters(part: Any) -> bool:
    """Whether ``part`` has some, or what it is made of: of torch's own distributions and transforms."""
    if not _is_torchs(part):
        return False
    # For each site that is scored: what is no tensor is not asked whether it is one, which takes longer than all else here.
    for key, each in part.__dict__.items():
        kind = type(each)
        if kind is torch.Tensor:
            if _is_whole(each):
                return True
        elif kind is list:
            if any(isinstance(one, _PARTS) and has_whole_parameters(one) for one in each):
                return True
        elif (
            kind not in _PLAIN
            and isinstance(each, _PARTS)
            and (key != "_inv" or type(part) is _InverseTransform)
            and has_whole_parameters(each)
        ):
            return True
    return False


def _converted(part: Any) -> Any:
    if isinstance(part, list):
        return [*map(_converted, part)]
    if type(part) is _InverseTransform:
        return _InverseTransform(_converted(part.inv))
    if not isinstance(part, _PARTS) or not _is_torchs(part):
        return part
    new = copy.copy(part)
    for key, each in vars(new).items():
        vars(new)[key] = each.double() if isinstance(each, torch.Tensor) and _is_whole(each) else _converted(each)
    return new


def _is_torchs_throughout(transform: Any) -> bool:
    if isinstance(transform, _InverseTransform):  # both hold each other
        return _is_torchs_throughout(transform.inv)
    parts = (each if isinstance(each, list) else [each] for key, each in vars(transform).items() if key != "_inv")
    return _is_torchs(transform) and all(_is_torchs_throughout(one) for each in parts for one in each if isinstance(one, Transform))


def _is_torchs(part: Any) -> bool:
    """Of a class of torch's; a distribution of a subclass of others is, too, whose log density torch computes."""
    code = part.log_prob if isinstance(part, Distribution) else type(part)
    return str(code.__module__).startswith("torch.distributions.")


def _is_whole(x: torch.Tensor) -> bool:
    return not (x.is_floating_point() or x.is_complex())
