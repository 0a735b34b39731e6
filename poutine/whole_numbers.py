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
from torch.distributions import Categorical, Distribution, Independent, OneHotCategorical, OneHotCategoricalStraightThrough
from torch.distributions.transforms import Transform, _InverseTransform

from poutine.tensors import tensors_in

_OF_INDICES: Final = frozenset((Categorical, OneHotCategorical, OneHotCategoricalStraightThrough))
_PARTS: Final = (Distribution, Transform)
_PLAIN: Final = frozenset((int, float, bool, type(None), torch.Size))


def as_tensor(value: Any) -> torch.Tensor:
    """``torch.as_tensor``; a Python number of floating point is exact to double precision, whatever torch's default type is."""
    return torch.as_tensor(value, dtype=torch.float64 if isinstance(value, float) else None)


def as_number(dist: Distribution, value: torch.Tensor, is_exact: bool = False) -> torch.Tensor:
    """A value of ``dist``, in floating point, unless it is an index.

    Whole numbers take the type of the tensors of ``dist``, and double precision if it has none, or if they are ``is_exact``: a Python
    number, which ``as_tensor`` takes to be exact to it if it has a point.

    **Law**: 3 is scored as 3.0 is.
    """
    if value.is_floating_point() or value.is_complex() or _is_of_indices(dist):
        return value
    return value.to(torch.float64 if is_exact else _common(x.dtype for x in tensors_in(dist)))


def with_numbers(dist: Any, value: torch.Tensor) -> Any:
    """``dist``; if ``value`` is in double precision, and it has parameters of whole numbers, a copy with these in double precision, too.

    Torch's own distributions and transforms only: in others, whole numbers may be indices.
    """
    return _converted(dist) if value.dtype is torch.float64 and has_whole_parameters(dist) else dist


def _is_of_indices(dist: Any) -> bool:
    while type(dist) is Independent:
        dist = dist.base_dist
    return type(dist) in _OF_INDICES


def _common(dtypes: Iterable[torch.dtype]) -> torch.dtype:
    """Not less than single precision, in which torch's functions of whole numbers are."""
    floats = [dtype for dtype in dtypes if dtype.is_floating_point]
    return reduce(torch.promote_types, floats, torch.float32) if floats else torch.float64


def has_whole_parameters(part: Any) -> bool:
    """Whether torch's own distributions or transforms in ``part`` have some."""
    # For each site that is scored: what is no tensor is not asked whether it is one, which takes longer than all else here.
    for key, each in part.__dict__.items():
        kind = type(each)
        if kind is torch.Tensor:
            if _is_whole(each) and _is_torchs(part):
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
    if not isinstance(part, _PARTS):
        return part
    new = copy.copy(part)
    for key, each in vars(new).items():
        vars(new)[key] = each.double() if isinstance(each, torch.Tensor) and _is_whole(each) and _is_torchs(part) else _converted(each)
    return new


def _is_torchs(part: Any) -> bool:
    return type(part).__module__.startswith("torch.distributions.")


def _is_whole(x: torch.Tensor) -> bool:
    return not (x.is_floating_point() or x.is_complex())
