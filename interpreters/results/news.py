"""News of work that takes its time: how much is done, and of how much."""

from __future__ import annotations

from collections.abc import Callable

News = Callable[[int, int], object]


def silent(done: int, total: int) -> None:
    """Nobody is told."""
