"""What a session shows: lines of source, messages, the chain, the trace. Each function returns text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import torch

import poutine
from interpreters.command.model_file import line_of, one_line
from interpreters.console.model import LoadedModel
from interpreters.console.session import Session
from interpreters.counts import so_many
from interpreters.replies import unsealed
from interpreters.steps.answers import Answer
from interpreters.steps.suspended import Suspended
from interpreters.steps.text import described, number, score, shown, table
from poutine import Passing, Place, Sealed

_AROUND: Final = 2  # lines of source, before and after
_LAST: Final = 5  # sites of the trace that are shown at each stop
_LIBRARY: Final = str(Path(poutine.__file__).parent)


def stop(session: Session) -> str:
    """Where the run waits, at what, and what came before."""
    here = session.here
    parts = [ended(session), *waiting(here)] if here.has_ended else [source(session), *waiting(here)]
    return "\n".join(part for part in [*parts, trace(here, _LAST)] if part)


def edited(session: Session, forgotten: list[str]) -> str:
    """The same after an edit, which may have undone others."""
    if not forgotten:
        return stop(session)
    edits, come = ("edits", "come") if len(forgotten) > 1 else ("edit", "comes")
    told = f"forgotten: the {edits} of {', '.join(forgotten)}, which {come} after this site; the run as it was is the branch before"
    return f"{told}\n{stop(session)}"


def waiting(here: Suspended[Any]) -> list[str]:
    if here.pending is None:
        return []
    hidden = "  (hidden from what is further out)" if isinstance(here.pending, Sealed) else ""
    shown_way = [chain(here.way)] if len(here.way) > 1 else []
    return [f"waits at  {described(unsealed(here.pending))}{hidden}", *shown_way]


def ended(session: Session) -> str:
    ending, path = session.here.ending, session.model.origin.path
    if ending is None or ending.error is None:
        return f"ended: returned {shown(None if ending is None else ending.value)}"
    line = line_of(ending.error, path)
    where = "" if line is None else f"{_lines(session.model, str(path), line)}\n"
    return f"{where}ended: raised {type(ending.error).__name__}: {one_line(str(ending.error))}"


def source(session: Session) -> str:
    """The line at which the run waits, with those around it."""
    place = _innermost(session.here.places)
    return f"{_short(place.file)}, line {place.line}, in {place.function}\n{_lines(session.model, place.file, place.line)}"


def stack(session: Session) -> str:
    """The lines at which the run waits, outermost first; without those of this library."""
    places = [place for place in session.here.places if not _is_library(place)] or list(session.here.places)
    return "\n".join(_in_one_line(session.model, place) for place in places) or "the program has ended"


def _in_one_line(model: LoadedModel, place: Place) -> str:
    text = model.lines_of(place.file)[place.line - 1 : place.line]
    return f"{_short(place.file)}, line {place.line}, in {place.function}: {''.join(text).strip()}"


def chain(way: tuple[Passing, ...]) -> str:
    """What each poutine does to a message: ↑ as it passes it on, ↓ as it hands the site back."""
    width = max((len(who) for _, who, _ in way), default=0)
    lines, before = [], None
    for what, who, message in way:
        text = described(unsealed(message)) + ("  (hidden)" if isinstance(message, Sealed) else "")
        lines.append(f"  {'↑' if what == 'up' else '↓'} {who:{width}}  {'unchanged' if message is before else text}")
        before = message
    return "\n".join(lines)


def trace(here: Suspended[Any], last: int | None = None) -> str:
    """The sites so far, with their log densities and the running sum; those that are hidden do not count in it.

    From a site on that cannot be scored there is no sum; why those that are shown cannot be is told below.
    """
    total, rows, is_known = torch.zeros(()), list[list[str]](), True
    for answer in here.answers:
        is_known = is_known and answer.problem is None
        total = total if answer.scored is None else total + answer.scored
        rows.append([_name(answer), shown(unsealed(answer.site).value, 40), score(answer), number(total) if is_known else "unknown"])
    if not rows:
        return "no site so far"
    before = 0 if last is None else max(0, len(rows) - last)
    left_out = [f"… {so_many(before, 'site')} before (trace shows all)"] if before else []
    problems = [one_line(str(answer.problem), 200) for answer in here.answers[before:] if answer.problem is not None]
    return "\n".join([*left_out, table([["site", "value", "log density", "so far"], *rows[before:]]), *problems])


def branches(session: Session) -> str:
    """Where each branch is, and of which file if that is another one, or has changed since."""
    rows = [[name, _standing(branch.point), _loaded(session.model, branch.model)] for name, branch in session.branches.items()]
    return table(rows, left=3) if rows else ""


def _standing(point: Suspended[Any]) -> str:
    if point.pending is not None:
        return f"waits at  {described(unsealed(point.pending))}"
    error = None if point.ending is None else point.ending.error
    if error is not None:
        return f"ended: raised {type(error).__name__}"
    return f"ended: returned {shown(None if point.ending is None else point.ending.value)}"


def _loaded(now: LoadedModel, then: LoadedModel) -> str:
    if then is now:
        return ""
    return f"in {_short(str(then.origin.path))}" + (" as it was" if then.origin.path == now.origin.path else "")


def _name(answer: Answer) -> str:
    site = unsealed(answer.site)
    marks = [site.type, *(["edited"] if answer.edited else []), *(["hidden"] if isinstance(answer.site, Sealed) else [])]
    return f"{site.name} ({', '.join(marks)})"


def _lines(model: LoadedModel, file: str, line: int) -> str:
    lines = list(enumerate(model.lines_of(file), start=1))[max(0, line - 1 - _AROUND) : line + _AROUND]
    return "\n".join(f"{'→' if n == line else ' '} {n:4}  {text.rstrip()}".rstrip() for n, text in lines)


def _innermost(places: tuple[Place, ...]) -> Place:
    return next((place for place in reversed(places) if not _is_library(place)), places[-1])


def _short(file: str) -> str:
    """A file's path from here, if that is shorter."""
    try:
        return min(file, os.path.relpath(file), key=len)
    except ValueError:  # on another drive
        return file


def _is_library(place: Place) -> bool:
    return place.file.startswith(_LIBRARY)
