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

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from functools import partial
from itertools import repeat
from typing import Any, Generic, TypeVar, cast

import attrs

from poutine.errors import BadReply, NotAMessage, PoutineError
from poutine.messages import UNDECIDED, Message
from poutine.program import Coroutine, Handling, Program, hint_for, name_of, start, started
from poutine.routes import FOREIGN, OUT, Pending, Scope, Step

T = TypeVar("T")


def drive(program: Program[T]) -> Generator[Message, Message, T]:
    """Runs ``program`` and yields the messages that leave its chain of poutines; to be sent the finished sites.

    This is the engine under every runtime. Closing it closes all that it started.
    """
    return _driving(_Run(), program)


def _driving(run: _Run, program: Program[T] | None) -> Generator[Message, Message, T]:
    """Drives ``program`` or, without one, the frame that ``run`` has already."""
    frames = run.frames
    if program is not None:
        frames.append(_Frame(start(program), Scope({}, None, 0)))
    try:
        while frames:
            # Resume the last frame.
            frame = frames[-1]
            try:
                yielded = frame.send(run.reply) if run.error is None else frame.generator.throw(run.take_error())
            except StopIteration as stop:
                if not run.returned(frame, stop.value):
                    continue
                frame, step, site = frames[-1], OUT, stop.value
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
                    run.fail(error, OUT.base)
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


@attrs.frozen
class Place:
    """Where a generator waits: a line of a file, in a function."""

    file: str
    line: int
    function: str


