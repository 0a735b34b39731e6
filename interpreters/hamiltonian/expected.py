"""What a sampler may be told: errors that give the name, what was expected, and what there is."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

Validator = Callable[[Any, Any, Any], None]


def require_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Raises ``ValueError`` unless ``value`` is a whole number from ``least`` to ``most``."""
    number = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else least - 1
    if number < least or (most is not None and number > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"expected {name} to be a whole number {limits}, got {value!r}")


def whole(least: int, most: int | None = None) -> Validator:
    """For a field of attrs."""
    return lambda _, attribute, value: require_whole(attribute.name, value, least, most)


def between(low: float, high: float = float("inf"), including: bool = False) -> Validator:
    """Numbers above ``low``, which may be ``including`` itself, and below ``high``."""

    def check(_: Any, attribute: Any, value: Any) -> None:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else low - 1.0
        if not (low < number < high or (including and number == low)):
            least = f"of at least {low:g}" if including else f"above {low:g}"
            raise ValueError(f"expected {attribute.name} to be a number {least} and below {high:g}, got {value!r}")

    return check


def one_of(*choices: str) -> Validator:
    def check(_: Any, attribute: Any, value: Any) -> None:
        if value not in choices:
            raise ValueError(f"expected {attribute.name} to be one of {', '.join(map(repr, choices))}, got {value!r}")

    return check
