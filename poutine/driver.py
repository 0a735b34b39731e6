"""The only driver of generators. No other file calls ``send``, ``throw`` or ``close``.

1. A message goes up through the poutines around the program that yielded it, innermost first, and out to the runtime; its site comes
   down the same way. A program is sent the value, a poutine the site.
2. Programs are driven from an explicit stack of frames, so that depth costs memory and not recursion.
3. Every generator that is started is closed, on every path, innermost first.
4. An error from outside (a poutine further out, the runtime) is thrown into the program at its yield. Nobody between
   there and the place that it came from may swallow it: the run is poisoned, and it is raised again at the next yield.
   A second swallow closes the generator. Outside the place that it came from, it is an ordinary exception.
5. A program's own exception goes to whoever ran the program, unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Final, TypeVar, cast

import attrs

from poutine.errors import BadReply, NotAMessage, PoutineError
from poutine.messages import UNDECIDED, Message
from poutine.program import Coroutine, Handling, Program, Rule, Rules, hint_for, name_of, start, started

T = TypeVar("T")


def drive(program: Program[T]) -> Generator[Message, Message, T]:
    """Runs ``program`` and yields the messages that leave its chain of poutines; to be sent the finished sites.

    This is the engine under every runtime. Closing it closes all that it started.
    """
    run = _Run(program)
    frames = run.frames
    try:
        while frames:
            # Resume the last frame.
            frame = frames[-1]
            try:
                yielded = frame.send(run.reply) if run.error is None else frame.generator.throw(run.take_error())
            except StopIteration as stop:
                if not run.returned(frame, stop.value):
                    continue
                frame, step, site = frames[-1], _OUT, stop.value
            except BaseException as error:
                run.raised(frame, error)
                continue
            else:
                # Up the chain, and out.
                step = frame.scope[type(yielded)]
                if step.quiet and run.poison is None:
                    message, frame.pending = yielded, step.pending
                elif (message := run.ascend(frame, yielded, step)) is None:
                    continue
                try:
                    site = yield message
                except GeneratorExit:
                    raise
                except BaseException as error:
                    run.fail(error, _OUT.base)
                    continue
            # Down the chain: a program is sent the value, a poutine's coroutine the site.
            try:
                base, pending = step.base, frame.pending
                while pending is not None:
                    down, base, pending = pending
                    site = down(site)
                value = site.value
                if value is UNDECIDED:
                    raise _bad_reply(site)
                run.reply = value if frame.owner is None else site
            except BaseException as error:
                run.fail(error if isinstance(site, Message) else _bad_reply(site), base)
        return cast(T, run.reply)
    finally:
        run.close()


def answer(program: Program[T], answers: Mapping[type[Message], Callable[[Any], Message]]) -> T:
    """Runs ``program`` to its end and returns its value; ``answers[type(message)](message)`` is each message's finished site."""
    engine = drive(program)
    try:
        message = next(engine)
        while True:
            try:
                site = answers[type(message)](message)
            except BaseException as error:
                message = engine.throw(error)
            else:
                message = engine.send(site)
    except StopIteration as stop:
        return cast(T, stop.value)
    finally:
        engine.close()


class _Scope(dict[type, "_Step"]):
    """The part of a run that is under one poutine's rules: from a message's type to its way outwards, found once.

    ``base`` is the index of the frame in which it begins. Scopes and steps refer outwards only: a cycle would keep all that
    a run made until the garbage collector comes.
    """

    __slots__ = ("base", "parent", "rules")

    def __init__(self, rules: Rules, parent: _Scope | None, base: int) -> None:
        super().__init__()
        self.rules, self.parent, self.base = rules, parent, base

    def __missing__(self, kind: type) -> _Step:
        if not issubclass(kind, Message):
            return _FOREIGN
        unknown: list[_Scope] = []
        scope: _Scope | None = self
        while scope is not None and kind not in scope:  # a loop: scopes may be tens of thousands deep
            unknown.append(scope)
            scope = scope.parent
        step = _OUT if scope is None else scope[kind]
        for scope in reversed(unknown):
            rule = next((scope.rules[cls] for cls in kind.__mro__ if cls in scope.rules), None)
            if rule is not None:
                step = _Step(rule, scope.base, cast(_Scope, scope.parent), step)  # the outermost scope has no rules
            scope[kind] = step
        return step


