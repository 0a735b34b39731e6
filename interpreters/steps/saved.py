"""Suspended runs in files.

1. A file holds what was answered (names, types, values, log densities), the seed, the parameters, and, where they can be pickled, the
   program with its arguments. Each value is pickled on its own: one that cannot be read any more loses no other.
2. A file is written whole or not at all, and reading changes nothing in it.

The file is a pickle: load only what you saved yourself.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import torch

from interpreters.errors import RecordError
from interpreters.replies import unsealed
from interpreters.steps.answers import Answer, mapped
from interpreters.steps.suspended import Suspended
from interpreters.steps.text import shown
from poutine import UNDECIDED, Program

_MAGIC: Final = b"poutine step 1\n"


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


def recorded(point: Suspended[Any], about: Mapping[str, Any] | None = None) -> Saved:
    """What a file would hold of this run. Raises ``RecordError`` at a value that cannot be pickled."""
    setup = point.setup
    params = None if setup.params is None else pickle.dumps(setup.params.state_dict())
    return Saved(setup.seed, tuple(map(_saved, point.answers)), _pickled_program(setup.program), params, dict(about or {}))


def save(point: Suspended[Any], path: str | Path, about: Mapping[str, Any] | None = None) -> None:
    """Writes a suspended run. Raises ``RecordError`` as ``recorded`` does; then nothing is written."""
    saved = recorded(point, about)
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


def _saved(answer: Answer) -> SavedAnswer:
    site, given = unsealed(answer.site), answer.given is not UNDECIDED
    try:
        value = pickle.dumps(mapped(site.value, _detached))
    except Exception as error:  # whatever the value's class makes of it
        if given:
            raise RecordError(f"site {site.name!r}: its value {shown(site.value)} cannot be saved: {error}") from error
        value = None
    return SavedAnswer(site.type, site.name, value, shown(site.value), given, answer.edited, score(answer))


def _detached(part: Any) -> Any:
    """``part`` without the gradient graph, and the rest of the memory, that a tensor hangs on."""
    return part.detach().clone() if isinstance(part, torch.Tensor) else part


def score(answer: Answer) -> float | None:
    """The log density of an answer, hidden or not, as a number."""
    return answer.density.item() if isinstance(answer.density, torch.Tensor) else None


def _pickled_program(program: Program[Any]) -> bytes | str:
    try:
        return pickle.dumps(program)
    except Exception as error:  # a lambda, a local function, an open file, ...
        return f"{type(error).__name__}: {error}"


def is_saved(path: Path) -> bool:
    """Whether a file holds a suspended run, by how it begins."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC
