"""Structural equality of values that hold tensors and distributions.

``==`` on tensors is elementwise and on distributions is identity; a frozen value that holds either needs this instead.

1. What is made of parts (mappings, lists, distributions, attrs classes and dataclasses that leave equality to these) is compared part by part.
2. A class that says itself what is equal is believed.
3. What knows no equality but identity, or cannot tell (a data frame's is elementwise), is compared by what a pickle would keep of it:
   modules of torch, ``functools.partial``, objects of one's own. What cannot be pickled is equal to itself alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from types import MethodType
from typing import Any, Final

import attrs
import numpy
import torch
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import Transform

Pairs = Iterable[tuple[Any, Any]]

CACHES: Final = frozenset(("_cached_x_y", "_inv"))  # what a transform of torch fills in when it is used
_PLAIN: Final = frozenset((str, int, bool))  # a look at these first: most parts are
_IDENTITY: Final[Any] = object.__eq__


def same(a: Any, b: Any) -> bool:
    """True where ``a`` and ``b`` have the same type and the same contents (nan equals nan)."""
    met: dict[tuple[int, int], tuple[Any, Any]] = {}  # the pairs themselves, too: what is gone leaves its id to others
    pairs = [(a, b)]
    while pairs:  # a loop: chains may be thousands of poutines long
        pair = a, b = pairs.pop()
        if a is b or (id(a), id(b)) in met:  # what holds itself is met again
            continue
        parts = _parts(a, b) if type(a) is type(b) else False
        if parts is False:
            return False
        if parts is not True:
            met[id(a), id(b)] = pair
            pairs += parts
    return True


def equal(self: Any, other: object) -> bool:
    """``__eq__`` of attrs classes that are compared field by field; what attrs marks ``eq=False`` does not count."""
    return type(self) is type(other) and same(self, other)


def _parts(a: Any, b: Any) -> bool | Pairs:
    """Whether two things of one type are equal or, if that depends on their parts, these in pairs."""
    if type(a) in _PLAIN:
        return bool(a == b)
    if isinstance(a, torch.Tensor):
        return _same_tensors(a, b)
    if isinstance(a, (numpy.ndarray, numpy.generic)):
        return a.dtype == b.dtype and _same_arrays(numpy.asarray(a), numpy.asarray(b))
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and [(a[key], b[key]) for key in a]
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and [*zip(a, b, strict=True)]
    if isinstance(a, (Distribution, Transform, Constraint)):
        return _states(a, b)
    if isinstance(a, MethodType):
        return a.__func__ is b.__func__ and [(a.__self__, b.__self__)]
    if isinstance(a, (float, complex)):
        return a == b or (a != a and b != b)
    names = _compared(type(a))
    if names is not None:
        return [(getattr(a, name), getattr(b, name)) for name in names]
    if type(a).__eq__ is _IDENTITY:
        return _pickled(a, b)
    try:
        return bool(a == b)
    except Exception:  # whatever it is: it has no answer
        return _pickled(a, b)


def _compared(kind: type) -> list[str] | None:
    """The fields by which a class is compared, if that is all there is to its equality."""
    owner = next(cls for cls in kind.__mro__ if "__eq__" in vars(cls))
    compare: Callable[..., Any] = vars(owner)["__eq__"]
    if compare is equal:
        return [f.name for f in attrs.fields(kind) if f.eq]
    generated = getattr(getattr(compare, "__code__", None), "co_filename", "")
    if "__attrs_attrs__" in vars(owner) and generated.startswith("<attrs generated"):
        return [f.name for f in attrs.fields(owner) if f.eq]
    if "__dataclass_fields__" in vars(owner) and generated == "<string>":
        return [f.name for f in dataclasses.fields(owner) if f.compare]
    return None


def _pickled(a: Any, b: Any) -> bool | Pairs:
    if type(a) is object:  # a mark, of nothing but itself
        return False
    try:
        left, right = a.__reduce_ex__(4), b.__reduce_ex__(4)
    except Exception:  # whatever it is: it cannot be pickled (or, as a function or a class, is kept by its name)
        return False
    return [(left, right)]


def _same_tensors(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
        return False
    equal = a == b
    if a.dtype.is_floating_point or a.dtype.is_complex:
        equal = equal | (a.isnan() & b.isnan())
    return bool(equal.all())


def _same_arrays(a: numpy.ndarray[Any, Any], b: numpy.ndarray[Any, Any]) -> bool | Pairs:
    if a.dtype.kind in "fc":
        return numpy.array_equal(a, b, equal_nan=True)
    return numpy.array_equal(a, b) if a.dtype != object else a.shape == b.shape and [(a.ravel().tolist(), b.ravel().tolist())]


def _states(a: Any, b: Any) -> bool | Pairs:
    """Two distributions, transforms or constraints by what both hold.

    Attributes that are computed on demand (``logits`` from ``probs``, a transform's inverse) come and go, so only what
    both have counts; two distributions that hold parameters must have one of them in common.
    """
    left, right = vars(a), vars(b)
    common = left.keys() & right.keys() - CACHES
    parameters = getattr(a, "arg_constraints", None)
    if isinstance(parameters, Mapping):
        mine, yours = left.keys() & parameters.keys(), right.keys() & parameters.keys()
        if mine and yours and not mine & yours:
            return False
    return [(left[key], right[key]) for key in common]
