"""Which vectorised loops cannot take their steps at once, as a plain run shows it: handlers around a loop know its sites by their step.

``condition(data={"x_3": 0})`` makes the third step unlike the others, and for all steps at once there is no "x_3". So, step by step, it is
noted what comes out of the loop, what it is answered, and whether that is what comes back.
"""

from __future__ import annotations

from typing import Any

import attrs

from interpreters.factor_graph.loops import dims_of, free_dim, may_be_at_once
from poutine import Choice, EnterMarkov, MarkovEntry, Message

Kind = tuple[Any, ...]


@attrs.define(eq=False)
class _Open:
    """A loop that is running: its name, how many plates are around it, the dimension its steps would have, and what was in each step."""

    name: str
    around: int
    dim: int
    steps: list[list[Kind]] = attrs.field(factory=list)


class Watch:
    """Answers the loops of a plain run. ``in_turn`` are the names of those whose steps are not alike."""

    def __init__(self) -> None:
        self.in_turn: set[str] = set()
        self._open: list[_Open] = []
        self._sent: dict[int, Any] = {}  # by identity: values that are kept here

    def enter(self, entry: EnterMarkov) -> Message:
        if not may_be_at_once(entry):
            return entry.evolve(value=MarkovEntry(entry.start, entry.start + 1, entry.state))
        if entry.start == 0:
            self._open.append(_Open(entry.name, len(entry.cond_indep_stack), free_dim(entry)))
        self._open[-1].steps.append([])
        if entry.start == entry.size:
            loop = self._open.pop()
            first, second, *others, _ = loop.steps
            # The first step may have sites of its own; as many, but of other kinds, are a handler's work.
            if any(step != second for step in others) or (len(first) == len(second) and first != second):
                self.in_turn.add(loop.name)
        return entry.evolve(value=MarkovEntry(entry.start, entry.start + 1, entry.state, watch=self._returned))

    def sent(self, site: Choice, is_drawn: bool, is_hidden: bool = False) -> None:
        """The runtime has answered ``site``."""
        if not self._open:
            return
        self._sent[id(site.value)] = site.value
        for loop in self._open:
            loop.steps[-1].append((type(site), is_drawn, is_hidden))
            if is_hidden or loop.dim in dims_of(site.cond_indep_stack[loop.around :]):
                self.in_turn.add(loop.name)

    def _returned(self, site: Message) -> None:
        """The loop gets ``site``, after all handlers around it."""
        if isinstance(site, Choice) and id(site.value) not in self._sent:
            for loop in self._open:
                last = loop.steps[-1].pop() if loop.steps[-1] else ()
                loop.steps[-1].append((*last, "another value"))
