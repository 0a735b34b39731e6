"""The scripted runtime: a program is run against a list of (expected message, reply).

A reply is the value that answers the message; ``AS_IT_IS`` sends the message back; an exception is raised at the yield.
On a mismatch the error shows what happened so far, what was expected, and what came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from poutine import Message, Program, answer, as_program

T = TypeVar("T")

AS_IT_IS: Final = object()


def perform(program: Program[T] | Callable[..., Any], script: Sequence[tuple[Message, Any]]) -> T:
    """Runs ``program`` against ``script``, all of which must be used; returns the program's value."""
    prompter = _Prompter(script)
    value = answer(as_program(program), prompter)
    assert prompter.position == len(script), prompter.report("the program ended")
    return value


class _Prompter(dict[type[Message], Callable[[Any], Message]]):
    def __init__(self, script: Sequence[tuple[Message, Any]]) -> None:
        super().__init__()
        self.script = script
        self.position = 0

    def __missing__(self, kind: type[Message]) -> Callable[[Any], Message]:
        return self.reply

    def reply(self, message: Message) -> Message:
        assert self.position < len(self.script) and message == self.script[self.position][0], self.report(f"{message!r} came")
        reply = self.script[self.position][1]
        self.position += 1
        if isinstance(reply, BaseException):
            raise reply
        return message if reply is AS_IT_IS else message.evolve(value=reply)

    def report(self, what: str) -> str:
        said = [f"  {message!r} -> {reply!r}" for message, reply in self.script[: self.position]]
        expected = self.script[self.position][0] if self.position < len(self.script) else "the end"
        return "\n".join(["so far:", *said, f"expected: {expected!r}", f"but {what}"])
