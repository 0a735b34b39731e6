"""Poutines that decorate a function with what is to become of it: ``@plate(name, size)``, ``@markov(name, size)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar

import attrs

from poutine.errors import NotAProgram
from poutine.poutine import Poutine
from poutine.program import name_of

P = TypeVar("P", bound=Poutine)


@attrs.frozen(eq=False)
class Decorator(Generic[P]):
    """A poutine with all of its options, called ``kind``, that awaits its function, which ``takes`` something."""

    kind: str
    takes: str
    poutine: type[P]
    options: tuple[Any, ...]

    def __call__(self, fn: Callable[..., Any]) -> P:
        return self.poutine(fn, *self.options)

    def _misused(self, *_: object) -> NoReturn:
        name = self.options[0]
        raise NotAProgram(
            f"{self.kind} {name!r} is a decorator: write `@{self.kind}({name!r}, ...)` over a generator function of {self.takes}, and run "
            "`yield from fn()`"
        )

    __enter__ = __exit__ = __iter__ = _misused


def check_name(kind: str, name: Any, size: Any) -> None:
    """Raises ``NotAProgram`` at a decorator without its options, ``TypeError`` at a name that is none."""
    if callable(name):
        raise NotAProgram(f"{kind} is a decorator with options: write `@{kind}(name, size)` over {name_of(name)}")
    if not isinstance(name, str):
        raise TypeError(
            f"{kind}: expected a string as name, got {name!r}; write {kind}({repr(size) if isinstance(size, str) else 'name'}, {name!r})"
        )
