"""Functions in pickles whose names others have taken: a decorated function stands where the one inside of it says that it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from typing import Any


def at(module: str, name: str) -> Any:
    """What stands there. Raises ``AttributeError``, ``ImportError``."""
    return attrgetter(name)(sys.modules.get(module) or import_module(module))


def taking_its_name(fn: Any) -> object:
    """What stands where ``fn`` says that it is; None if nothing does: inside of a function, say."""
    try:
        return at(fn.__module__, fn.__qualname__)
    except (AttributeError, ImportError):
        return None


def picklable(fn: Callable[..., Any]) -> Any:
    """``fn`` or, in a pickle, what becomes ``fn`` again: if it is inside of what has taken its name, at any depth."""
    inside = taking_its_name(fn)
    return _Undecorated(fn) if inside is not fn and _innermost(inside) is fn else fn


def _innermost(decorated: Any) -> Any:
    while hasattr(decorated, "fn"):
        decorated = decorated.fn
    return decorated


class _Undecorated:
    """Stands for a function in what is about to be pickled."""

    __slots__ = ("fn",)

    def __init__(self, fn: Any) -> None:
        self.fn = fn

    def __reduce__(self) -> Any:
        return _found, (self.fn.__module__, self.fn.__qualname__)


def _found(module: str, name: str) -> Any:
    return _innermost(at(module, name))
