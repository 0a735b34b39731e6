"""Going on with a run that was saved, for as long as the program does what it did.

The program is run again. For as long as it yields the same sites, would answer them the same, and scores them the same, but for
rounding, it is sent what was saved, bit for bit. Where it does not, it departs: it waits there.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import torch

from interpreters.errors import RecordError
from interpreters.replies import unsealed, valued
from interpreters.steps.answers import Answer
from interpreters.steps.live import Live, Pause, Setup
from interpreters.steps.saved import Saved, SavedAnswer, load, score
from interpreters.steps.suspended import Suspended
from interpreters.steps.text import shown
from poutine import UNDECIDED, Message, Param, ParamStore, Program, Runtime, same

_ULPS: Final = 16


@attrs.frozen(eq=False)
class Departure:
    """Where a program no longer does what it did: ``kept`` answers before ``name`` stand, ``left`` from there on are only in the file."""

    name: str
    problem: str
    kept: int
    left: tuple[SavedAnswer, ...]

    def __str__(self) -> str:
        return (
            f"the program departs from what was saved at site {self.name!r}: {self.problem}; "
            f"kept: {self.kept} before it; still in what was saved: {len(self.left)} from there on"
        )


@attrs.frozen(eq=False)
class Resumed:
    """A run that goes on at ``here``; ``departure`` tells where the program has changed, if it has."""

    here: Suspended[Any]
    departure: Departure | None


def resume(
    saved: Saved | str | Path,
    program: Program[Any] | None = None,
    params: ParamStore | None = None,
    runtime: Callable[[int, ParamStore | None], Runtime] = Runtime,
) -> Resumed:
    """Goes on with what was saved, in this process or another one; ``program`` is needed if it could not be pickled.

    **Law**: saved, resumed and run to its end is bit for bit what it would have been without. Raises ``RecordError``.
    """
    saved = saved if isinstance(saved, Saved) else load(saved)
    program = _program(saved) if program is None else program
    if params is None and saved.params is not None:
        params = ParamStore()
        params.load_state_dict(pickle.loads(saved.params))
    setup = Setup(program, saved.seed, params, runtime)
    live = Live(setup)
    try:
        return _resumed(Suspended(setup, live.pause), live, saved)
    finally:
        live.close()


def _resumed(here: Suspended[Any], live: Live[Any], saved: Saved) -> Resumed:
    for index, answer in enumerate(saved.answers):
        problem = _problem(live, answer)
        if problem is not None:
            return Resumed(here, Departure(answer.name, problem, index, saved.answers[index:]))
        here = here.after(_replayed(live, answer))
    return Resumed(here, None)


def _replayed(live: Live[Any], answer: SavedAnswer) -> Pause[Any]:
    if not answer.given or answer.value is None or (answer.type == Param.type and not answer.edited):
        return live.step()  # a parameter is read anew, so that gradients reach it
    return live.reply(pickle.loads(answer.value), answer.edited)


def _problem(live: Live[Any], answer: SavedAnswer) -> str | None:
    """In what the message that ``live`` waits at differs from the one that was answered."""
    if live.pause.pending is None:
        error = None if live.pause.ending is None else live.pause.ending.error
        return "the program ends before it" if error is None else f"before it, the program raises {type(error).__name__}: {error}"
    here = unsealed(live.pause.pending)
    if (here.type, here.name) != (answer.type, answer.name):
        return f"expected {answer.type} {answer.name!r}, got {here.type} {here.name!r}"
    value, site = UNDECIDED, None
    try:
        value = UNDECIDED if answer.value is None else pickle.loads(answer.value)
        site = live.natural()
    except Exception as error:
        return None if answer.edited and value is not UNDECIDED else f"{type(error).__name__}: {error}"
    return _changed(site, value, answer)


def _changed(now: Message, value: Any, before: SavedAnswer) -> str | None:
    natural = unsealed(now).value
    if value is not UNDECIDED and not before.edited and not _alike(natural, value):
        return f"expected the value {before.text}, got {shown(natural)}{_types(value, natural)}"
    density = score(Answer.of(now if value is UNDECIDED else valued(now, value), given=False, edited=False))
    if (density is None) != (before.log_density is None) or (density is not None and not _alike(density, before.log_density)):
        return f"expected the log density {before.log_density}, got {density}"
    return None


def _types(before: Any, now: Any) -> str:
    """Two tensors look the same in single and in double precision."""
    both = isinstance(before, torch.Tensor) and isinstance(now, torch.Tensor) and before.dtype != now.dtype
    return f" (of type {now.dtype} in place of {before.dtype}; has the default type changed?)" if both else ""


def _program(saved: Saved) -> Program[Any]:
    if isinstance(saved.program, str):
        raise RecordError(f"the program could not be saved with its answers ({saved.program}): pass it to resume")
    try:
        program = pickle.loads(saved.program)
    except Exception as error:  # what it was made of has moved, or is no more
        raise RecordError(f"the program cannot be found any more ({type(error).__name__}: {error}): pass it to resume") from error
    return program  # type: ignore[no-any-return]  # only programs are written there


def _alike(now: Any, before: Any) -> bool:
    """The same but for rounding, which other machines do differently."""
    if isinstance(now, torch.Tensor) and isinstance(before, torch.Tensor) and now.is_floating_point():
        alike = now.shape == before.shape and now.dtype == before.dtype
        return alike and torch.allclose(now.detach(), before, rtol=_ULPS * torch.finfo(now.dtype).eps, atol=0.0, equal_nan=True)
    if isinstance(now, float) and isinstance(before, float):
        return same(now, before) or math.isclose(now, before, rel_tol=_ULPS * torch.finfo(torch.float32).eps)
    return same(now, before) or type(now) is type(before) is object  # a mark, which is never the same in another process
