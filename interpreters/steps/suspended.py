"""Suspended: a run that waits at a message, as a value, and the moves from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import attrs

from interpreters.errors import NotReached
from interpreters.replies import unsealed
from interpreters.steps.breakpoints import Where, stopping
from interpreters.steps.cursor import Cursor
from interpreters.steps.point import Point, check_count
from poutine import Message

T = TypeVar("T")


@attrs.frozen(eq=False, repr=False)
class Suspended(Point[T]):
    """A run that waits at ``pending``, or has come to its end. It never changes: each move makes another one.

    It holds no generator. It is the program, its seed and what was answered so far: to go on, the program is run again and sent the
    same; to go back costs nothing; two moves from one place are two branches. ``Cursor`` keeps the run open between moves.

    index:  how many messages were answered before.

    **Laws**: stepped to its end, whatever the way there, it is what ``run`` gives. Draws are keyed by (seed, name, visit), so an
    edit moves no draw that does not depend on it.
    """

    def step(self, count: int = 1) -> Suspended[T]:
        """Where it is after ``count`` more messages, answered as ``run`` answers them; the end if there are not so many."""
        check_count(count)
        with Cursor(self) as cursor:
            for _ in range(count):
                cursor.step()
            return cursor.here

    def reply(self, value: Any) -> Suspended[T]:
        """Where it is after ``value`` was the answer. Raises ``WrongAnswer`` if ``value`` is none to this message."""
        with Cursor(self) as cursor:
            cursor.reply(value)
            return cursor.here

    def until(self, where: Where) -> Suspended[T]:
        """The next place, after this one, where a message is pending that is asked for: by name or by ``Breakpoint``; else the end."""
        with Cursor(self) as cursor:
            cursor.until(where)
            return cursor.here

    def finish(self) -> Suspended[T]:
        """The end of the run."""
        return self.until(lambda message: False)

    def walk(self) -> Iterator[Suspended[T]]:
        """This place and each one after it, to the end, in one run."""
        with Cursor(self) as cursor:
            yield cursor.here
            while not cursor.here.has_ended:
                cursor.step()
                yield cursor.here

    def goto(self, where: Where) -> Suspended[T]:
        """The place where a message is pending that is asked for: this one, else the nearest before it, else the first after it.

        Raises ``NotReached`` if there is none.
        """
        return self._passed(stopping(where)) or self._ahead(where)

    def edit(self, where: Where, value: Any) -> Suspended[T]:
        """``goto(where).reply(value)``: what came after that site is forgotten (here; this place stays as it is).

        Edits of later sites, too: for several, edit in the order of the program.
        """
        return self.goto(where).reply(value)

    def _passed(self, stops: Callable[[Message], bool]) -> Suspended[T] | None:
        return next((point for point in self.points if point.pending is not None and stops(unsealed(point.pending))), None)

    def _ahead(self, where: Where) -> Suspended[T]:
        found = self.until(where)
        if found.ending is None:
            return found
        names = list(dict.fromkeys(unsealed(answer.site).name for answer in found.answers))
        error = found.ending.error
        end = "" if error is None else f" before it raised {type(error).__name__}"
        raise NotReached(f"the program never reached {where!r}; it reached: {', '.join(names) or '(none)'}{end}")
