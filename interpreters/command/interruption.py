"""Ctrl-C, and a scheduler's SIGTERM, that ask before they break off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """While entered, the first Ctrl-C or SIGTERM is only noted: the value, when called, tells whether there was one. The second breaks off.

    In another thread than the main one, which gets no signals, nothing is changed.
    """
    noted = threading.Event()

    def note(number: int, frame: object) -> None:
        if noted.is_set():
            raise KeyboardInterrupt
        noted.set()

    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return
    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield noted.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
