"""Suspended: a run that waits at a message, as a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import attrs
import torch

from interpreters.errors import NotReached
from interpreters.replies import unsealed
from interpreters.steps.answers import Answer
from interpreters.steps.breakpoints import Where, stopping
from interpreters.steps.fitting import fitted
from interpreters.steps.live import Ending, Live, Pause, Setup
from poutine import Input, Message, Passing, Place, Program, Return, Trace

T = TypeVar("T")


@attrs.frozen(eq=False, repr=False)
class Suspended(Generic[T]):
    """A run that waits at ``pending``, or has come to its end. It never changes: each move makes another one.

    It holds no generator. It is the program, its seed and what was answered so far: to go on, the program is run again and sent the
    same; to go back costs nothing; two moves from one place are two branches. ``Cursor`` keeps the run open between moves.

    index:  how many messages were answered before.

    **Laws**: stepped to its end, whatever the way there, it is what ``run`` gives. Draws are keyed by (seed, name, visit), so an
    edit moves no draw that does not depend on it.
    """

    setup: Setup[T]
    pause: Pause[T]
    previous: Suspended[T] | None = None
    index: int = 0

    # Where it is

    @property
    def pending(self) -> Message | None:
        """The message that waits for its answer, as it left the chain; None at the end."""
        return self.pause.pending

    @property
    def has_ended(self) -> bool:
        return self.pause.ending is not None

    @property
    def ending(self) -> Ending[T] | None:
        return self.pause.ending

    @property
    def value(self) -> T:
        """What the program returned. Raises what it raised, and ``NotReached`` if it has not ended."""
        if self.pause.ending is None:
            raise NotReached(f"the program has not ended: it waits at {unsealed(self._pending()).name!r}; finish() goes to its end")
        if self.pause.ending.error is not None:
            raise self.pause.ending.error
        return self.pause.ending.value  # type: ignore[return-value]  # an ending without an error has the value

    @property
    def way(self) -> tuple[Passing, ...]:
        """How ``pending`` came up the chain: (what, who, message)."""
        return self.pause.way

    @property
    def places(self) -> tuple[Place, ...]:
        """Where each generator of the run waits, outermost first."""
        return self.pause.places

    @property
    def points(self) -> Iterator[Suspended[T]]:
        """This one and those before it, back to the beginning."""
        point: Suspended[T] | None = self
        while point is not None:
            yield point
            point = point.previous

    @property
    def answers(self) -> list[Answer]:
        """What was answered so far, in order."""
        return [point.pause.answered for point in self.points if point.pause.answered is not None][::-1]

    @property
    def trace(self) -> Trace:
        """The trace so far, as ``trace`` around the whole program records it. Raises ``DuplicateSite`` as it does."""
        trace, program = Trace(), self.setup.program
        whole = program.args[0] if program.args and isinstance(program.args[0], Program) else program
        trace.record(Input("_INPUT", whole.args, whole.kwargs, value=(whole.args, whole.kwargs)))
        for answer in self.answers:
            if answer.is_visible:
                trace.record(answer.site)
        if self.pause.ending is not None and self.pause.ending.error is None:
            trace.record(Return("_RETURN", value=self.pause.ending.value))
        return trace

    @property
    def log_density(self) -> torch.Tensor:
        """Of the visible sites so far, in nats: a scalar."""
        densities = (answer.log_density for answer in self.answers)
        return sum((density for density in densities if density is not None), start=torch.zeros(()))

    # Moves

    def step(self, count: int = 1) -> Suspended[T]:
        """Where it is after ``count`` more messages, answered as ``run`` answers them; the end if there are not so many."""
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

    def back(self, count: int = 1) -> Suspended[T]:
        """Where it was ``count`` messages ago; the beginning if there are not so many."""
        point = self
        for _ in range(count):
            point = point.previous or point
        return point

    def goto(self, where: Where) -> Suspended[T]:
        """The place where a message is pending that is asked for: this one, else the nearest before it, else the first after it.

        Raises ``NotReached`` if there is none.
        """
        return self._passed(stopping(where)) or self._ahead(where)

    def edit(self, where: Where, value: Any) -> Suspended[T]:
        """``goto(where).reply(value)``: what came after that site is forgotten (here; this place stays as it is)."""
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

    def _pending(self) -> Message:
        assert self.pause.pending is not None
        return self.pause.pending

    def __repr__(self) -> str:
        ending = self.pause.ending
        if ending is None:
            return f"<Suspended at {unsealed(self._pending())!r}, after {self.index} answers>"
        what = f"raised {ending.error!r}" if ending.error is not None else f"returned {ending.value!r}"
        return f"<Suspended: {what}, after {self.index} answers>"


class Cursor(Generic[T]):
    """A place in a run that moves. It keeps the run open, so that going on costs no replay; leaving it (``with``) closes the run.

    ``here`` may be set to any other place.
    """

    def __init__(self, here: Suspended[T]) -> None:
        self.here = here
        self._live: Live[T] | None = None
        self._at: Suspended[T] | None = None  # where the open run is

    def step(self) -> None:
        if not self.here.has_ended:
            self._moved(self._open().step)

    def reply(self, value: Any) -> None:
        """Raises ``WrongAnswer``, and ``NotReached`` at the end; then nothing has moved."""
        if self.here.has_ended:
            raise NotReached("the program has ended: there is no message to answer; go back first")
        live = self._open()
        value = fitted(value, live)
        self._moved(lambda: live.reply(value))

    def until(self, where: Where) -> None:
        stops = stopping(where)
        while not self.here.has_ended:
            self.step()
            if self.here.pending is not None and stops(unsealed(self.here.pending)):
                return

    def close(self) -> None:
        if self._live is not None:
            live, self._live, self._at = self._live, None, None
            live.close()

    def __enter__(self) -> Cursor[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Live[T]:
        if self._live is None or self._at is not self.here:
            self.close()
            self._live = Live(self.here.setup)
            for answer in self.here.answers:
                self._live.replay(answer)
            self._at = self.here
        return self._live

    def _moved(self, move: Callable[[], Pause[T]]) -> None:
        before, self._at = self.here, None  # not where it was, if the move is interrupted
        pause = move()
        self.here = self._at = Suspended(before.setup, pause, before, before.index + 1)
