"""Programs whose hidden sites are seen: a density is of all sites of a program, those that ``block`` hides included.

What is done with its draws (names and shapes, computed values, predictions) must see them, too, and give them their values.
"""

from __future__ import annotations

from typing import Any, TypeVar

from poutine import Choice, Coroutine, Message, Poutine, Program, Rule, Rules, Sealed

T = TypeVar("T")


class OpenPoutine(Poutine):
    """Shows what is further out the hidden samples and observations as sites like any other."""

    def rules(self) -> Rules:
        def shown(sealed: Sealed) -> Coroutine[Message]:
            message, depth = sealed.message, 1
            while isinstance(message, Sealed):
                message, depth = message.message, depth + 1
            if not isinstance(message, Choice):
                return (yield sealed)  # type: ignore[no-any-return]  # a Message
            site: Message = yield message
            for _ in range(depth):
                site = Sealed(site)
            return site

        return {Sealed: Rule(around=shown)}


def opened(program: Program[T]) -> Program[T]:
    """``program`` with nothing hidden."""
    whole: Any = OpenPoutine(program.fn)(*program.args, **program.kwargs)
    return whole  # type: ignore[no-any-return]  # a Program[T]
