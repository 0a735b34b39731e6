"""Session: a run that is stepped through, its breakpoints and its branches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from interpreters.command.double import DoubleRuntime
from interpreters.console.model import LoadedModel, ModelOnData
from interpreters.errors import InputError
from interpreters.replies import unsealed
from interpreters.steps.breakpoints import Breakpoint, Where
from interpreters.steps.cursor import Cursor
from interpreters.steps.difference import Comparison, compare
from interpreters.steps.resumed import Departure, resume
from interpreters.steps.saved import Saved, is_saved, load, recorded, save
from interpreters.steps.suspended import Suspended

BEFORE = "before"


@attrs.frozen(eq=False)
class Branch:
    """A place in a run, and the model, as it was loaded, that runs there."""

    model: LoadedModel
    point: Suspended[Any]


class Session:
    """Where the run is, and what leads elsewhere; leaving it (``with``) closes the run.

    A move that fails leaves it where it is; but ``step`` and ``proceed``, which go from message to message, stop at the last one that
    they have come to. An edit keeps the run as it was, as far as it had come, as the branch ``before``.
    """

    def __init__(self, model: LoadedModel, start: Suspended[Any]) -> None:
        self.model = model
        self.breakpoints: list[Breakpoint] = []
        self.branches: dict[str, Branch] = {}
        self._cursor = Cursor(start)
        self._furthest = start  # on the way to which nothing was edited since

    @property
    def here(self) -> Suspended[Any]:
        return self._cursor.here

    def step(self, count: int) -> None:
        try:
            for _ in range(count):
                self._cursor.step()
        finally:
            self._arrived()

    def back(self, count: int) -> None:
        self._cursor.here = self.here.back(count)

    def goto(self, where: Where) -> None:
        self._cursor.here = self.here.goto(where)
        self._arrived()

    def proceed(self) -> None:
        """To the next breakpoint, or to the end."""
        try:
            self._cursor.until(lambda message: any(each(message) for each in self.breakpoints))
        finally:
            self._arrived()

    def reply(self, value: Any) -> list[str]:
        """Returns the names of the sites whose edits are forgotten by this: they come later in the program."""
        self._cursor.reply(value)
        return self._edited()

    def edit(self, where: Where, value: Any) -> list[str]:
        """Returns what ``reply`` does."""
        self._cursor.here = self.here.edit(where, value)
        return self._edited()

    def branch(self, name: str) -> None:
        self.branches[name] = Branch(self.model, self.here)

    def switch(self, name: str) -> None:
        self._go(self._branch(name))

    def difference(self, name: str) -> Comparison:
        """Of a branch, left, and of the run where it is, right."""
        return compare(self._branch(name).point, self.here)

    def save(self, path: Path) -> None:
        if path.exists() and not is_saved(path):
            raise InputError(f"{path} is there, and is no suspended run: it is not overwritten")
        save(self.here, path, self.model.origin.about)

    def load(self, path: Path) -> Departure | None:
        saved = load(path)
        return self._resume(saved, ModelOnData.saved(saved))

    def reload(self) -> Departure | None:
        """Goes on with the model as its file is now, as far as it does what it did."""
        return self._resume(recorded(self.here), self.model.origin)

    def _resume(self, saved: Saved, origin: ModelOnData) -> Departure | None:
        model = origin.load()
        resumed = resume(saved, model.program, runtime=DoubleRuntime)
        self._go(Branch(model, resumed.here))
        return resumed.departure

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._cursor.close()

    def _branch(self, name: str) -> Branch:
        if name not in self.branches:
            raise InputError(f"no branch {name!r}; there are: {', '.join(self.branches) or '(none)'}")
        return self.branches[name]

    def _arrived(self) -> None:
        if self.here.index > self._furthest.index:
            self._furthest = self.here

    def _edited(self) -> list[str]:
        later = self._furthest.answers[self.here.index :]
        self._left()
        return [unsealed(answer.site).name for answer in later if answer.edited]

    def _left(self) -> None:
        """It goes another way now."""
        self.branches[BEFORE], self._furthest = Branch(self.model, self._furthest), self.here

    def _go(self, branch: Branch) -> None:
        self._cursor.here = branch.point
        self._left()
        self.model = branch.model
