"""H, continued. Messages of a user's own types, where ``check_laws`` is given some, under the handlers that answer them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from poutine.equality import same
from poutine.laws.blame import is_own, look
from poutine.laws.law import ANY, Case, Law, law
from poutine.laws.links import written
from poutine.messages import Message


@attrs.frozen
class Exchange:
    """What was asked further in, what left the handler for that, and the reply."""

    asked: Message
    left: list[Message]
    reply: Message

    @property
    def passed(self) -> bool:
        """Whether somebody further out was asked to answer it, too."""
        return any(self._is_like(message) and not message.is_decided for message in self.left)

    @property
    def answered_alone(self) -> bool:
        """Whether nothing was asked for to answer it."""
        return all(self._is_like(message) and message.is_decided for message in self.left)

    def _is_like(self, message: Message) -> bool:
        return type(message) is type(self.asked) and message.name == self.asked.name


@law(
    "H24",
    "a message of a user's own comes back answered, as what it was; what is asked for of its type has its name; "
    "of a type, not some are answered with None",
    ANY,
    "the messages that check_laws is given",
)
def own_messages_are_answered(case: Case) -> None:
    if case.messages is None:
        return
    program, seed = case.program(first=("message", "message")), case.seed()
    handler = case.handler(program)
    source, found = written(handler, "model"), _exchanges(case, handler, program, seed, 0.0)
    for each in found:
        what, kind = f"message {each.asked.name!r} ({type(each.asked).__name__})", type(each.asked)
        case.expect(type(each.reply) is kind, f"{what}: what comes back is {each.reply!r}; return message.evolve(value=...)", source)
        case.expect(each.reply.is_decided, f"{what}: it comes back without an answer", source)
        for message in each.left:
            renamed = type(message) is kind and message.name != each.asked.name
            case.expect(not renamed, f"{what}: it leaves as {message!r}, under another name", source)
    answers = [(type(each.asked), each) for each in found if each.answered_alone]
    something = {kind for kind, each in answers if each.reply.value is not None}
    for kind, each in answers:
        nothing = each.reply.value is None and kind in something
        others = f"it is answered with None, and others of type {kind.__name__} are answered; what h cannot answer it passes on: yield it"
        case.expect(not nothing, f"message {each.asked.name!r}: {others}", source)


@law(
    "H25",
    "the answer from further out to a message of a user's own has a say in what comes back",
    ANY,
    "the messages that check_laws is given, as far as h passes them on",
)
def answers_are_heard(case: Case) -> None:
    if case.messages is None:
        return
    program, seed = case.program(first=("message",)), case.seed()
    handler = case.handler(program)
    for several in zip(*(_exchanges(case, handler, program, seed, answer) for answer in _ANSWERS), strict=False):
        first, *others = several
        if all(each.passed and same(each.asked, first.asked) for each in several):
            heard = any(not same(other.reply.value, first.reply.value) for other in others)
            what = f"message {first.asked.name!r}: further out, it is answered with {' or '.join(map(str, _ANSWERS))}"
            case.expect(heard, f"{what}; the answer is {first.reply.value!r} each time", written(handler, "model"))


def _exchanges(case: Case, handler: Callable[..., Any], program: Callable[..., Any], seed: int, answer: float) -> list[Exchange]:
    """Those about messages of a user's own in one run, where what leaves of them is answered with ``answer``."""
    waiting: list[tuple[Message, list[Message]]] = []
    leaving: list[Message] = []
    found: list[Exchange] = []

    def ask(message: Message) -> Message:
        waiting.append((message, []))
        return message

    def leave(message: Message) -> Message:
        leaving.append(message)
        if waiting:  # pragma: no branch  # a handler may ask for more before it is asked
            waiting[-1][1].append(message)
        return message

    def reply(message: Message) -> Message:
        left = leaving.pop()
        return message.evolve(value=answer) if is_own(left) and not left.is_decided else message

    def come(message: Message) -> Message:
        asked, left = waiting.pop()
        if is_own(asked):
            found.append(Exchange(asked, left, message))
        return message

    look(case, handler, program, seed, ask=ask, come=come, leave=leave, reply=reply)
    return found


_ANSWERS: Final = (0.0, 1.0, 1000.0)  # three, since h may tell more from less

SECTION_H_OWN: Final[tuple[Law, ...]] = (own_messages_are_answered, answers_are_heard)