class _Step:
    """One poutine's rule on the way of one type of message, and the step after it.

    ``base`` is that of the poutine's scope, and ``outside`` where its own messages begin.

    ``quiet``: from here outwards nobody acts on the way up, and at most one, ``pending``, on the way down. That is the way
    of most messages (nobody, or one trace), and ``drive`` takes it without a detour.
    """

    __slots__ = ("around", "base", "down", "outer", "outside", "pending", "quiet", "up")

    def __init__(self, rule: Rule, base: int, outside: _Scope, outer: _Step | None) -> None:
        self.up, self.down, self.around = rule.up, rule.down, rule.around
        self.base = base
        self.outside = outside
        self.outer: _Step | None = outer
        self.pending: _Pending = None if outer is None else outer.pending
        self.quiet: bool = self.up is None and self.around is None and (outer is None or outer.quiet)
        if self.down is not None:
            self.quiet = self.quiet and self.pending is None
            self.pending = (self.down, base, self.pending)


_Pending = tuple[Callable[[Any], Message], int, Any] | None  # who acts on the way down (with the base of its scope), outermost first
_OUT: Final = _Step(Rule(), 0, cast(Any, None), None)  # the way of a message that no poutine, or no further one, knows
_FOREIGN: Final = _Step(Rule(up=lambda yielded: yielded), 0, cast(Any, None), None)  # the way of what is no message


class _Frame:
    """One running generator: a program's or, with an ``owner``, that of the ``around`` of the poutine whose scope has this base."""

    __slots__ = ("generator", "owner", "pending", "poisoned", "scope", "send")

    def __init__(self, generator: Coroutine[Any], scope: _Scope, owner: int | None = None) -> None:
        self.generator = generator
        self.send = generator.send
        self.scope = scope  # where its messages begin their way up
        self.owner = owner
        self.pending: _Pending = None  # for the message that it has yielded
        self.poisoned = False  # has it swallowed an error from outside before?


@attrs.frozen
class _Poison:
    """An error from outside, which nobody in the frames from ``base`` on may swallow."""

    error: BaseException
    base: int


