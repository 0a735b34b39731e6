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
) -> T:
    """``strategy.map(make)``, whose values are shown as ``source`` of what was drawn and of what was made of it.

    Hypothesis shows what ``map`` makes as a call of the function, which is machinery here.
    """
    drawn = draw(strategy)
    made = make(drawn)
    current_build_context().known_object_printers[IDKey(made)] = [lambda thing, printer, cycle: printer.text(source(drawn, made))]
    return made


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
