"""What a method of ``poutine infer`` returns."""

from __future__ import annotations

from collections.abc import Collection
from os import PathLike
from pathlib import Path
from typing import Protocol

import attrs

from interpreters.results.news import News
from interpreters.results.summary import Summary


class Result(Protocol):
    """What a method returns."""

    def summary(self, news: News = ..., /) -> Summary: ...
    def problems(self, summary: Summary | None = None, /) -> list[str]: ...
    def save(self, path: str | PathLike[str], /) -> None: ...
    def plot(self, path: str | PathLike[str], /) -> None: ...


@attrs.frozen
class Outcome:
    """A result, whether Ctrl-C cut it short, the files that it was written to already, and what a Ctrl-C now says of where it is kept."""

    result: Result
    is_interrupted: bool = False
    written: Collection[Path] = ()
    kept: str = "before the result was written, so nothing was kept"
