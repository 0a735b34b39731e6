"""Slips of programs that Python notices before the driver can: what it says of them is said in the terms of programs."""

from __future__ import annotations

from collections.abc import Iterator

from poutine.errors import NotAProgram


def explained(error: BaseException) -> BaseException:
    """``error`` itself, or what it means: ``yield from [message, ...]`` fails where the answer should go into the list's iterator."""
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
