"""The results of a benchmark in a file, a line each, so that one that was interrupted goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import attrs

from tests.benchmarks.samplers.apart import Failed, Made
from tests.benchmarks.samplers.race import Run

Key = tuple[str | int, ...]

_KINDS: Final = (Run, Made, Failed)


class Results:
    """By key what was found. Without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._found: dict[Key, Any] = {}
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        for key, kind, content in map(json.loads, lines):
            self._found[tuple(key)] = next(each for each in _KINDS if each.__name__ == kind)(**content)

    def get(self, key: Key) -> Any:
        return self._found.get(key)

    def add(self, key: Key, result: Run | Made | Failed) -> None:
        self._found[key] = result
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps([key, type(result).__name__, attrs.asdict(result)]) + "\n")
