"""Structural equality of values that hold tensors and distributions.

``==`` on tensors is elementwise and on distributions is identity; a frozen value that holds either needs this instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MethodType
from typing import Any

import attrs
import numpy
import torch
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import Transform

_CACHES = frozenset(("_cached_x_y", "_inv"))


def same(a: Any, b: Any) -> bool:
    """True where ``a`` and ``b`` have the same type and the same contents (nan equals nan)."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return _same_tensors(a, b)
    if isinstance(a, numpy.ndarray):
        return a.dtype == b.dtype and _same_arrays(a, b)
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (Distribution, Transform, Constraint)):
        return _same_state(a, b)
    if isinstance(a, MethodType):
        return a.__func__ is b.__func__ and same(a.__self__, b.__self__)
    if isinstance(a, float):
        return a == b or (a != a and b != b)
    return bool(a == b)


def same_fields(a: Any, b: Any) -> bool:
    """``same`` field by field, for attrs classes; what attrs marks ``eq=False`` does not count."""
    return all(same(getattr(a, f.name), getattr(b, f.name)) for f in attrs.fields(type(a)) if f.eq)


def _same_tensors(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
        return False
    equal = a == b
    if a.dtype.is_floating_point or a.dtype.is_complex:
        equal = equal | (a.isnan() & b.isnan())
    return bool(equal.all())


def _same_arrays(a: numpy.ndarray[Any, Any], b: numpy.ndarray[Any, Any]) -> bool:
    if a.dtype.kind in "fc":
        return numpy.array_equal(a, b, equal_nan=True)
    return numpy.array_equal(a, b) if a.dtype != object else a.shape == b.shape and same(a.ravel().tolist(), b.ravel().tolist())


def _same_state(a: Any, b: Any) -> bool:
    """Equality of two distributions, transforms or constraints by what both hold.

    Attributes that are computed on demand (``logits`` from ``probs``, a transform's inverse) come and go, so only what
    both have counts; two distributions that hold parameters must have one of them in common.
    """
    left, right = vars(a), vars(b)
    common = left.keys() & right.keys() - _CACHES
    parameters = getattr(a, "arg_constraints", None)
    if isinstance(parameters, Mapping):
        mine, yours = left.keys() & parameters.keys(), right.keys() & parameters.keys()
        if mine and yours and not mine & yours:
            return False
    return all(same(left[key], right[key]) for key in common)
