"""The engine under every runtime: messages go up a chain of poutines and out, and their sites come down."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar, cast

from poutine.driver.replies import bad_reply, no_site
from poutine.driver.routes import OUT, Scope
from poutine.driver.stack import Frame, Run
from poutine.messages import UNDECIDED, Message
from poutine.program import Program, start

T = TypeVar("T")


def drive(program: Program[T]) -> Generator[Message, Message, T]:
    """Runs ``program`` and yields the messages that leave its chain of poutines; to be sent the finished sites.

    This is the engine under every runtime. Closing it closes all that it started.
    """
    return driving(Run(), program)


def driving(run: Run, program: Program[T] | None) -> Generator[Message, Message, T]:
    """Drives ``program`` or, without one, the frame that ``run`` has already."""
    frames = run.frames
    if program is not None:
        frames.append(Frame(start(program), Scope({}, None, 0)))
    try:
        while frames:
            # Resume the last frame.
            frame = frames[-1]
            try:
                yielded = frame.send(run.reply) if run.error is None else frame.generator.throw(run.take_error())
            except StopIteration as stop:
                if not run.returned(frame, stop.value):
                    continue
                frame, step, site = frames[-1], OUT, stop.value
            except BaseException as error:
                run.raised(frame, error)
                continue
            else:
                # Up the chain, and out.
                step = frame.scope[type(yielded)]
                if step.quiet and run.poison is None:
                    message, frame.pending = yielded, step.pending
                elif (message := run.ascend(frame, yielded, step)) is None:
                    continue
                try:
                    site = yield message
                except GeneratorExit:
                    raise
                except BaseException as error:
                    run.fail(error, OUT.base)
                    continue
            # Down the chain: a program is sent the value, a poutine's coroutine the site.
            try:
                deed, pending = None, frame.pending
                while pending is not None:
                    deed, pending = pending
                    site = deed[0](site)
                value = site.value
                if value is UNDECIDED:
                    raise bad_reply(site)
                run.reply = value if frame.owner is None else site
            except BaseException as error:
                if isinstance(site, Message):
                    run.fail(error, OUT.base if deed is None else deed[1])
                else:
                    run.fail(*no_site(site, error, frame.pending, pending))
        return cast(T, run.reply)
    finally:
        run.close()


def answer(program: Program[T], answers: Mapping[type[Message], Callable[[Any], Message]]) -> T:
    """Runs ``program`` to its end and returns its value; ``answers[type(message)](message)`` is each message's finished site."""
    engine = drive(program)
    try:
        message = next(engine)
        while True:
            try:
                site = answers[type(message)](message)
            except BaseException as error:
                message = engine.throw(error)
            else:
                message = engine.send(site)
    except StopIteration as stop:
        return cast(T, stop.value)
    finally:
        engine.close()
