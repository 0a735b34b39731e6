"""Counts: how many of something are asked for."""

from __future__ import annotations

from numbers import Integral
from typing import Any


def positive_count(what: str, number: Any) -> int:
    """``number``, Python's or numpy's, if it is a positive whole one. Raises ``ValueError`` that tells ``what`` it was asked for."""
    if not isinstance(number, Integral) or isinstance(number, bool) or number < 1:
        raise ValueError(f"expected a positive whole number {what}, got {number!r}")
    return int(number)
