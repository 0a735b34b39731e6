"""What a session shows: lines of source, messages, the chain, the trace. Each function returns text."""

from __future__ import annotations

import linecache
import os
from pathlib import Path
from typing import Any, Final

import torch

import poutine
from interpreters.command.model_file import line_of, one_line
from interpreters.console.session import Session
from interpreters.replies import unsealed
from interpreters.steps.answers import Answer
from interpreters.steps.suspended import Suspended
from interpreters.steps.text import described, number, shown, table
from poutine import Passing, Place, Sealed

_AROUND: Final = 2  # lines of source, before and after
_LAST: Final = 5  # sites of the trace that are shown at each stop
_LIBRARY: Final = str(Path(poutine.__file__).parent)


def stop(session: Session) -> str:
    """Where the run waits, at what, and what came before."""
    here = session.here
    parts = [ended(here, session.model.path), *waiting(here)] if here.has_ended else [source(here), *waiting(here)]
    return "\n".join(part for part in [*parts, trace(here, _LAST)] if part)


def waiting(here: Suspended[Any]) -> list[str]:
    if here.pending is None:
        return []
    hidden = "  (hidden from what is further out)" if isinstance(here.pending, Sealed) else ""
    shown_way = [chain(here.way)] if len(here.way) > 1 else []
    return [f"waits at  {described(unsealed(here.pending))}{hidden}", *shown_way]


def ended(here: Suspended[Any], path: Path) -> str:
    ending = here.ending
    if ending is None or ending.error is None:
        return f"ended: returned {shown(None if ending is None else ending.value)}"
    line = line_of(ending.error, path)
    where = "" if line is None else f"{_lines(str(path), line)}\n"
    return f"{where}ended: raised {type(ending.error).__name__}: {one_line(str(ending.error))}"


def source(here: Suspended[Any]) -> str:
    """The line at which the run waits, with those around it."""
    place = _innermost(here.places)
    return "" if place is None else f"{_short(place.file)}, line {place.line}, in {place.function}\n{_lines(place.file, place.line)}"


def stack(here: Suspended[Any]) -> str:
    """The lines at which the run waits, outermost first; without those of this library."""
    places = [place for place in here.places if not _is_library(place)] or list(here.places)
    lines = (
        f"{_short(place.file)}, line {place.line}, in {place.function}: {linecache.getline(place.file, place.line).strip()}"
        for place in places
    )
    return "\n".join(lines) or "the program has ended"


def chain(way: tuple[Passing, ...]) -> str:
    """What each poutine does to a message: ↑ as it passes it on, ↓ as it hands the site back."""
    width = max((len(who) for _, who, _ in way), default=0)
    lines, before = [], None
    for what, who, message in way:
        text = "hidden" if isinstance(message, Sealed) else described(message)
        lines.append(f"  {'↑' if what == 'up' else '↓'} {who:{width}}  {'unchanged' if message is before else text}")
        before = message
    return "\n".join(lines)


def trace(here: Suspended[Any], last: int | None = None) -> str:
    """The sites so far, with their log densities and the running sum; those that are hidden do not count in it."""
    answers, total = here.answers, torch.zeros(())
    rows: list[list[str]] = []
    for answer in answers:
        density = answer.scored
        total = total if density is None else total + density
        rows.append([_name(answer), shown(unsealed(answer.site).value, 40), number(density), number(total)])
    if not rows:
        return "no site so far"
    left_out = [] if last is None or len(rows) <= last else [f"… {len(rows) - last} sites before (trace shows all)"]
    return "\n".join([*left_out, table([["site", "value", "log density", "so far"], *rows[-(last or len(rows)) :]])])


def _name(answer: Answer) -> str:
    site = unsealed(answer.site)
    marks = [site.type, *(["edited"] if answer.edited else []), *([] if answer.is_visible else ["hidden"])]
    return f"{site.name} ({', '.join(marks)})"


def _lines(file: str, line: int) -> str:
    lines = list(enumerate(linecache.getlines(file), start=1))[max(0, line - 1 - _AROUND) : line + _AROUND]
    return "\n".join(f"{'→' if n == line else ' '} {n:4}  {text.rstrip()}".rstrip() for n, text in lines)


def _innermost(places: tuple[Place, ...]) -> Place | None:
    return next((place for place in reversed(places) if not _is_library(place)), places[-1] if places else None)


def _short(file: str) -> str:
    """A file's path from here, if that is shorter."""
    try:
        return min(file, os.path.relpath(file), key=len)
    except ValueError:  # on another drive
        return file


def _is_library(place: Place) -> bool:
    return place.file.startswith(_LIBRARY)
