"""What takes long after the draws are there, shown. Needs no sampler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from interpreters.results.extras import extra
from interpreters.results.news import News, silent

_QUIET: Final = 1.0  # seconds, after which work is shown


@contextmanager
def bar_of(work: str, unit: str) -> Iterator[News]:
    """A bar on stderr while some ``work`` is done, if that takes long; its value is to be told of it."""
    try:
        tqdm: Any = extra("tqdm").tqdm
    except ImportError:
        yield silent
        return
    bar = tqdm(desc=work, unit=unit, leave=False, delay=_QUIET)

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield show
    finally:
        bar.close()
