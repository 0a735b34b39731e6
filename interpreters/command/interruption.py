"""Ctrl-C, and a scheduler's SIGTERM, that ask before they break off what has something to keep."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import attrs

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_HEARD: Final = (
    b"\npoutine: stopping as soon as what there is can be kept (when compilers are done, or at the next draw); again, to break off\n"
)


@attrs.define(eq=False)
class Interruption:
    """Whether there was a signal: ``interrupted()``. It is noted even where somebody swallows the ``KeyboardInterrupt`` that it raises.

    Python raises it wherever the program is: in a callback of C, as numba's compiler has them, it is printed and forgotten.
    """

    _noted: bool = False
    _is_deferred: bool = False

    def __call__(self) -> bool:
        return self._noted

    def note(self, number: int, frame: object) -> None:
        """The handler of signals."""
        is_first, self._noted = not self._noted, True
        if not (is_first and self._is_deferred):
            raise KeyboardInterrupt
        with suppress(OSError):  # not by print, which may be what is interrupted
            os.write(2, _HEARD)

    def look(self) -> None:
        """Raises ``KeyboardInterrupt`` if there was a signal."""
        if self._noted:
            raise KeyboardInterrupt

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """While entered, the first signal is only noted, which is said at once. The second breaks off."""
        self.look()
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False


@contextmanager
def saying(what: str) -> Iterator[None]:
    """While entered, a ``KeyboardInterrupt`` says ``what`` is left; one that says something already says that."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(*(interrupt.args or (what,))) from None


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """While entered, a Ctrl-C or SIGTERM raises ``KeyboardInterrupt``, and is noted.

    In another thread than the main one, which gets no signals, nothing is changed.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.signal(number, interruption.note) for number in _SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
