"""Ask: a message type of the kit's own, which no poutine of the library knows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any, ClassVar

import attrs

from poutine.messages import Message, Sealed
from poutine.params import ParamStore
from poutine.runtime import Runtime


@attrs.frozen(slots=False, eq=False, repr=False)
class Ask(Message):
    """``reply = yield Ask("a", 1.5)``: stands for the messages that users define. It has nothing but what every message has."""

    type: ClassVar[str] = "ask"
    way_out: ClassVar[str] = "run it with poutine.laws.outcome, which answers it, or draw programs(asks=False)"
    question: Any = None


class AskingRuntime(Runtime):
    """The default runtime, which also answers ``Ask``, with twice the question, and keeps what it was asked, in order;
    and what else nobody knows, with 0.0, 1.0, 2.0 and 3.0 in turn: the world changes, and an answer may be out of date."""

    def __init__(self, seed: int = 0, params: ParamStore | None = None) -> None:
        super().__init__(seed, params)
        self.asked: list[Ask] = []
        self._turns = cycle((0.0, 1.0, 2.0, 3.0))
        self[Ask] = self._reply

    def __missing__(self, kind: type[Message]) -> Callable[[Any], Message]:
        """What nobody knows is a message of a user's own."""
        known = kind is Sealed or any(cls in self for cls in kind.__mro__)
        return super().__missing__(kind) if known else self._answer_anything

    def _reply(self, ask: Ask) -> Message:
        self.asked.append(ask)
        return ask.evolve(value=2 * ask.question)

    def _answer_anything(self, message: Message) -> Message:
        return message if message.is_decided else message.evolve(value=next(self._turns))
