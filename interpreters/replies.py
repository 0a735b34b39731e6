"""Replies that come from elsewhere than the default runtime: into what is hidden, and whether a value fits its site."""

from __future__ import annotations

from typing import Any

from interpreters.errors import WrongAnswer
from poutine import Choice, DistributionError, Message, NoDensity, Param, Sealed, batch_log_density


def unsealed(message: Message) -> Message:
    """The message itself, or what a block hides in it."""
    while isinstance(message, Sealed):
        message = message.message
    return message


def valued(message: Message, value: Any) -> Message:
    """``message``, or what is hidden in it, with this value."""
    if isinstance(message, Sealed):
        return Sealed(valued(message.message, value))
    return message.evolve(value=value)


def check_value(site: Message) -> None:
    """Raises ``WrongAnswer`` if the value of ``site`` is outside of the support or the constraint, or cannot be scored at all."""
    if isinstance(site, Param) and not bool(site.constraint.check(site.value).all()):  # type: ignore[no-untyped-call]  # torch's own
        raise WrongAnswer(site.name, f"{site.value!r} does not satisfy {site.constraint!r}")
    try:
        scored = batch_log_density(site) if isinstance(site, Choice) else None
    except NoDensity:
        return
    except DistributionError as error:
        raise WrongAnswer(site.name, error.problem) from error
    if scored is not None and bool(scored.isnan().any()):
        raise WrongAnswer(site.name, f"its log density is nan at {site.value!r}")
