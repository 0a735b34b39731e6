"""Progress: an algorithm's draws are messages, so whoever is outside can watch it work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from interpreters.counts import so_many
from interpreters.hamiltonian.notices import Progress
from interpreters.results.extras import extra
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


@contextmanager
def progress_bars(num_chains: int, draws: int) -> Iterator[Callable[[Progress], None]]:
    """A bar for each chain on stderr, with its step size and divergences; its value is to be called with each ``Progress``."""
    try:
        tqdm: Any = extra("tqdm").tqdm
    except ImportError:
        yield lambda _: None
        return
    bars = [tqdm(total=draws, desc=f"chain {c}", unit="draw", leave=False, position=c) for c in range(num_chains)]

    def show(news: Progress) -> None:
        for bar, done, step_size, divergences in zip(bars, news.draws, news.step_sizes, news.divergences, strict=True):
            if done != bar.n:
                bar.set_postfix_str(f"step size {step_size:.3g}, {so_many(divergences, 'divergence')}", refresh=False)
                bar.update(done - bar.n)

    try:
        yield show
    finally:
        for bar in reversed(bars):
            bar.close()
