"""Programs that can be stopped at each message, without a driver of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from poutine.driver.engine import drive
from poutine.handlers.trace import TracePoutine
from poutine.laws.ask import AskingRuntime
from poutine.laws.outcome import Outcome, failed, finished
from poutine.messages import Message
from poutine.poutine import Poutine
from poutine.program import Coroutine, Rule, Rules
from poutine.runtime import Runtime


@attrs.frozen(slots=False, eq=False, repr=False)
class AnsweredPoutine(Poutine):
    """Answers every message with ``runtime``, and yields it outwards all the same, where any reply will do.

    So whoever drives the program can stop at each message, or never go on.
    """

    runtime: Runtime

    def rules(self) -> Rules:
        answered: list[Message] = []

        def request(message: Message) -> Message:
            answered.append(self.runtime[type(message)](message))
            return message

        return {Message: Rule(up=request, down=lambda _: answered.pop())}


class Stepper:
    """One run of a traced program, message by message: iterate over it to go on, ``close`` it to drop it.

    ``outcome`` is there when it has come to its end.
    """

    def __init__(self, fn: Callable[..., Any], seed: int = 0) -> None:
        self.outcome: Outcome | None = None
        self._runtime = AskingRuntime(seed)
        self._traced = TracePoutine(fn).traced()
        self._engine = drive(AnsweredPoutine(self._whole, self._runtime)())

    def _whole(self) -> Coroutine[None]:
        try:
            self.outcome = finished((yield from self._traced), self._runtime.asked)
        except Exception as error:
            self.outcome = failed(error, self._runtime.asked)

    def __iter__(self) -> Iterator[Message]:
        return self._engine

    def step(self) -> bool:
        """Goes on to the next message; False at the end."""
        try:
            return next(self._engine, None) is not None
        except Exception as error:  # the driver's own, which it raises again at the end of what it was thrown into
            self.outcome = failed(error, self._runtime.asked)
            return False

    def close(self) -> None:
        self._engine.close()


def interleaved(steppers: list[Stepper], turns: list[int]) -> list[Outcome]:
    """Runs all to their ends: first as ``turns`` says (numbers of those that are still running), then one by one."""
    running = list(steppers)
    for turn in turns:
        if running and not running[turn % len(running)].step():
            running.pop(turn % len(running))
    for stepper in running:
        while stepper.step():
            pass
    return [stepper.outcome for stepper in steppers if stepper.outcome is not None]
