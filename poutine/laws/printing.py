"""How what a strategy makes is shown in a failing test: as source that makes it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from hypothesis import strategies as st
from hypothesis.control import current_build_context
from hypothesis.vendor.pretty import IDKey

from poutine.laws.sources import source_of
from poutine.poutine import Poutine

T = TypeVar("T")


@st.composite
def printed(
    draw: Callable[[st.SearchStrategy[Any]], Any],
    strategy: st.SearchStrategy[Any],
    make: Callable[[Any], T],
    source: Callable[[Any, T], str],
    of: Any = None,
) -> T:
    """``strategy.map(make)``, whose values are shown as ``source`` of what was drawn and of what was made of it.

    Hypothesis shows what ``map`` makes as a call of the function, which is machinery here.

    of:  a program that the source names. If it is a random one and is not shown itself, as where the strategy is one of a ``flatmap``,
         its own source comes first, in a comment.
    """
    drawn = draw(strategy)
    made = make(drawn)

    def show(thing: Any, printer: Any, cycle: bool) -> None:
        model = _innermost(of)
        if hasattr(model, "function") and not printer.known_object_printers.get(IDKey(model)):
            printer.text("".join(f"# {line}\n    " for line in repr(model).strip().splitlines()))
        printer.text(source(drawn, made))

    current_build_context().known_object_printers[IDKey(made)] = [show]
    return made


def note_shown(model: Any, printer: Any) -> None:
    """Notes that ``model`` is shown in this failing test."""
    printer.known_object_printers[IDKey(model)] = [lambda thing, printer, cycle: printer.text(repr(thing))]


def _innermost(program: Any) -> Any:
    while isinstance(program, Poutine):
        program = program.fn
    return program


def name_of(program: Any) -> str:
    """A program, as it is written where the model of a test has its own name: with the poutines that are around it."""
    around = []
    while isinstance(program, Poutine):
        options = [(field.name, getattr(program, field.name), field.default) for field in attrs.fields(type(program)) if field.name != "fn"]
        around.append((type(program).__name__, [f"{name}={source_of(value)}" for name, value, default in options if value is not default]))
        program = program.fn
    function = getattr(program, "function", program)  # that of a Model
    name = getattr(function, "__name__", None) or getattr(function, "name", None) or repr(program)
    for poutine, given in reversed(around):
        name = f"{poutine}({', '.join([name, *given])})"
    return str(name)
