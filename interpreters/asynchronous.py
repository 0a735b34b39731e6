"""asyncio: sites whose value comes from an awaitable: a simulator, a service, a person.

::

    async def simulate(site):                                  # the message; what it returns is the value
        return await service.run(*site.args)

    asyncio.run(run_async(model, answers={"x": simulate}))     # by a site's name, or by a type of message
    asyncio.run(run_all([Program(model, d) for d in data], limit=100))

1. A program says so itself by yielding ``Await("x", fn, *args)``; a poutine by turning a message into one; whoever runs it by ``answers``.
2. While a site is awaited, others go on: ``run_all`` has ``limit`` programs in flight at once, and gives their values in order.
3. Everything else is answered as ``run`` answers it. Draws are keyed by (seed, name, visit), so who finishes first changes nothing.
4. A cancellation, like any error of an awaitable, is thrown into its program at the yield; every generator is closed.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, count, islice
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, TypeVar, overload

import attrs

from interpreters.errors import WrongAnswer
from interpreters.replies import fitted_to, unsealed, valued
from poutine import (
    UNDECIDED,
    AlreadyObserved,
    Choice,
    Deterministic,
    EnterMarkov,
    EnterPlate,
    Message,
    Observe,
    ParamStore,
    Program,
    Running,
    Runtime,
    Site,
    UnusedNames,
    as_program,
)
from poutine.options import as_seed
from poutine.program import name_of

T = TypeVar("T")
Answers = Mapping[str | type[Message], Callable[[Any], Awaitable[Any]]]
_NONE: Final[Answers] = MappingProxyType({})
_TURN: Final = 50  # messages, which are answered in a few milliseconds


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Await(Site):
    """``x = yield Await("x", fn, *args)``: the value is what ``await fn(*args, **kwargs)`` gives; it is in the trace, and has no density.

    ``run`` does not answer it: the program needs ``run_async``, or a poutine that decides the value.
    Like every error from outside, one of the awaitable ends the run, though the program catches it: to go on, ``fn`` catches it, and returns
    another value. The instances of one ``lockstep`` batch are awaited one after another; ``run_all`` awaits many programs at once.
    """

    type: ClassVar[str] = "await"
    way_out: ClassVar[str] = "run the program with run_async of interpreters.asynchronous, or decide the value in a poutine around it"
    fn: Callable[..., Awaitable[Any]] = attrs.field(init=False)
    args: tuple[Any, ...] = attrs.field(init=False)
    kwargs: Mapping[str, Any] = attrs.field(init=False)

    def __init__(self, name: str, fn: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> None:
        self.__dict__.update(name=name, fn=fn, args=args, kwargs=kwargs)


async def run_async(
    program: Program[T] | Callable[..., Any],
    seed: int = 0,
    params: ParamStore | None = None,
    answers: Answers = _NONE,
    strict: bool = True,
) -> T:
    """Runs ``program`` and returns its value; the event loop goes on while it awaits.

    answers:  from a site's name, or a type of message, to an async function of the message that returns its value. A name goes before a
              type. What is decided already, an observation say, is not asked for where a type means it. A sample comes with its ``key``, of which ``Keyed``
              makes generators; it must be used between two awaits, since what is entered in a thread is entered for all of its tasks.
    strict:   whether each name in ``answers`` must be that of a site that the program reaches, and that nothing has decided.

    The answer to a site of a distribution of torch's has the shape and the type of a draw, that to a ``Param`` those of its initial
    value; numbers and lists become tensors. Every now and then it lets others go on, and a cancellation in, though nothing is awaited.

    **Law**: without awaitables it gives what ``run`` gives. A visit that is awaited is counted as a draw is: it moves no other draw.
    Raises ``AlreadyObserved`` where a name in ``answers`` is that of a decided site, ``WrongAnswer`` where an answer is no awaitable or gives no such value, ``UnusedNames`` at the end, and what the program and the
    awaitables raise.
    """
    runtime = _Asking(seed, params, answers, strict)
    turns = count(1)
    with Running(as_program(program)) as running:
        running.begin()
        while (message := running.message) is not None:
            try:
                if next(turns) % _TURN == 0:
                    await asyncio.sleep(0)
                site = await runtime.answer(message)
            except BaseException as error:  # noqa: B036  # a cancellation, too: it goes on from the program's yield
                running.fail(error)
            else:
                running.reply(site)
        runtime.check_used()
        return running.value  # type: ignore[return-value]  # it has returned


@overload
async def run_all(
    programs: Iterable[Program[T] | Callable[..., Any]],
    seed: int = ...,
    params: ParamStore | None = ...,
    answers: Answers = ...,
    limit: int = ...,
    strict: bool = ...,
    *,
    return_exceptions: Literal[False] = ...,
) -> list[T]: ...


@overload
async def run_all(
    programs: Iterable[Program[T] | Callable[..., Any]],
    seed: int = ...,
    params: ParamStore | None = ...,
    answers: Answers = ...,
    limit: int = ...,
    strict: bool = ...,
    *,
    return_exceptions: bool,
) -> list[T | BaseException]: ...


async def run_all(
    programs: Iterable[Program[T] | Callable[..., Any]],
    seed: int = 0,
    params: ParamStore | None = None,
    answers: Answers = _NONE,
    limit: int = 100,
    strict: bool = True,
    *,
    return_exceptions: bool = False,
) -> list[T] | list[T | BaseException]:
    """The values of ``programs``, in their order; at most ``limit`` of them have begun and not ended at any time.

    They are taken from the iterable one by one, as there is room, so it may be long and lazy.

    return_exceptions:  whether the error of a program, or the cancellation of what it awaits, is in the place of its value, as
                        ``asyncio.gather`` has it; the others go on.

    **Law**: the value at i is ``run_async(programs[i], seed + i)``.
    Otherwise the first of these cancels the others, and is raised when all are closed. Either has a note of its program's number.
    """
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ValueError(f"expected a whole number, at least 1, as the limit of programs in flight, got {limit!r}")
    first = as_seed(seed)
    values: dict[int, T | BaseException] = {}
    waiting = enumerate(programs)

    async def work(number: int, program: Program[T] | Callable[..., Any]) -> None:
        for at, each in chain([(number, program)], waiting):
            try:
                with _numbered(at):
                    value: T = await run_async(each, first + at, params, answers, strict)
                    values[at] = value
            except Exception as error:
                if not return_exceptions or _is_cancelled():
                    raise
                values[at] = _told(error)
            await asyncio.sleep(0)  # a program that awaits nothing gives nobody else a turn

    try:
        async with asyncio.TaskGroup() as group:
            for number, program in islice(waiting, limit):
                group.create_task(work(number, program))
    except BaseExceptionGroup as errors:
        raise _told(errors.exceptions[0]) from None
    return [values[at] for at in sorted(values)]


class _Asking:
    """Answers one run: what ``answers`` names or a program awaits by awaiting it, the rest as the default runtime does."""

    def __init__(self, seed: int, params: ParamStore | None, answers: Answers, strict: bool) -> None:
        _check_answers(answers)
        self._seed, self._answers, self._strict = as_seed(seed), answers, strict
        self._runtime = Runtime(seed, params)
        for kind in (Await, *answers):
            if isinstance(kind, type):
                self._runtime.setdefault(kind, _as_it_is)  # once it has a value
        self._visits: defaultdict[str, int] = defaultdict(int)
        self._reached: dict[str, None] = {}

    async def answer(self, message: Message) -> Message:
        asked = unsealed(message)
        if isinstance(asked, Choice):
            self._visits[asked.name] += 1
        is_again = asked.name in self._reached and isinstance(asked, Deterministic)  # what was a param, which is no site any more
        if self._answers and not isinstance(asked, EnterPlate | EnterMarkov):
            self._reached[asked.name] = None
        fn = self._wanted(asked)
        if fn is not None and asked.value is UNDECIDED:
            message = valued(message, await _value(self._keyed(asked), fn))
        elif self._strict and asked.name in self._answers and not (is_again or isinstance(asked, EnterPlate | EnterMarkov)):
            raise AlreadyObserved(
                asked.name,
                f"its answer is not asked for: the program, or a handler around it, has decided that the value is {asked.value!r}; leave it out "
                "of answers, uncondition it, or allow it with strict=False",
            )
        return self._runtime[type(message)](message)

    def check_used(self) -> None:
        """If it is strict, raises ``UnusedNames`` at names of answers that the program has not reached."""
        unused = [name for name in self._answers if isinstance(name, str) and name not in self._reached]
        if unused and self._strict:
            raise UnusedNames("answers", unused, self._reached)

    def _keyed(self, message: Message) -> Message:
        if not isinstance(message, Choice) or message.key is not None:
            return message
        return message.evolve(key=(self._seed, message.name, self._visits[message.name]))

    def _wanted(self, message: Message) -> Callable[[Any], Awaitable[Any]] | None:
        kinds: tuple[str | type, ...] = (message.name, *type(message).__mro__)
        if isinstance(message, EnterPlate | EnterMarkov):  # bears the name of the plate's subsample; only a runtime can answer it
            kinds = (type(message),)
        for key in kinds:
            if key in self._answers:
                return self._answers[key]
        return _own if isinstance(message, Await) else None


def _check_answers(answers: Answers) -> None:
    for key, fn in answers.items():
        if not callable(fn):
            raise TypeError(
                f"answers: expected for {key!r} an async function of the message, got {fn!r}; a value is given by substitute or condition"
            )
        if isinstance(key, type) and issubclass(key, Observe | Deterministic):
            raise TypeError(
                f"answers: {key.__name__} sites carry their values, and are never asked for; uncondition makes samples of observations"
            )


async def _value(site: Message, fn: Callable[[Any], Awaitable[Any]]) -> Any:
    awaitable = fn(site)
    if not inspect.isawaitable(awaitable):
        raise WrongAnswer(site.name, f"{_name(site, fn)} returned {awaitable!r}, which cannot be awaited: write it with `async def`")
    value = await awaitable
    if value is UNDECIDED or isinstance(value, Message) or inspect.isawaitable(value):
        raise WrongAnswer(site.name, f"expected a value from {_name(site, fn)}, got {value!r}")
    return fitted_to(site, value)


def _name(site: Message, fn: Callable[[Any], Any]) -> str:
    return name_of(site.fn if fn is _own and isinstance(site, Await) else fn)


def _own(site: Await) -> Awaitable[Any]:
    return site.fn(*site.args, **site.kwargs)


def _as_it_is(site: Message) -> Message:
    return site


class _CancelledWithin(Exception):
    """In place of a cancellation that came from what a program awaits: a group of tasks takes no notice of that."""

    def __init__(self, cancellation: asyncio.CancelledError) -> None:
        super().__init__(cancellation)
        self.cancellation = cancellation


def _is_cancelled() -> bool:
    """Whether it is this task that is cancelled, not something that it awaits."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _told(error: BaseException) -> BaseException:
    return error.cancellation if isinstance(error, _CancelledWithin) else error


@contextmanager
def _numbered(at: int) -> Iterator[None]:
    """Notes on an error which of many programs it comes from."""
    try:
        yield
    except asyncio.CancelledError as error:
        if _is_cancelled():
            raise
        error.add_note(f"in program {at} of run_all")
        raise _CancelledWithin(error) from None
    except Exception as error:
        error.add_note(f"in program {at} of run_all")
        raise
