"""Cursor: a place in a run that moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from interpreters.errors import NotReached
from interpreters.replies import unsealed
from interpreters.steps.breakpoints import Where, stopping
from interpreters.steps.fitting import fitted
from interpreters.steps.live import Live, Pause
from interpreters.steps.point import Point

P = TypeVar("P", bound=Point[Any])


class Cursor(Generic[P]):
    """A place in a run that moves. It keeps the run open, so that going on costs no replay; leaving it (``with``) closes the run.

    ``here`` may be set to any other place.
    """

    def __init__(self, here: P) -> None:
        self.here = here
        self._live: Live[Any] | None = None
        self._at: P | None = None  # where the open run is

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

    def __enter__(self) -> Cursor[P]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Live[Any]:
        if self._live is None or self._at is not self.here:
            self.close()
            self._live = Live(self.here.setup)
            for answer in self.here.answers:
                self._live.replay(answer)
            self._at = self.here
        return self._live

    def _moved(self, move: Callable[[], Pause[Any]]) -> None:
        before, self._at = self.here, None  # not where it was, if the move is interrupted
        pause = move()
        self.here = self._at = before.after(pause)
