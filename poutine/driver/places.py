"""Where a generator waits."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

import attrs

from poutine.program import Coroutine


@attrs.frozen
class Place:
    """Where a generator waits: a line of a file, in a function."""

    file: str
    line: int
    function: str


def place_of(generator: Coroutine[Any]) -> Place:
    code, frame = getattr(generator, "gi_code", None), getattr(generator, "gi_frame", None)
    if code is None or frame is None:  # a generator that is not Python's own
        return Place(type(generator).__module__, 0, type(generator).__qualname__)
    return Place(code.co_filename, frame.f_lineno, code.co_qualname)


def nested(generator: Coroutine[Any]) -> Iterator[Coroutine[Any]]:
    """``generator``, and those that it has delegated to with ``yield from``."""
    while True:
        yield generator
        inner = getattr(generator, "gi_yieldfrom", None)
        if inner is None or not isinstance(inner, Generator):
            return
        generator = inner


def lines(generators: Iterable[Coroutine[Any]]) -> tuple[int, ...]:
    """How far a run has come: the lines at which its generators wait, outermost first. The outermost few tell enough."""
    return tuple(map(_line, islice(chain.from_iterable(map(nested, generators)), _ENOUGH)))


def _line(generator: Coroutine[Any]) -> int:
    frame = getattr(generator, "gi_frame", None)
    return 0 if frame is None else frame.f_lineno


_ENOUGH: Final = 32  # a recursion may be tens of thousands deep
