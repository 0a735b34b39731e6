"""Replies that are no finished sites, and who gave them."""

from __future__ import annotations

from typing import Any

from poutine.driver.routes import OUT, Deed, Pending
from poutine.errors import BadReply, NotAProgram
from poutine.hints import hint_for
from poutine.messages import Message
from poutine.program import name_of


def bad_request(message: Any, up: Any) -> BadReply:
    return BadReply(f"expected a message from {name_of(up)} on the way up, got {message!r}; return the request, rewritten or as it came")


def bad_reply(site: Any, down: Any = None) -> BadReply:
    """``down`` is the function, or the generator, of the poutine that gave it; None if that is not known, or is the runtime."""
    if down is None:
        return BadReply(f"expected a message that carries a value as the answer, got {site!r}")
    return BadReply(
        f"expected a message that carries a value from {name_of(down)} on the way down, got {site!r}; return the site, rewritten or as it came"
    )


def check_value(value: Any, generator: Any) -> None:
    """Raises ``NotAProgram`` where ``generator``, a program's, returns a message in place of yielding it.

    One that carries a value may be a site of a trace: as ``Observe`` does, so that what returns one unasked passes.
    """
    if isinstance(value, Message) and not value.is_decided:
        raise NotAProgram(f"{name_of(generator)} returned {value!r}, which nobody was asked{hint_for(value)}") from None


def no_site(site: Any, error: BaseException, acted: Pending, left: Pending) -> tuple[BadReply, int]:
    """``site``, which is no message, came down through those who ``acted``, without those who are ``left``: the error, and whose it is.

    Found afterwards: a look at each reply would take time at every site. ``error`` is what became of it: in the next one's hands
    or, of the last one's reply, in the driver's own.
    """
    giver: Deed | None = None
    last: Deed | None = None
    while acted is not left:
        assert acted is not None
        giver, last = last, acted[0]
        acted = acted[1]
    if error.__traceback__ is None or error.__traceback__.tb_next is None:
        giver = last
    return (bad_reply(site), OUT.base) if giver is None else (bad_reply(site, giver[0]), giver[1])
