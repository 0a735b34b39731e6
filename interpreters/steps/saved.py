"""Suspended runs in files.

1. A file holds what was answered (names, types, values, log densities), the seed, the parameters, and, where they can be pickled, the
   program with its arguments. Each value is pickled on its own: one that cannot be read any more loses no other.
2. To resume is to run the program again. For as long as it yields the same sites, would answer them the same, and scores them the
   same, but for rounding, it is sent what was saved, bit for bit. Where it does not, it departs: it waits there.
3. A file is written whole or not at all, and reading changes nothing in it.

The file is a pickle: load only what you saved yourself.
"""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import torch

from interpreters.errors import RecordError
from interpreters.replies import unsealed, valued
from interpreters.steps.answers import Answer
from interpreters.steps.live import Live, Pause, Setup
from interpreters.steps.suspended import Suspended
from interpreters.steps.text import shown
from poutine import UNDECIDED, Param, ParamStore, Program, Runtime, same

_MAGIC: Final = b"poutine step 1\n"
_ULPS: Final = 16


@attrs.frozen
class SavedAnswer:
    """An answer without what only the program can make anew: ``value`` and ``text`` of the finished site, and its log density.

    ``value`` is a pickle; None if it cannot be pickled and the program decides it itself.
    """

    type: str
    name: str
    value: bytes | None
    text: str
    given: bool
    edited: bool
    log_density: float | None


@attrs.frozen
class Saved:
    """What a file holds. ``program`` is a pickle, or the reason why there is none; ``about`` is for whoever saved it."""

    seed: int
    answers: tuple[SavedAnswer, ...]
    program: bytes | str
    params: bytes | None
    about: Mapping[str, Any]


@attrs.frozen(eq=False)
class Departure:
    """Where a program no longer does what it did: ``kept`` answers before ``name`` stand, ``left`` from there on are only in the file."""

    name: str
    problem: str
    kept: int
    left: tuple[SavedAnswer, ...]

    def __str__(self) -> str:
        return (
            f"the program departs from what was saved at site {self.name!r}: {self.problem}; the {self.kept} answers before it are kept, "
            f"the {len(self.left)} from there on stay in the file"
        )


@attrs.frozen(eq=False)
class Resumed:
    """A run that goes on at ``here``; ``departure`` tells where the program has changed, if it has."""

    here: Suspended[Any]
    departure: Departure | None


def save(point: Suspended[Any], path: str | Path, about: Mapping[str, Any] | None = None) -> None:
    """Writes a suspended run. Raises ``RecordError`` at a value that cannot be pickled; then nothing is written."""
    setup = point.setup
    saved = Saved(
        setup.seed,
        tuple(map(_saved, point.answers)),
        _pickled_program(setup.program),
        None if setup.params is None else pickle.dumps(setup.params.state_dict()),
        dict(about or {}),
    )
    path = Path(path)
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.write_bytes(_MAGIC + pickle.dumps(attrs.asdict(saved)))
        os.replace(fresh, path)
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}") from error


def load(path: str | Path) -> Saved:
    """What a file holds. Raises ``RecordError``."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from error
    try:
        if not content.startswith(_MAGIC):
            raise ValueError(f"it does not begin with {_MAGIC.decode().strip()!r}")
        fields = pickle.loads(content.removeprefix(_MAGIC))
        return Saved(**{**fields, "answers": tuple(SavedAnswer(**answer) for answer in fields["answers"])})
    except Exception as error:  # whatever pickle makes of another file
        raise RecordError(f"{path} holds no suspended run: {error}") from error


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
        pause = _replayed(live, answer)
        here = Suspended(here.setup, pause, here, here.index + 1)
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
    return _changed(Answer(site, UNDECIDED, False), value, answer)


def _changed(now: Answer, value: Any, before: SavedAnswer) -> str | None:
    natural = unsealed(now.site).value
    if value is not UNDECIDED and not before.edited and not _alike(natural, value):
        return f"expected the value {before.text}, got {shown(natural)}"
    density = _density(now if value is UNDECIDED else Answer(valued(now.site, value), UNDECIDED, False))
    if (density is None) != (before.log_density is None) or (density is not None and not _alike(density, before.log_density)):
        return f"expected the log density {before.log_density}, got {density}"
    return None


def _saved(answer: Answer) -> SavedAnswer:
    site, given = unsealed(answer.site), answer.given is not UNDECIDED
    try:
        value = pickle.dumps(_detached(site.value))
    except Exception as error:  # whatever the value's class makes of it
        if given:
            raise RecordError(f"site {site.name!r}: its value {shown(site.value)} cannot be saved: {error}") from error
        value = None
    return SavedAnswer(site.type, site.name, value, shown(site.value), given, answer.edited, _density(answer))


def _detached(value: Any) -> Any:
    """``value`` without the gradient graph, and the rest of the memory, that its tensors hang on."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if type(value) in (list, tuple):
        return type(value)(map(_detached, value))
    return {key: _detached(each) for key, each in value.items()} if type(value) is dict else value


def _density(answer: Answer) -> float | None:
    density = answer.log_density
    return None if density is None else density.item()


def _pickled_program(program: Program[Any]) -> bytes | str:
    try:
        return pickle.dumps(program)
    except Exception as error:  # a lambda, a local function, an open file, ...
        return f"{type(error).__name__}: {error}"


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
    return same(now, before) or (type(now) is type(before) and not _can_be_compared(now))


def _can_be_compared(value: Any) -> bool:
    """Whether its class has an equality; else two of them are never equal, and nothing can be said."""
    return any("__eq__" in vars(cls) for cls in type(value).__mro__ if cls is not object)
