"""Slips of programs that Python notices before the driver can: what it says of them is said in the terms of programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from inspect import CO_GENERATOR
from traceback import walk_tb

from poutine.errors import NotAProgram


def explained(error: BaseException) -> BaseException:
    """``error`` itself, with a note on programs that run themselves too deep, or what it means: ``yield from [message, ...]`` fails where
    the answer should go into the list's iterator.
    """
    if isinstance(error, RecursionError):
        _note_depth(error)
    if not isinstance(error, AttributeError) or error.name != "send" or not isinstance(error.obj, Iterator):
        return error
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_qualname}, line {trace.tb_lineno} of {trace.tb_frame.f_code.co_filename}," if trace else "a program"
    slip = NotAProgram(
        f"{where} runs a {type(error.obj).__name__} with `yield from`, which can be sent no answers; "
        "yield one at a time: `for message in messages: value = yield message`"
    )
    slip.__cause__ = error
    return slip.with_traceback(error.__traceback__)


def _note_depth(error: RecursionError) -> None:
    """Tells of the way to run a submodel that is as deep as one likes, if it is a generator function that has come too deep."""
    (code, times), *_ = Counter(frame.f_code for frame, _ in walk_tb(error.__traceback__)).most_common(1)
    owner = next(iter(code.co_varnames), "")
    name = f"{owner}.{code.co_name}" if owner in ("self", "cls") else code.co_name
    note = (
        f"{name} runs itself with `yield from {name}(...)`, as deep as Python's stack allows; run it with "
        f"`yield from Program({name}, ...)`, which may be any number of calls deep"
    )
    if code.co_flags & CO_GENERATOR and times > 1 and note not in getattr(error, "__notes__", ()):
        error.add_note(note)
