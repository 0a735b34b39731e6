"""C. Commutation: as the outermost trace sees it, and, where the equation says so, a trace inside, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from poutine.handlers.trace import TracePoutine
from poutine.laws.handlers import CONFIGURATIONS, link
from poutine.laws.law import Case, Law, Side, law, side
from poutine.laws.traces import values


def commutes_with(kind: str, inside: bool = False) -> Law:
    """The law that a handler commutes with those of one kind; ``inside``: for a trace inside of both, too."""

    def check(case: Case) -> None:
        program = case.program()
        handler, other = case.handler(program), case.other(program, kind)
        seen: Callable[..., Any] = TracePoutine(program).traced if inside else program
        name = "trace(model).traced" if inside else "model"
        case.agree(side(seen, handler, other, name=name), side(seen, other, handler, name=name))

    trace, suffix = ("∘trace", ".inside") if inside else ("", "")
    return Law(f"C.{kind}{suffix}", f"{kind}∘h{trace}∘p ≈ h∘{kind}{trace}∘p", "handlers that say so", check, generic=True)
