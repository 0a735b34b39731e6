"""Fleet: many runs of one program, answered by hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from functools import partial
from itertools import repeat
from typing import Any, Generic, TypeVar, cast

from poutine.driver.engine import driving
from poutine.driver.routes import Scope
from poutine.driver.stack import Frame, Run
from poutine.messages import Message
from poutine.program import Coroutine, Program, start

T = TypeVar("T")

Arrived = dict[str, tuple[list[int], list[Message]]]  # by the name of the message: the numbers of the runs, and their messages


class Fleet(Generic[T]):
    """Many runs of one program, answered by hand: what ``Running`` is to one run.

    ``take()`` tells who waits at which message, by its name; ``reply`` sends the values. A run that has returned leaves its value in ``values``.
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
        self._arrived: Arrived = defaultdict(_nobody)

    def take(self) -> Arrived:
        """Those who have arrived at a message since the last call, by its name, in the order of arrival."""
        arrived, self._arrived = self._arrived, defaultdict(_nobody)
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
        generators, engines, arrived = self._generators, self._engines, self._arrived
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
                    there, messages = arrived[yielded.name]
                    there.append(i)
                    messages.append(yielded)
                else:
                    self._engage(i, yielded)

    def fail(self, i: int, waiting: Message, error: BaseException) -> None:
        """Throws an error from outside into run ``i``, at the yield of the message where it waits."""
        if i not in self._engines:
            self._engage(i, waiting)
            for arrived in self._arrived[waiting.name]:
                arrived.pop()
        self._go(i, self._engines[i].throw, error)

    def _engage(self, i: int, yielded: Any) -> None:
        """From here on an engine drives run ``i``, whose generator has just yielded this."""
        run = Run()
        frame = Frame(cast(Coroutine[Any], self._generators[i]), Scope({}, None, 0))
        frame.send = partial(_once_more, frame, yielded)
        run.frames.append(frame)
        self._engines[i] = driving(run, None)
        self._go(i, self._engines[i].__next__)

    def _go(self, i: int, way: Callable[..., Message], *what: Any) -> None:
        try:
            message = way(*what)
        except StopIteration as stop:
            del self._engines[i]
            self._returned(i, stop.value)
        except BaseException as error:
            raise self._noted(error, i)
        else:
            there, messages = self._arrived[message.name]
            there.append(i)
            messages.append(message)

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


def _nobody() -> tuple[list[int], list[Message]]:
    return [], []


def _once_more(frame: Frame, yielded: Any, _: None) -> Any:
    """Stands in for the first ``send`` of a frame whose generator has yielded before there was an engine."""
    frame.send = frame.generator.send
    return yielded
