"""Answers by hand: a value of the kind that the message asks for, or an error that says what that is."""

from __future__ import annotations

from numbers import Number
from typing import Any

import torch

from interpreters.errors import WrongAnswer
from interpreters.replies import check_value, unsealed
from interpreters.steps.live import Live
from poutine import UNDECIDED, Message, UnhandledMessage


def fitted(value: Any, live: Live[Any]) -> Any:
    """``value`` as an answer to the message that ``live`` waits at: of the shape and type that the runtime's own answer has.

    A message that the runtime does not know takes any value. Raises ``WrongAnswer``; for a value that is out of bounds, too.
    """
    if value is UNDECIDED or isinstance(value, Message):
        raise WrongAnswer(unsealed(live.pause.pending).name, f"expected a value, got {value!r}")  # type: ignore[arg-type]  # it is pending
    try:
        site = unsealed(live.natural())
    except UnhandledMessage:
        return value
    value = _like(site, value)
    check_value(site.evolve(value=value))
    return value


def _like(site: Message, value: Any) -> Any:
    if isinstance(site.value, torch.Tensor):
        return _tensor(site, value)
    kind = Number if isinstance(site.value, Number) else type(site.value)
    if not isinstance(value, kind):
        raise WrongAnswer(site.name, f"expected a {kind.__name__}, such as {site.value!r}, got {value!r}")
    return value


def _tensor(site: Message, value: Any) -> torch.Tensor:
    pattern = site.value
    try:
        given = torch.as_tensor(value, device=pattern.device)
    except (TypeError, ValueError, RuntimeError) as error:  # torch's ways to say so
        raise WrongAnswer(site.name, f"expected numbers of shape {tuple(pattern.shape)}, got {value!r}") from error
    if given.shape != pattern.shape:
        raise WrongAnswer(site.name, f"expected a value of shape {tuple(pattern.shape)}, got shape {tuple(given.shape)}: {value!r}")
    if isinstance(value, float | list) and pattern.dtype == torch.float64:
        given = torch.as_tensor(value, dtype=torch.float64, device=pattern.device)  # which Python's floats are, not torch's default
    made = given.to(pattern.dtype)
    if not pattern.dtype.is_floating_point and not pattern.dtype.is_complex and not torch.equal(made.to(given.dtype), given):
        raise WrongAnswer(site.name, f"expected values of type {pattern.dtype}, got {value!r}")
    return made
