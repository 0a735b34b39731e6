"""Validators and converters of poutines' options, whose errors say who expected what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any, Final

import numpy
import torch

from poutine.errors import PlateError

_WHOLE: Final = frozenset((torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64))

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


def check_number(plate: str, what: str, number: Any, sign: int = 1) -> None:
    """Raises ``PlateError`` unless ``what`` of a plate, as ``whole`` has it, is a whole number of this sign, or None."""
    if number is None:
        return
    if not isinstance(number, int) or isinstance(number, bool):
        raise PlateError(plate, f"expected a whole number as {what}, got {number!r}")
    if number * sign < 1:
        raise PlateError(
            plate, f"expected a {f'positive {what}' if sign > 0 else f'negative {what}, counted from the right'}, got {number}"
        )


def as_names(kind: str, names: Iterable[str] | None) -> frozenset[str] | None:
    """Names, if any. Raises ``TypeError`` for what is no list of strings, and for a single one."""
    if names is None:
        return None
    if isinstance(names, str):
        raise TypeError(f"{kind}: expected a list of names, got the string {names!r}; write [{names!r}]")
    listed: list[Any] = [*names] if isinstance(names, Iterable) else [names]
    if not all(isinstance(name, str) for name in listed):
        raise TypeError(f"{kind}: expected a list of names, which are strings, got {names!r}")
    return frozenset(listed)


def whole(value: Any) -> Any:
    """A whole number of any kind (numpy's, and a tensor of one, as data has it) as an ``int``; what is none as it is, to be refused."""
    if isinstance(value, torch.Tensor | numpy.ndarray):
        is_one = value.ndim == 0 and torch.as_tensor(value).dtype in _WHOLE
    else:
        is_one = isinstance(value, Integral) and not isinstance(value, bool)
    return int(value) if is_one else value


def as_seed(seed: Any) -> int:
    """A seed: a whole number of any kind. Raises ``TypeError``."""
    number = whole(seed)
    if not isinstance(number, int):
        raise TypeError(f"expected an int as the seed, got {seed!r}")
    return number
