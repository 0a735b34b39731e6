"""Frontier: the paths that wait, and a strategy's next one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from heapq import heappop, heappush
from itertools import count
from types import MappingProxyType
from typing import Any, Final, Literal

from interpreters.paths.path import Path

Strategy = Literal["depth", "breadth", "best"]


class Frontier:
    """The paths that wait, the strategy's next one first, and those that are left for their length."""

    def __init__(self, strategy: Strategy, longest: int | None) -> None:
        if strategy not in _PRIORITIES:
            raise ValueError(f"expected a strategy out of {', '.join(_PRIORITIES)}, got {strategy!r}")
        check_bound("longest", longest, 1)
        self._priority = _PRIORITIES[strategy]
        self._longest = math.inf if longest is None else longest
        self._number = count()
        self._heap: list[tuple[float, int, Path]] = []
        self._left: list[Path] = []
        self.push([Path()])

    def push(self, paths: list[Path]) -> None:
        """Adds paths, leaving out what cannot happen; of equals, the later one is the younger."""
        for path in paths:
            if path.log_prob > -math.inf:
                number = next(self._number)
                heappush(self._heap, (self._priority(path, number), number, path))

    def leaves(self, path: Path) -> bool:
        """Whether ``path``, at its next choice, is too long to go on; then it is kept apart."""
        if path.length < self._longest:
            return False
        self._left.append(path)
        return True

    def peek(self) -> Path | None:
        return self._heap[0][2] if self._heap else None

    def pop(self) -> Path | None:
        return heappop(self._heap)[2] if self._heap else None

    def __iter__(self) -> Iterator[Path]:
        yield from self._left
        yield from (path for _, _, path in self._heap)


_PRIORITIES: Final[Mapping[str, Callable[[Path, int], float]]] = MappingProxyType(
    {
        "depth": lambda _, number: -number,
        "breadth": lambda path, _: path.length,
        "best": lambda path, _: -path.log_prob,
    }
)


def check_bound(what: str, number: Any, least: int) -> None:
    if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < least):
        raise ValueError(f"expected as {what} an integer of at least {least}, or None for no bound, got {number!r}")
