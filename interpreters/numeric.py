"""What a result can hold of the values of sites: real numbers."""

from __future__ import annotations

from typing import Any, Final

import numpy
import torch

_LARGEST: Final = 2**63  # whole numbers from there on are too large for torch


def is_numeric(value: Any) -> bool:
    """True for a tensor, an array or a number that torch has, real and of any kind; of complex ones, tables and files would keep a half."""
    if isinstance(value, torch.Tensor):
        return not value.is_complex()
    if isinstance(value, int):  # a truth value, too
        return -_LARGEST <= value < _LARGEST
    return isinstance(value, float) or (hasattr(value, "__array__") and numpy.asarray(value).dtype.kind in "biuf")
