"""Answers by hand: a value of the kind that the message asks for, or an error that says what that is."""

from __future__ import annotations

from typing import Any

from interpreters import replies
from interpreters.errors import WrongAnswer
from interpreters.replies import unsealed
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
    return replies.fitted(site, value)
