"""Programs that note what happens to them: what they are sent, what is thrown into them, and whether they are closed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import Any

import attrs
import torch

from poutine.errors import NonlocalExit
from poutine.messages import Deterministic, Message
from poutine.poutine import Poutine
from poutine.program import Coroutine, Rule, Rules


class Boom(Exception):
    """An error that nobody can know."""


class Quit(BaseException):
    """One that is no ``Exception``, as ``GeneratorExit`` and ``asyncio.CancelledError`` are."""


class Several(ZeroDivisionError, OverflowError, FloatingPointError, IndexError, KeyError, AssertionError, TypeError, NotImplementedError):
    """An error of several kinds at once: who waits for one of them catches it."""


class OfTorch(torch.linalg.LinAlgError, ValueError):  # type: ignore[name-defined, misc]  # torch does not declare it
    """The same of those that torch raises where parameters are bad: a ``RuntimeError``, too."""


class OfTheSystem(TimeoutError, ConnectionError, FileNotFoundError, InterruptedError, PermissionError):
    """The same of those of the system, for which one might try again."""


def kinds_of_errors() -> tuple[BaseException, ...]:
    """One of each kind that handlers might take for their own: unknown, common, of this library, and what ends a run or Python."""
    left = NonlocalExit(Deterministic("elsewhere", 0.0))
    return (Boom(), ValueError("boom"), KeyError("boom"), RuntimeError("boom"), left, Quit(), KeyboardInterrupt(), SystemExit(1))


class Watched:
    """``fn`` as a generator function whose generators are held on to and watched.

    Held on to, since reference counting would close a forgotten generator at once, and so hide that nobody else does.

    swallow:  an error from outside that is caught, and the program goes on.
    """

    def __init__(self, fn: Callable[..., Any], swallow: BaseException | None = None) -> None:
        self.fn, self.swallow = fn, swallow
        self.generators: list[Generator[Any, Any, Any]] = []
        self.started = self.ended = 0
        self.thrown: list[BaseException] = []
        self.unnoticed = False  # has the run gone on after a swallowed error?

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any]:
        generator = self._body(*args, **kwargs)
        self.generators.append(generator)
        return generator

    @property
    def still_open(self) -> bool:
        """Whether one of its generators has neither ended nor been closed."""
        return any(inspect.isgenerator(generator) and generator.gi_frame is not None for generator in self.generators)

    @property
    def running(self) -> bool:
        return self.started > self.ended

    def _body(self, *args: Any, **kwargs: Any) -> Coroutine[Any]:
        self.started += 1
        try:
            return (yield from self._caught(*args, **kwargs))
        finally:
            self.ended += 1

    def _caught(self, *args: Any, **kwargs: Any) -> Coroutine[Any]:
        try:
            return (yield from _Noting(self.fn, self.thrown)(*args, **kwargs))
        except BaseException as boom:
            if boom is not self.swallow:
                raise
        try:
            yield Deterministic("after", 0.0)
        except BaseException as boom:
            if not isinstance(boom, GeneratorExit):
                self.thrown.append(boom)
            raise
        self.unnoticed = True  # pragma: no cover  # the driver raises it again; a law says so if it does not
        return None  # pragma: no cover


@attrs.frozen(slots=False, eq=False, repr=False)
class _Noting(Poutine):
    """Notes what is thrown into its program at its yields: on its way out, it may yield again, and be closed there."""

    thrown: list[BaseException]

    def rules(self) -> Rules:
        def around(message: Message) -> Coroutine[Any]:
            try:
                return (yield message)
            except GeneratorExit:
                raise
            except BaseException as boom:
                self.thrown.append(boom)
                raise

        return {Message: Rule(around=around)}
