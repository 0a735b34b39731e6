"""Whose code calls: what a mode of torch's answers may depend on who asks."""

from __future__ import annotations

import sys
from collections.abc import Collection
from types import FrameType
from typing import Final

_OURS: Final = frozenset({"torch", "poutine", "interpreters"})


def module_of(frame: FrameType) -> str:
    """The name of the module whose code it runs."""
    name: str = frame.f_globals.get("__name__", "")
    return name


def is_ours(module: str) -> bool:
    """Whether a module is torch's or this library's, and not the program's."""
    return module.partition(".")[0] in _OURS


def asker(between: Collection[str]) -> str:
    """The module whose code called the function that calls this, past the modules ``between``."""
    frame = sys._getframe(2)
    while frame.f_back is not None and module_of(frame) in between:
        frame = frame.f_back
    return module_of(frame)
