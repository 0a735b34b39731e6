"""Counts: how many of something are asked for, and how many there are."""

from __future__ import annotations

from numbers import Integral
from typing import Any


def positive_count(what: str, number: Any) -> int:
    """``number``, Python's or numpy's, if it is a positive whole one. Raises ``ValueError`` that tells ``what`` it was asked for."""
    if not isinstance(number, Integral) or isinstance(number, bool) or number < 1:
        raise ValueError(f"expected a positive whole number {what}, got {number!r}")
    return int(number)


def so_many(number: int, what: str, several: str | None = None) -> str:
    """``"1 draw"``, ``"2 draws"``."""
    return f"{number} {what if number == 1 else several or what + 's'}"
