"""Session: a run that is stepped through, its breakpoints and its branches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from interpreters.command.double import DoubleRuntime
from interpreters.console.model import ModelOnData
from interpreters.errors import InputError
from interpreters.steps.breakpoints import Breakpoint, Where
from interpreters.steps.cursor import Cursor
from interpreters.steps.difference import Comparison, compare
from interpreters.steps.resumed import Departure, resume
from interpreters.steps.saved import is_saved, load, recorded, save
from interpreters.steps.suspended import Suspended

BEFORE = "before"


class Session:
    """Where the run is, and what leads elsewhere. A move that fails leaves it where it is; leaving it (``with``) closes the run.

    An edit keeps the run as it was, as far as it had come, as the branch ``before``.
    """

    def __init__(self, model: ModelOnData, start: Suspended[Any]) -> None:
        self.model = model
        self.breakpoints: list[Breakpoint] = []
        self.branches: dict[str, Suspended[Any]] = {}
        self._cursor = Cursor(start)
        self._furthest = start  # on the way to which nothing was edited since

    @property
    def here(self) -> Suspended[Any]:
        return self._cursor.here

    def step(self, count: int) -> None:
        for _ in range(count):
            self._cursor.step()
        self._arrived()

    def back(self, count: int) -> None:
        self._cursor.here = self.here.back(count)

    def goto(self, where: Where) -> None:
        self._cursor.here = self.here.goto(where)
        self._arrived()

    def proceed(self) -> None:
        """To the next breakpoint, or to the end."""
        self._cursor.until(lambda message: any(each(message) for each in self.breakpoints))
        self._arrived()

    def reply(self, value: Any) -> None:
        self._cursor.reply(value)
        self._left()

    def edit(self, where: Where, value: Any) -> None:
        self._cursor.here = self.here.edit(where, value)
        self._left()

    def branch(self, name: str) -> None:
        self.branches[name] = self.here

    def switch(self, name: str) -> None:
        self._cursor.here = self._branch(name)
        self._left()

    def difference(self, name: str) -> Comparison:
        """Of a branch, left, and of the run where it is, right."""
        return compare(self._branch(name), self.here)

    def save(self, path: Path) -> None:
        if path.exists() and not is_saved(path):
            raise InputError(f"{path} is there, and is no suspended run: it is not overwritten")
        save(self.here, path, self.model.about)

    def load(self, path: Path) -> Departure | None:
        saved = load(path)
        model = ModelOnData.saved(saved)
        resumed = resume(saved, model.load(), runtime=DoubleRuntime)
        self.model, self._cursor.here = model, resumed.here
        self._left()
        return resumed.departure

    def reload(self) -> Departure | None:
        """Goes on with the model as its file is now, as far as it does what it did."""
        resumed = resume(recorded(self.here), self.model.load(), runtime=DoubleRuntime)
        self._cursor.here = resumed.here
        self._left()
        return resumed.departure

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._cursor.close()

    def _branch(self, name: str) -> Suspended[Any]:
        if name not in self.branches:
            raise InputError(f"no branch {name!r}; there are: {', '.join(self.branches) or '(none)'}")
        return self.branches[name]

    def _arrived(self) -> None:
        if self.here.index > self._furthest.index:
            self._furthest = self.here

    def _left(self) -> None:
        """It goes another way now."""
        self.branches[BEFORE], self._furthest = self._furthest, self.here