class Running(Generic[T]):
    """A run that is answered by hand, for runtimes that stop between a message and its answer.

    It waits at ``message`` for ``reply(site)`` or ``fail(error)``; when there is none, it has returned ``value``. What the program
    raises, these two and ``begin`` raise. Leaving it (``with``) closes all that it started, wherever it waits.
    """

    def __init__(self, program: Program[T]) -> None:
        self.message: Message | None = None
        self.value: T | None = None
        self._run = _Run()
        self._engine = _driving(self._run, program)

    def begin(self) -> None:
        """Goes to the first message."""
        self._go(self._engine.__next__)

    def reply(self, site: Message) -> None:
        """Sends the finished site of ``message``, and goes to the next one."""
        self._go(self._engine.send, site)

    def fail(self, error: BaseException) -> None:
        """Throws an error from outside into the program, at the yield where it waits."""
        self._go(self._engine.throw, error)

    def _go(self, way: Callable[..., Message], *what: Any) -> None:
        self.message = None
        try:
            self.message = way(*what)
        except StopIteration as stop:
            self.value = stop.value

    def places(self, most: int = 50) -> tuple[Place, ...]:
        """Where its generators wait, outermost first: of a program that is deeper than that, the innermost ``most``."""
        found: list[Place] = []
        for frame in reversed(self._run.frames):
            if len(found) >= most:
                break
            found += map(_place, reversed([*_nested(frame.generator)]))
        return tuple(found[:most])[::-1]

    def close(self) -> None:
        self._engine.close()

    def __enter__(self) -> Running[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Fleet(Generic[T]):
    """Many runs of one program, answered by hand: what ``Running`` is to one run.

    ``take()`` tells who waits at which message; ``reply`` sends the values. A run that has returned leaves its value in ``values``.
    What a run raises, ``begin``, ``reply`` and ``fail`` raise, with a note that tells which run it was. Leaving the fleet (``with``)
    closes all that it started.

    As long as a run yields nothing but messages, and so has no poutine, it has no engine either: its generator is sent the values
    here. That takes a third of the time.
    """

    def __init__(self, program: Program[T], number: int) -> None:
        self.values: list[T | None] = [None] * number
        self._program = program
        self._generators: list[Coroutine[Any] | None] = [None] * number
        self._engines: dict[int, Generator[Message, Message, T]] = {}
        self._arrived: list[tuple[int, Message]] = []

    def take(self) -> list[tuple[int, Message]]:
        """Those who have arrived at a message since the last call: the number of the run, and the message."""
        arrived, self._arrived = self._arrived, []
        return arrived

    def begin(self) -> None:
        """Starts every run, and goes to the first message of each."""
        number = len(self.values)
        for i in range(number):
            try:
                self._generators[i] = start(self._program)
            except BaseException as error:
                raise self._noted(error, i)
        self.reply(range(number), repeat(None, number), lambda _: None)

    def reply(self, runs: Iterable[int], values: Iterable[Any], site: Callable[[int], Any]) -> None:
        """Sends each of ``runs`` its value; ``site(j)`` makes the finished site of the j-th, for those with poutines."""
        generators, engines, arrive = self._generators, self._engines, self._arrived.append
        for j, (i, value) in enumerate(zip(runs, values, strict=True)):
            if engines and i in engines:
                self._go(i, engines[i].send, site(j))
                continue
            try:
                yielded = generators[i].send(value)  # type: ignore[union-attr]  # it has been started
            except StopIteration as stop:
                self._returned(i, stop.value)
            except BaseException as error:
                raise self._noted(error, i)
            else:
                if isinstance(yielded, Message):
                    arrive((i, yielded))
                else:
                    self._engage(i, yielded)

    def fail(self, i: int, waiting: Message, error: BaseException) -> None:
        """Throws an error from outside into run ``i``, at the yield of the message where it waits."""
        if i not in self._engines:
            self._engage(i, waiting)
            self._arrived.pop()
        self._go(i, self._engines[i].throw, error)

    def _engage(self, i: int, yielded: Any) -> None:
        """From here on an engine drives run ``i``, whose generator has just yielded this."""
        run = _Run()
        frame = _Frame(cast(Coroutine[Any], self._generators[i]), Scope({}, None, 0))
        frame.send = partial(_once_more, frame, yielded)
        run.frames.append(frame)
        self._engines[i] = _driving(run, None)
        self._go(i, self._engines[i].__next__)

    def _go(self, i: int, way: Callable[..., Message], *what: Any) -> None:
        try:
            self._arrived.append((i, way(*what)))
        except StopIteration as stop:
            del self._engines[i]
            self._returned(i, stop.value)
        except BaseException as error:
            raise self._noted(error, i)

    def _returned(self, i: int, value: T) -> None:
        self.values[i] = value
        self._generators[i] = None

    def _noted(self, error: BaseException, i: int) -> BaseException:
        error.add_note(f"in run {i} of {len(self.values)}")
        return error

    def close(self) -> None:
        """Closes what is still open; raises the first error that this raises, after closing all."""
        first: BaseException | None = None
        for generator in (*self._engines.values(), *filter(None, self._generators)):
            try:
                generator.close()
            except BaseException as error:
                first = first or error
        if first is not None:
            raise first

    def __enter__(self) -> Fleet[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _once_more(frame: _Frame, yielded: Any, _: None) -> Any:
    """Stands in for the first ``send`` of a frame whose generator has yielded before there was an engine."""
    frame.send = frame.generator.send
    return yielded


class _Frame:
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
class _Poison:
    """An error from outside, which nobody in the frames from ``base`` on may swallow."""

    error: BaseException
    base: int


class _Run:
    """The stack of frames of one run. The last frame runs; each waits for the one after it."""

    __slots__ = ("error", "frames", "poison", "reply")

    def __init__(self) -> None:
        self.frames: list[_Frame] = []
        self.reply: Any = None  # what the last frame is sent next,
        self.error: BaseException | None = None  # or what is thrown into it
        self.poison: _Poison | None = None

    def take_error(self) -> BaseException:
        error, self.error = self.error, None
        return cast(BaseException, error)

    def ascend(self, frame: _Frame, message: Any, step: Step) -> Message | None:
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
            step = step.outer  # type: ignore[assignment]  # only OUT has none; a cast would be called at every step
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
                scope = Scope(yielded.rules, frame.scope, len(self.frames)) if yielded.rules else frame.scope
                self._push(start(yielded.program), scope)
            else:
                self.fail(_not_a_message(frame.generator, yielded), OUT.base)
        except BaseException as error:
            self.error = error

    def _push(self, generator: Coroutine[Any], scope: Scope, owner: int | None = None) -> None:
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
    *_, generator = _nested(generator)
    place = _place(generator)
    where = f"{place.function}, line {place.line} of {place.file}," if place.line else "a program"
    return NotAMessage(f"{where} yielded {yielded!r}, which is no message and no program{hint_for(yielded)}")


def _place(generator: Coroutine[Any]) -> Place:
    code, frame = getattr(generator, "gi_code", None), getattr(generator, "gi_frame", None)
    if code is None or frame is None:  # a generator that is not Python's own
        return Place(type(generator).__module__, 0, type(generator).__qualname__)
    return Place(code.co_filename, frame.f_lineno, code.co_qualname)


def _nested(generator: Coroutine[Any]) -> Iterator[Coroutine[Any]]:
    """``generator``, and those that it has delegated to with ``yield from``."""
    while True:
        yield generator
        inner = getattr(generator, "gi_yieldfrom", None)
        if not isinstance(inner, Generator):
            return
        generator = inner
