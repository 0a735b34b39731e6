"""Validators and converters of poutines' options, whose errors say who expected what."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

Validator = Callable[[Any, Any, Any], None]


def of_type(kind: type) -> Validator:
    """Raises ``TypeError`` unless the option is a ``kind``."""

    def check(owner: Any, option: Any, value: Any) -> None:
        if not isinstance(value, kind):
            raise TypeError(f"{type(owner).__name__}: expected {kind.__name__} as {option.name}, got {value!r}")

    return check


def one_of(*choices: Any) -> Validator:
    """Raises ``ValueError`` unless the option is one of ``choices``."""

    def check(owner: Any, option: Any, value: Any) -> None:
        if value not in choices:
            raise ValueError(f"{type(owner).__name__}: expected one of {', '.join(map(repr, choices))} as {option.name}, got {value!r}")

    return check


def whole(value: Any) -> Any:
    """A whole number of any kind (numpy's, too) as an ``int``; what is none as it is, to be refused."""
    return int(value) if isinstance(value, Integral) else value
