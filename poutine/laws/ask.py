"""Ask: a message type of the kit's own, which no poutine of the library knows."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from poutine.messages import Message
from poutine.params import ParamStore
from poutine.runtime import Runtime


@attrs.frozen(slots=False, eq=False, repr=False)
class Ask(Message):
    """``reply = yield Ask("a", 1.5)``: stands for the messages that users define. It has nothing but what every message has."""

    type: ClassVar[str] = "ask"
    question: Any = None


class AskingRuntime(Runtime):
    """The default runtime, which also answers ``Ask``, with twice the question, and keeps what it was asked, in order."""

    def __init__(self, seed: int = 0, params: ParamStore | None = None) -> None:
        super().__init__(seed, params)
        self.asked: list[Ask] = []
        self[Ask] = self._reply

    def _reply(self, ask: Ask) -> Message:
        self.asked.append(ask)
        return ask.evolve(value=2 * ask.question)
