"""The stack of frames of one run: who waits for whom, and where an error goes."""

from __future__ import annotations

from types import CoroutineType
from typing import Any, cast

import attrs

from poutine.driver.closing import close, close_all
from poutine.driver.places import nested, place_of
from poutine.driver.replies import bad_reply, bad_request, check_value
from poutine.driver.routes import FOREIGN, OUT, Pending, Scope, Step, check_rules
from poutine.driver.slips import explained
from poutine.errors import NotAMessage, NotAProgram, PoutineError
from poutine.hints import hint_for_yielded
from poutine.messages import Message
from poutine.program import Coroutine, Handling, Program, start, started


class Frame:
    """One running generator: a program's or, with an ``owner``, that of the ``around`` of the poutine whose scope has this base."""

    __slots__ = ("generator", "owner", "pending", "poisoned", "scope", "send")

    def __init__(self, generator: Coroutine[Any], scope: Scope, owner: int | None = None) -> None:
        self.generator = generator
        self.send = generator.send
        self.scope = scope  # where its messages begin their way up
        self.owner = owner
        self.pending: Pending = None  # for the message that it has yielded
        self.poisoned = False  # has it swallowed an error from outside before?


@attrs.frozen
class Poison:
    """An error from outside, which nobody in the frames from ``base`` on may swallow."""

    error: BaseException
    base: int


class Run:
    """The stack of frames of one run. The last frame runs; each waits for the one after it."""

    __slots__ = ("error", "frames", "poison", "reply")

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.reply: Any = None  # what the last frame is sent next,
        self.error: BaseException | None = None  # or what is thrown into it
        self.poison: Poison | None = None

    def take_error(self) -> BaseException:
        error, self.error = self.error, None
        return cast(BaseException, error)

    def ascend(self, frame: Frame, message: Any, step: Step) -> Message | None:
        """Takes what ``frame`` yielded up the chain; None if something else comes first: a program, a coroutine, an error."""
        if self.poison is not None:
            self._raise_again(frame, self.poison)
            return None
        if step is FOREIGN:
            self._open(frame, message)
            return None
        kind = type(message)
        pending: Pending = None
        while step is not OUT:
            try:
                up, deed = step.up, step.deed
                if deed is not None and (step.acts or pending is not None or frame.owner is not None):
                    pending = (deed, pending)
                if up is not None:
                    message = up(message)
                    if (now := type(message)) is not kind:
                        kind = now
                        outside = step.outside[kind]
                        if outside is FOREIGN:
                            raise bad_request(message, up)
                        step = outside
                        continue
                elif step.around is not None:  # which stands alone
                    self._push(started(step.around(message), step.around), step.outside, step.base)
                    frame.pending = pending
                    return None
            except BaseException as error:
                self.fail(error, step.base)
                return None
            step = step.outer  # type: ignore[assignment]  # only OUT has none; a cast would be called at every step
        frame.pending = pending
        return message  # type: ignore[no-any-return]  # what is FOREIGN is no message

    def fail(self, error: BaseException, base: int) -> None:
        """An error from the poutine whose scope has this ``base`` (0: from the runtime) is to be thrown into the last frame."""
        if isinstance(error, PoutineError):
            error.__traceback__ = None  # the place to look at is the yield, not this library
        if self.poison is not None:
            base = min(base, self.poison.base)
        self.error, self.poison = error, Poison(error, base)

    def close(self) -> None:
        """Closes what is still open, innermost first; raises the first error that this raises, after closing all."""
        open_ones = [frame.generator for frame in reversed(self.frames)]
        self.frames.clear()
        close_all(open_ones)

    def _open(self, frame: Frame, yielded: Any) -> None:
        """Runs a program that ``frame`` yielded, in its place."""
        try:
            if isinstance(yielded, Program):
                self._push(start(yielded), frame.scope)
            elif isinstance(yielded, Handling):
                check_rules(yielded.rules, frame.generator)
                scope = Scope(yielded.rules, frame.scope, len(self.frames)) if yielded.rules else frame.scope
                self._push(start(yielded.program), scope)
            else:
                self.fail(_not_a_message(frame.generator, yielded), OUT.base)
        except BaseException as error:
            self.error = error

    def _push(self, generator: Coroutine[Any], scope: Scope, owner: int | None = None) -> None:
        self.frames.append(Frame(generator, scope, owner))
        self.reply = None

    def returned(self, frame: Frame, value: Any) -> bool:
        """``frame`` has ended with ``value``; True if that is a coroutine's site, for the frame before it."""
        self.frames.pop()
        if self.poison is not None and len(self.frames) <= self.poison.base:
            _note_swallow(self.poison.error, frame)
            self._leave(frame, self.poison.error)  # it was swallowed to the last: the run fails all the same
            return False
        self.reply = value
        if frame.owner is None:
            try:
                check_value(value, frame.generator)
            except NotAProgram as error:
                self._leave(frame, error)
            return False
        if not isinstance(value, Message):
            self.fail(bad_reply(value, frame.generator), frame.owner)
            return False
        return True

    def raised(self, frame: Frame, error: BaseException) -> None:
        self.frames.pop()
        self._leave(frame, explained(error))

    def _leave(self, frame: Frame, error: BaseException) -> None:
        """``error`` goes from ``frame``, which has ended, to the frame before it."""
        if self.poison is not None and len(self.frames) <= self.poison.base:
            self.poison = None
        if not self.frames:
            raise error
        if frame.owner is not None:
            self.fail(error, frame.owner)
        else:
            self.error = error

    def _raise_again(self, frame: Frame, poison: Poison) -> None:
        """``frame`` has yielded although an error from outside is still on its way."""
        if not frame.poisoned:
            frame.poisoned = True
            _note_swallow(poison.error, frame)
            self.error = poison.error
            return
        self.frames.pop()
        try:
            close(frame.generator)
        except Exception as error:  # the error that was swallowed is the one to tell of
            poison.error.add_note(f"{frame.generator!r} could not be closed after it had swallowed this: {error!r}")
        self._leave(frame, poison.error)


def _note_swallow(error: BaseException, frame: Frame) -> None:
    """Notes on an error from outside that a program has caught it: or else nobody sees why the run fails all the same."""
    name = getattr(frame.generator, "__qualname__", repr(frame.generator))
    note = (
        f"{name} caught this at its yield and went on; an error from outside ends the run all the same: who raises it must do "
        "otherwise (an awaitable, say, catch it and return another value)"
    )
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def _not_a_message(generator: Coroutine[Any], yielded: Any) -> NotAMessage:
    *_, generator = nested(generator)
    place = place_of(generator)
    where = f"{place.function}, line {place.line} of {place.file}," if place.line else "a program"
    if isinstance(yielded, CoroutineType):
        yielded.close()  # nobody will await it
    return NotAMessage(f"{where} yielded {yielded!r}, which is no message and no program{hint_for_yielded(yielded)}")
