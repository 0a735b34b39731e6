"""Which of a program's samples it leaves to be drawn."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import attrs

from poutine import BlockPoutine, Coroutine, Handling, Message, Program, Rule, Sample, Trace, TracePoutine


@attrs.frozen(eq=False)
class Drawn:
    """A trace, and the names of the samples that left the program undecided: those are draws, the others were given."""

    trace: Trace
    names: frozenset[str]


def drawn(program: Program[Any], hide: Collection[str] = ()) -> Coroutine[Drawn]:
    """Traces ``program`` and notes what is drawn. From further out only its draws and parameters are visible, without the
    sites in ``hide``: observations and computed values are no randomness of the algorithm that asks.
    """
    names: set[str] = set()

    def note(site: Sample) -> Message:
        if not site.is_decided:
            names.add(site.name)
        return site

    def noting() -> Coroutine[Trace]:
        traced = TracePoutine(program.fn).traced(*program.args, **program.kwargs)
        trace: Trace = yield Handling(traced, {Sample: Rule(up=note)})
        return trace

    trace = yield from BlockPoutine(noting, hide=hide, hide_types=["observe", "deterministic"])()
    return Drawn(trace, frozenset(names))
