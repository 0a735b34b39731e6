"""Hints: what somebody may have meant who wrote something else where a program or a message belongs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from numbers import Number
from types import AsyncGeneratorType, CoroutineType
from typing import Any, Final

import numpy
import torch

from poutine.messages import Deterministic, Message, Observe, Param, Sample, is_distribution

_MESSAGES: Final = ((Sample, "distribution"), (Observe, "distribution, value"), (Param, "init"), (Deterministic, "value"))


def hint_for(thing: Any) -> str:
    """What somebody may have meant who ran ``thing``, or whose function returned it, or who yielded it."""
    if isinstance(thing, Message):
        return f"; a message is yielded: `return (yield {type(thing).__name__}({thing.name!r}, ...))`"
    if is_distribution(thing):
        return "; did you mean `yield Sample(name, distribution)`?"
    if isinstance(thing, torch.Tensor):
        return "; a value drawn with `d.sample()` comes from the global generator: write `yield Sample(name, d)` instead"
    if isinstance(thing, Generator):
        return "; run it with `yield from`"
    if isinstance(thing, (CoroutineType, AsyncGeneratorType)):
        return (
            "; a model is a plain generator function: write `def`, not `async def`. What must be awaited is yielded as "
            "Await(name, fn, *args) of interpreters.asynchronous, and answered by its run_async"
        )
    if isinstance(thing, type):
        return _of_a_class(thing)
    if callable(thing):
        return "; call it, and run the result with `yield from`"
    return ""


def hint_for_yielded(thing: Any) -> str:
    """The same for what was yielded."""
    return hint_for(thing) or next((hint(thing) for kind, hint in _YIELDED if isinstance(thing, kind)), "")


def _of_a_class(thing: type) -> str:
    if issubclass(thing, Message):
        rest = next((rest for kind, rest in _MESSAGES if issubclass(thing, kind)), "...")
        return f"; did you mean `yield {thing.__name__}(name, {rest})`?"
    if hasattr(thing, "log_prob"):
        return f"; did you mean `yield Sample(name, {thing.__name__}, ...)`, with its arguments?"
    return "; call it, and run the result with `yield from`"


def _of_a_name(name: str) -> str:
    return f"; did you mean `yield Sample({name!r}, distribution)`?"


def _of_several(things: Any) -> str:
    if isinstance(things, tuple) and things and isinstance(things[0], str):
        return f"; did you mean `yield Sample({', '.join(map(repr, things))})`?"
    if any(isinstance(thing, Message) for thing in things):
        return "; yield one message at a time: `for message in messages: value = yield message`"
    return _of_a_value(things)


def _of_names(things: Mapping[Any, Any]) -> str:
    return "; yield one message at a time: `for name, d in ...: values[name] = yield Sample(name, d)`"


def _of_nothing(_: None) -> str:
    return "; a bare `yield` asks for nothing: write `x = yield Sample(name, distribution)`"


def _of_a_value(_: Any) -> str:
    return "; what is computed already needs no yield: `yield Deterministic(name, value)` would name it in the trace"


_YIELDED: Final[tuple[tuple[Any, Callable[[Any], str]], ...]] = (
    (str, _of_a_name),
    (type(None), _of_nothing),
    (Mapping, _of_names),
    ((tuple, list, set, frozenset), _of_several),
    ((Number, numpy.ndarray, numpy.generic), _of_a_value),
)
