"""What the laws of section H put a handler to: programs that ask and fail, runtimes that keep and raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from poutine.driver.engine import answer
from poutine.laws.ask import AskingRuntime
from poutine.laws.watch import Watched
from poutine.messages import Message, Site
from poutine.poutine import Poutine
from poutine.program import Coroutine, Program, Rule, Rules


@attrs.frozen(slots=False, eq=False, repr=False)
class AskingPoutine(Poutine):
    """Yields a message of ``make`` before each message of its program; and keeps what it yielded and what came back."""

    make: Callable[[], Message]
    asked: list[Message]
    replies: list[Any]

    def rules(self) -> Rules:
        def around(message: Message) -> Coroutine[Any]:
            self.asked.append(self.make())
            self.replies.append((yield self.asked[-1]))
            return (yield message)

        return {Message: Rule(around=around)}


@attrs.frozen(slots=False, eq=False, repr=False)
class NotingPoutine(Poutine):
    """Calls ``up`` with each message on its way up, and ``down`` with each on its way down: they return it, or another in its place."""

    up: Callable[[Any], Message] | None = None
    down: Callable[[Any], Message] | None = None

    def rules(self) -> Rules:
        return {Message: Rule(up=self.up, down=self.down)}


def keeping(kept: list[Message]) -> Callable[[Message], Message]:
    """Keeps sites as they pass; what is wrong with them is said afterwards, since an error now would be one of the run."""

    def keep(message: Message) -> Message:
        if isinstance(message, Site):
            kept.append(message)
        return message

    return keep


class KeepingRuntime(AskingRuntime):
    """Keeps the messages that arrive and are some ``of`` those wanted, and its replies to them."""

    def __init__(self, of: Callable[[Message], bool]) -> None:
        super().__init__()
        self.of = of
        self.arrived: list[Message] = []
        self.replies: list[Message] = []

    def __getitem__(self, kind: type[Message]) -> Callable[[Any], Message]:
        reply = super().__getitem__(kind)

        def kept(message: Message) -> Message:
            site = reply(message)
            if self.of(message):
                self.arrived.append(message)
                self.replies.append(site)
            return site

        return kept


class BoomingRuntime(AskingRuntime):
    """Raises at the message with a given number."""

    def __init__(self, number: int, watched: Watched, boom: BaseException) -> None:
        super().__init__()
        self.number, self.watched, self.boom = number, watched, boom
        self.reached = False

    def __getitem__(self, kind: type[Message]) -> Callable[[Any], Message]:
        self.number -= 1
        if self.number == -1:
            self.reached = self.watched.running
            raise self.boom
        return super().__getitem__(kind)


class Failing:
    """A program that raises ``error`` before its message with a given number."""

    def __init__(self, program: Callable[..., Any], number: int, error: BaseException) -> None:
        self.program, self.number, self.error = program, number, error
        self.has_raised = False

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

    def _mine(self) -> BaseException:
        self.failing.has_raised = True
        return self.failing.error


def error_of(fn: Callable[..., Any], runtime: AskingRuntime, expected: BaseException | None = None) -> BaseException | None:
    """What running ``fn()`` in a runtime of the caller's raises; but what ends Python itself is raised if it is not the ``expected`` one."""
    try:
        answer(Program(fn), runtime)
    except BaseException as error:
        if not isinstance(error, Exception) and error is not expected:
            raise
        return error
    return None
