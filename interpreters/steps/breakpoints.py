"""Where to stop: at names, types of messages, or whatever a predicate finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

import attrs

from poutine import Message


def _several(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


@attrs.frozen
class Breakpoint:
    """True of a message whose name is in ``names`` or whose type is in ``types``, and of which ``when`` is true.

    A name may be a pattern: ``"theta*"``. Types are "sample", "observe", "param", "deterministic" or those of your own messages.
    Without names and types, ``when`` decides alone. A site that a block hides is known by its own name and type.
    """

    names: tuple[str, ...] = attrs.field(default=(), converter=_several)
    types: tuple[str, ...] = attrs.field(default=(), converter=_several)
    when: Callable[[Message], bool] | None = None

    def __call__(self, message: Message) -> bool:
        named = any(name == message.name or fnmatchcase(message.name, name) for name in self.names)
        chosen = named or message.type in self.types or not (self.names or self.types)
        return chosen and (self.when is None or bool(self.when(message)))


Where = str | Callable[[Message], bool]


def stopping(where: Where) -> Callable[[Message], bool]:
    """``where`` as a predicate; a string is a name, or a pattern of names. Raises ``TypeError`` for what is neither."""
    if not isinstance(where, str) and not callable(where):
        raise TypeError(
            f"expected the name of a site, a pattern of names, or a Breakpoint or another function of the message, got {where!r}; "
            "step and back go by a number of messages"
        )
    return Breakpoint(names=where) if isinstance(where, str) else where
