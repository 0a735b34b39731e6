"""What a result can hold of the values of sites: real numbers."""

from __future__ import annotations

from typing import Any, Final

import numpy
import torch

_LARGEST: Final = 2**63
_NAMES: Final = frozenset("bool int8 int16 int32 int64 uint8 float16 float32 float64".split())  # which numpy and torch both have
_KINDS: Final = frozenset(getattr(torch, name) for name in _NAMES) | {torch.bfloat16}


def is_numeric(value: Any) -> bool:
    """True for a tensor, an array or a number that torch has, real and dense; of complex ones, tables and files would keep a half."""
    if isinstance(value, torch.Tensor):
        return value.dtype in _KINDS and value.layout is torch.strided
    if isinstance(value, int):  # a truth value, too
        return is_small(value)
    return isinstance(value, float) or (hasattr(value, "__array__") and numpy.asarray(value).dtype.name in _NAMES)


def is_small(value: int) -> bool:
    """Whether a whole number is one of torch's largest type."""
    return -_LARGEST <= value < _LARGEST