class _Run:
    """The stack of frames of one run. The last frame runs; each waits for the one after it."""

    __slots__ = ("error", "frames", "poison", "reply")

    def __init__(self, program: Program[Any]) -> None:
        self.frames = [_Frame(start(program), _Scope({}, None, 0))]
        self.reply: Any = None  # what the last frame is sent next,
        self.error: BaseException | None = None  # or what is thrown into it
        self.poison: _Poison | None = None

    def take_error(self) -> BaseException:
        error, self.error = self.error, None
        return cast(BaseException, error)

    def ascend(self, frame: _Frame, message: Any, step: _Step) -> Message | None:
        """Takes what ``frame`` yielded up the chain; None if something else comes first: a program, a coroutine, an error."""
        if self.poison is not None:
            self._raise_again(frame, self.poison)
            return None
        if step is _FOREIGN:
            self._open(frame, message)
            return None
        kind = type(message)
        pending: _Pending = None
        while step is not _OUT:
            try:
                if step.around is not None:
                    self._push(started(step.around(message), step.around), step.outside, step.base)
                    frame.pending = pending
                    return None
                if step.down is not None:
                    pending = (step.down, step.base, pending)
                if step.up is not None:
                    message = step.up(message)
                    if type(message) is not kind:
                        kind = _kind_of(message, step.up)
                        step = step.outside[kind]
                        continue
            except BaseException as error:
                self.fail(error, step.base)
                return None
            step = step.outer  # type: ignore[assignment]  # only _OUT has none; a cast would be called at every step
        frame.pending = pending
        return message  # type: ignore[no-any-return]  # _kind_of has looked

    def fail(self, error: BaseException, base: int) -> None:
        """An error from the poutine whose scope has this ``base`` (0: from the runtime) is to be thrown into the last frame."""
        if isinstance(error, PoutineError):
            error.__traceback__ = None  # the place to look at is the yield, not this library
        if self.poison is not None:
            base = min(base, self.poison.base)
        self.error, self.poison = error, _Poison(error, base)

    def close(self) -> None:
        """Closes what is still open, innermost first; raises the first error that this raises, after closing all."""
        first: BaseException | None = None
        while self.frames:
            try:
                self.frames.pop().generator.close()
            except BaseException as error:
                first = first or error
        if first is not None:
            raise first

    def _open(self, frame: _Frame, yielded: Any) -> None:
        """Runs a program that ``frame`` yielded, in its place."""
        try:
            if isinstance(yielded, Program):
                self._push(start(yielded), frame.scope)
            elif isinstance(yielded, Handling):
                scope = _Scope(yielded.rules, frame.scope, len(self.frames)) if yielded.rules else frame.scope
                self._push(start(yielded.program), scope)
            else:
                self.fail(_not_a_message(frame.generator, yielded), _OUT.base)
        except BaseException as error:
            self.error = error

    def _push(self, generator: Coroutine[Any], scope: _Scope, owner: int | None = None) -> None:
        self.frames.append(_Frame(generator, scope, owner))
        self.reply = None

    def returned(self, frame: _Frame, value: Any) -> bool:
        """``frame`` has ended with ``value``; True if that is a coroutine's site, for the frame before it."""
        self.frames.pop()
        if self.poison is not None and len(self.frames) <= self.poison.base:
            self._leave(frame, self.poison.error)  # it was swallowed to the last: the run fails all the same
            return False
        self.reply = value
        return frame.owner is not None

    def raised(self, frame: _Frame, error: BaseException) -> None:
        self.frames.pop()
        self._leave(frame, error)

    def _leave(self, frame: _Frame, error: BaseException) -> None:
        """``error`` goes from ``frame``, which has ended, to the frame before it."""
        if self.poison is not None and len(self.frames) <= self.poison.base:
            self.poison = None
        if not self.frames:
            raise error
        if frame.owner is not None:
            self.fail(error, frame.owner)
        else:
            self.error = error

    def _raise_again(self, frame: _Frame, poison: _Poison) -> None:
        """``frame`` has yielded although an error from outside is still on its way."""
        if not frame.poisoned:
            frame.poisoned = True
            self.error = poison.error
            return
        self.frames.pop()
        try:
            frame.generator.close()
        except Exception as error:  # the error that was swallowed is the one to tell of
            poison.error.add_note(f"{frame.generator!r} could not be closed after it had swallowed this: {error!r}")
        self._leave(frame, poison.error)


def _kind_of(message: Any, up: Any) -> type[Message]:
    if not isinstance(message, Message):
        raise BadReply(f"expected a message from {name_of(up)} on the way up, got {message!r}; return the request, rewritten or as it came")
    return type(message)


def _bad_reply(site: Any) -> BadReply:
    return BadReply(f"expected a message that carries a value as the answer, got {site!r}")


def _not_a_message(generator: Coroutine[Any], yielded: Any) -> NotAMessage:
    while isinstance(inner := getattr(generator, "gi_yieldfrom", None), Generator):
        generator = inner
    code, frame = getattr(generator, "gi_code", None), getattr(generator, "gi_frame", None)
    where = f"{code.co_qualname}, line {frame.f_lineno} of {code.co_filename}," if code is not None and frame is not None else "a program"
    return NotAMessage(f"{where} yielded {yielded!r}, which is no message and no program{hint_for(yielded)}")
