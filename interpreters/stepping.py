"""Stepping: a program run one message at a time, as a value.

::

    here = begin(Program(model, y), seed=1).goto("tau")      # suspended at the message
    here.pending, here.log_density                            # what waits, and the log density so far
    low, high = here.reply(0.1).finish(), here.reply(9.0).finish()   # two branches
    print(compare(low, high))                                 # the sites that differ
    save(here, "run.step")                                    # and go on in another process, even if the model has changed:
    resumed = resume("run.step")                              # resumed.here, resumed.departure

1. ``Suspended`` never changes and holds no generator, since those cannot be copied: going on is replay of what was answered, going
   back is free, and a branch is a second move from the same place. ``Cursor`` keeps one run open between moves.
2. Draws are keyed by (seed, name, visit): an edit moves no draw that does not depend on it.
3. A run that was saved is resumed for as long as the model does what it did; where it departs, the run waits, and what was saved stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from interpreters.replies import unsealed
from interpreters.steps.answers import Answer
from interpreters.steps.breakpoints import Breakpoint
from interpreters.steps.cursor import Cursor
from interpreters.steps.difference import Comparison, compare
from interpreters.steps.live import Ending, Live, Setup
from interpreters.steps.resumed import Departure, Resumed, resume
from interpreters.steps.saved import Saved, load, save
from interpreters.steps.suspended import Suspended
from poutine import ParamStore, Program, Runtime, as_program

T = TypeVar("T")

__all__ = [
    "Answer", "Breakpoint", "Comparison", "Cursor", "Departure", "Ending", "Resumed", "Saved", "Setup", "Suspended",
    "begin", "compare", "load", "resume", "save", "unsealed",
]  # fmt: skip


def begin(
    program: Program[T] | Callable[..., Any],
    seed: int = 0,
    params: ParamStore | None = None,
    runtime: Callable[[int, ParamStore | None], Runtime] = Runtime,
) -> Suspended[T]:
    """``program``, suspended at its first message. ``runtime(seed, params)`` makes the answers of one run.

    **Law**: ``begin(p, seed).finish().value`` is ``run(p, seed)``.
    """
    setup = Setup(as_program(program), seed, params, runtime)
    live = Live(setup)
    try:
        return Suspended(setup, live.pause)
    finally:
        live.close()
