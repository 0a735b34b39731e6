"""Fleet: many runs of one program, answered by hand."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from functools import partial
from heapq import heappop, heappush
from itertools import count, repeat
from typing import Any, Generic, TypeVar, cast

from poutine.driver.arrivals import Alike, Apart, Arrivals, Key
from poutine.driver.closing import close_all
from poutine.driver.engine import driving
from poutine.driver.places import lines
from poutine.driver.replies import check_value
from poutine.driver.routes import Scope
from poutine.driver.slips import explained
from poutine.driver.stack import Frame, Run
from poutine.errors import NotAProgram
from poutine.messages import Message, Observe
from poutine.program import Coroutine, Program, starts

T = TypeVar("T")


class Fleet(Generic[T]):
    """Many runs of one program, answered by hand: what ``Running`` is to one run.

    ``take()`` tells who waits at a message; ``reply`` sends the values. A run that has returned leaves its value in ``values``.
    What a run raises, ``begin``, ``reply`` and ``fail`` raise, with a note that tells which run it was. Leaving the fleet (``with``)
    closes all that it started.

    As long as a run yields nothing but messages, and so has no poutine, it has no engine either: its generator is sent the values
    here. That takes a third of the time.
    """

    def __init__(self, program: Program[T], number: int) -> None:
        self.values: list[T | None] = [None] * number
        self._program = program
        self._generators: list[Coroutine[Any] | None] = []
        self._engines: dict[int, Generator[Message, Message, T]] = {}
        self._runs: dict[int, Run] = {}  # what each engine drives
        self._arrivals = Arrivals()
        self._agenda: list[
            tuple[tuple[int, ...], int, Key]
        ] = []  # a heap of the arrivals' keys, by the place of the first, then as they came
        self._number = count()

    def take(self) -> Apart | Alike | None:
        """Those who wait at the message that is furthest back in the program; None if nobody waits.

        So a loop runs until its last run has left it before anybody goes on behind it, and all go on together. (Of runs with
        diverging control flow on one instruction stream, graphics processors let the one with the least program counter go first:
        Collange, "Stack-less SIMT reconvergence at low cost", 2011.)
        """
        return self._arrivals.take(heappop(self._agenda)[2]) if self._agenda else None

    def begin(self) -> None:
        """Starts every run, and goes to the first message of each."""
        number = len(self.values)
        try:
            self._generators.extend(starts(self._program, number))
        except BaseException as error:
            raise self._noted(error, len(self._generators))
        self._send(range(number), repeat(None, number))

    def reply(self, runs: Iterable[int], values: Iterable[Any], site: Callable[[int], Any]) -> None:
        """Sends each of ``runs`` its value; ``site(j)`` makes the finished site of the j-th, for those with poutines."""
        if not self._engines:
            self._send(runs, values)
            return
        for j, (i, value) in enumerate(zip(runs, values, strict=True)):
            if i in self._engines:
                self._go(i, self._engines[i].send, site(j))
            else:
                self._send((i,), (value,))

    def _send(self, runs: Iterable[int], values: Iterable[Any]) -> None:
        """Sends runs without an engine their values. A visit to a site costs what this loop does."""
        generators, known = self._generators, self._arrivals.known
        last = None  # where the one before has arrived: most come to the same site
        for i, value in zip(runs, values, strict=True):
            try:
                yielded = generators[i].send(value)  # type: ignore[union-attr]  # it has been started
            except StopIteration as stop:
                if isinstance(stop.value, Message):
                    self._returned(i, cast("T", stop.value))
                else:
                    self.values[i], generators[i] = stop.value, None
                continue
            except BaseException as error:
                raise self._noted(explained(error), i)
            try:  # ``arrivals.add``, for most
                fields = yielded.__dict__
                if fields["name"] != last:
                    last = fields["name"]
                    kind, fn, size, width, at, numbers, observed = known[last]
                args = fields["args"]
                if kind is type(yielded) and fn is fields["fn"] and size == len(fields) and width == len(args):
                    numbers += args
                    at.append(i)
                    if kind is Observe:
                        observed.append(fields["value"])
                    continue
            except (KeyError, AttributeError):  # the first at its site, or another kind of message, or none
                pass
            last = None
            self._arrive(i, yielded)

    def fail(self, i: int, waiting: Message, error: BaseException) -> None:
        """Throws an error from outside into run ``i``, at the yield of the message where it waits."""
        if i not in self._engines:
            next(self._engage(i, waiting))  # it waits there again
        self._go(i, self._engines[i].throw, error)

    def _arrive(self, i: int, yielded: Any) -> None:
        if isinstance(yielded, Message):
            self._wait(i, yielded)
        else:
            self._go(i, self._engage(i, yielded).__next__)

    def _engage(self, i: int, yielded: Any) -> Generator[Message, Message, T]:
        """The engine that from here on drives run ``i``, whose generator has just yielded this."""
        run = Run()
        frame = Frame(cast("Coroutine[Any]", self._generators[i]), Scope({}, None, 0))
        frame.send = partial(_once_more, frame, yielded)
        run.frames.append(frame)
        self._runs[i], self._engines[i] = run, driving(run, None)
        return self._engines[i]

    def _go(self, i: int, way: Callable[..., Message], *what: Any) -> None:
        try:
            message = way(*what)
        except StopIteration as stop:
            del self._engines[i], self._runs[i]
            self._returned(i, stop.value)
        except BaseException as error:
            raise self._noted(error, i)
        else:
            self._wait(i, message)

    def _wait(self, i: int, message: Message) -> None:
        new = self._arrivals.add(i, message)
        if new is not None:
            waiting = (
                [frame.generator for frame in self._runs[i].frames] if i in self._runs else [cast("Coroutine[Any]", self._generators[i])]
            )
            heappush(self._agenda, (lines(waiting), next(self._number), new))

    def _returned(self, i: int, value: T) -> None:
        try:
            check_value(value, self._generators[i])
        except NotAProgram as error:
            raise self._noted(error, i)
        self.values[i] = value
        self._generators[i] = None

    def _noted(self, error: BaseException, i: int) -> BaseException:
        error.add_note(f"in run {i} of {len(self.values)}")
        return error

    def close(self) -> None:
        """Closes what is still open; raises the first error that this raises, after closing all."""
        close_all((*self._engines.values(), *filter(None, self._generators)))

    def __enter__(self) -> Fleet[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _once_more(frame: Frame, yielded: Any, _: None) -> Any:
    """Stands in for the first ``send`` of a frame whose generator has yielded before there was an engine."""
    frame.send = frame.generator.send
    return yielded
