"""What the laws of section H put a handler to: programs that ask and fail, runtimes that keep and raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from poutine.driver.engine import answer
from poutine.laws.ask import Ask, AskingRuntime
from poutine.laws.watch import Boom, Mine, Watched
from poutine.messages import Message
from poutine.poutine import Poutine
from poutine.program import Coroutine, Program, Rule, Rules


@attrs.frozen(slots=False, eq=False, repr=False)
class AskingPoutine(Poutine):
    """Asks before each message of its program; and keeps what it asked and what came back."""

    name: str
    asked: list[Message]
    replies: list[Any]

    def rules(self) -> Rules:
        def around(message: Message) -> Coroutine[Any]:
            ask = Ask(self.name, 1.0)
            self.asked.append(ask)
            self.replies.append((yield ask))
            return (yield message)

        return {Message: Rule(around=around)}


class KeepingRuntime(AskingRuntime):
    """Keeps its replies to ``Ask``, too."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: list[Message] = []

    def _reply(self, ask: Ask) -> Message:
        self.replies.append(super()._reply(ask))
        return self.replies[-1]


class BoomingRuntime(AskingRuntime):
    """Raises at the message with a given number."""

    def __init__(self, number: int, watched: Watched) -> None:
        super().__init__()
        self.number, self.watched = number, watched
        self.boom = Boom()
        self.reached = False

    def __getitem__(self, kind: type[Message]) -> Callable[[Any], Message]:
        self.number -= 1
        if self.number == -1:
            self.reached = self.watched.running
            raise self.boom
        return super().__getitem__(kind)


class Failing:
    """A program that raises before its message with a given number; ``error`` is what it raised."""

    def __init__(self, program: Callable[..., Any], number: int) -> None:
        self.program, self.number = program, number
        self.error: Mine | None = None

    def __call__(self) -> Program[Any]:
        return _FailingPoutine(self.program, self)()


@attrs.frozen(slots=False, eq=False, repr=False)
class _FailingPoutine(Poutine):
    failing: Failing

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        result = yield from super().coroutine(program)
        raise self._mine()
        return result

    def rules(self) -> Rules:
        count = iter(range(self.failing.number))

        def up(message: Message) -> Message:
            if next(count, None) is None:
                raise self._mine()
            return message

        return {Message: Rule(up=up)}

    def _mine(self) -> Mine:
        self.failing.error = self.failing.error or Mine()
        return self.failing.error


def answered(fn: Callable[..., Any], runtime: AskingRuntime) -> Any:
    """Runs ``fn()`` in a runtime of the caller's; the error is the value, if there is one."""
    try:
        return answer(Program(fn), runtime)
    except Exception as error:
        return error


def error_of(fn: Callable[..., Any], runtime: AskingRuntime) -> Exception | None:
    found = answered(fn, runtime)
    return found if isinstance(found, Exception) else None
