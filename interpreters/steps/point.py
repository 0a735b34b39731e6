"""Point: where a run stands, as a value."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any, Generic, Self, TypeVar

import attrs
import torch

from interpreters.counts import so_many
from interpreters.errors import NotReached
from interpreters.replies import unsealed
from interpreters.steps.answers import Answer
from interpreters.steps.live import Ending, Pause, Setup
from poutine import Input, Message, Passing, Place, Program, Return, Trace

T = TypeVar("T")


def check_count(count: Any) -> None:
    """Raises ``ValueError`` for what is no number of messages."""
    if not isinstance(count, Integral) or isinstance(count, bool) or count < 0:
        raise ValueError(f"expected a whole number of messages, 0 or more, got {count!r}; goto goes to a site, back or ahead")


@attrs.frozen(eq=False, repr=False)
class Point(Generic[T]):
    """Where a run stands: at its ``pause``, which it came to from ``previous``; ``index`` messages were answered before."""

    setup: Setup[T]
    pause: Pause[T]
    previous: Self | None = None
    index: int = 0

    def after(self, pause: Pause[T]) -> Self:
        """The point that follows this one."""
        return attrs.evolve(self, pause=pause, previous=self, index=self.index + 1)

    def back(self, count: int = 1) -> Self:
        """Where it was ``count`` messages ago; the beginning if there are not so many."""
        check_count(count)
        point: Self = self
        for _ in range(count):
            point = point.previous or point
        return point

    @property
    def pending(self) -> Message | None:
        """The message that waits for its answer, as it left the chain; None at the end."""
        return self.pause.pending

    @property
    def has_ended(self) -> bool:
        return self.pause.ending is not None

    @property
    def ending(self) -> Ending[T] | None:
        return self.pause.ending

    @property
    def value(self) -> T:
        """What the program returned. Raises what it raised, and ``NotReached`` if it has not ended."""
        if self.pause.ending is None:
            raise NotReached(f"the program has not ended: it waits at {unsealed(self._pending()).name!r}; finish() goes to its end")
        if self.pause.ending.error is not None:
            raise self.pause.ending.error
        return self.pause.ending.value  # type: ignore[return-value]  # an ending without an error has the value

    @property
    def way(self) -> tuple[Passing, ...]:
        """How ``pending`` came up the chain: (what, who, message)."""
        return self.pause.way

    @property
    def places(self) -> tuple[Place, ...]:
        """Where each generator of the run waits, outermost first."""
        return self.pause.places

    @property
    def points(self) -> Iterator[Self]:
        """This one and those before it, back to the beginning."""
        point: Self | None = self
        while point is not None:
            yield point
            point = point.previous

    @property
    def answers(self) -> list[Answer]:
        """What was answered so far, in order."""
        return [point.pause.answered for point in self.points if point.pause.answered is not None][::-1]

    @property
    def trace(self) -> Trace:
        """The trace so far, as ``trace`` around the whole program records it. Raises ``DuplicateSite`` as it does."""
        trace, program = Trace(), self.setup.program
        whole = program.args[0] if program.args and isinstance(program.args[0], Program) else program
        trace.record(Input("_INPUT", whole.args, whole.kwargs, value=(whole.args, whole.kwargs)))
        for answer in self.answers:
            if answer.is_visible:
                trace.record(answer.site)
        if self.pause.ending is not None and self.pause.ending.error is None:
            trace.record(Return("_RETURN", value=self.pause.ending.value))
        return trace

    @property
    def log_density(self) -> torch.Tensor:
        """Of the visible sites so far, in nats: a scalar."""
        densities = (answer.log_density for answer in self.answers)
        return sum((density for density in densities if density is not None), start=torch.zeros(()))

    def _pending(self) -> Message:
        assert self.pause.pending is not None
        return self.pause.pending

    def __repr__(self) -> str:
        ending = self.pause.ending
        if ending is None:
            return f"<Suspended at {unsealed(self._pending())!r}, after {so_many(self.index, 'answer')}>"
        what = f"raised {ending.error!r}" if ending.error is not None else f"returned {ending.value!r}"
        return f"<Suspended: {what}, after {so_many(self.index, 'answer')}>"
