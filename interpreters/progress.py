"""Progress: an algorithm's draws are messages, so whoever is outside can watch it work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from interpreters.extras import extra
from poutine import Message, Poutine, Rule, Rules, Sample


@attrs.frozen(slots=False, eq=False, repr=False)
class WatchPoutine(Poutine):
    """Calls ``step()`` whenever the draws of a new step begin: when the part of their names before the first ``/`` changes.

    **Law**: changes nothing.
    """

    step: Callable[[], object]

    def rules(self) -> Rules:
        current: list[str] = []

        def watch(site: Sample) -> Message:
            prefix = site.name.partition("/")[0]
            if current[-1:] != [prefix]:
                current[:] = [prefix]
                self.step()
            return site

        return {Sample: Rule(up=watch)}


@contextmanager
def progress_bar(steps: int, unit: str) -> Iterator[Callable[[], object]]:
    """A bar on stderr; its value is to be called at the beginning of each of ``steps`` steps. It vanishes if the work fails.

    Without tqdm (of the extra ``infer``) there is no bar.
    """
    try:
        bar: Any = extra("tqdm").tqdm(total=steps, unit=unit, leave=False)
    except ImportError:
        yield lambda: None
        return
    begun = -1

    def step() -> None:
        nonlocal begun
        begun += 1
        bar.update(min(begun, steps) - bar.n)

    try:
        yield step
        bar.leave = True
        bar.update(steps - bar.n)
    finally:
        bar.close()
