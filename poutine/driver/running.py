"""Running: a run that is answered by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from poutine.driver.engine import driving
from poutine.driver.places import Place, nested, place_of
from poutine.driver.stack import Run
from poutine.messages import Message
from poutine.program import Program

T = TypeVar("T")


class Running(Generic[T]):
    """A run that is answered by hand, for runtimes that stop between a message and its answer.

    It waits at ``message`` for ``reply(site)`` or ``fail(error)``; when there is none, it has returned ``value``. What the program
    raises, these two and ``begin`` raise. Leaving it (``with``) closes all that it started, wherever it waits.
    """

    def __init__(self, program: Program[T]) -> None:
        self.message: Message | None = None
        self.value: T | None = None
        self._run = Run()
        self._engine = driving(self._run, program)

    def begin(self) -> None:
        """Goes to the first message."""
        self._go(self._engine.__next__)

    def reply(self, site: Message) -> None:
        """Sends the finished site of ``message``, and goes to the next one."""
        self._go(self._engine.send, site)

    def fail(self, error: BaseException) -> None:
        """Throws an error from outside into the program, at the yield where it waits."""
        self._go(self._engine.throw, error)

    def _go(self, way: Callable[..., Message], *what: Any) -> None:
        self.message = None
        try:
            self.message = way(*what)
        except StopIteration as stop:
            self.value = stop.value

    def places(self, most: int = 50) -> tuple[Place, ...]:
        """Where its generators wait, outermost first: of a program that is deeper than that, the innermost ``most``."""
        found: list[Place] = []
        for frame in reversed(self._run.frames):
            if len(found) >= most:
                break
            found += map(place_of, reversed([*nested(frame.generator)]))
        return tuple(found[:most])[::-1]

    def close(self) -> None:
        """Closes all that it started, innermost first; raises the first error that this raises. Harmless where it has ended."""
        self._engine.close()

    def __enter__(self) -> Running[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
