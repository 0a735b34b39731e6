"""Law: an equation that random programs put to the test; and what is said where it does not hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import attrs
from hypothesis import strategies as st

from poutine.laws.handlers import handlers
from poutine.laws.links import Link, Wrap, written
from poutine.laws.model import Model
from poutine.laws.outcome import Difference, Outcome, difference, outcome
from poutine.laws.programs import programs
from poutine.laws.traces import SEEDS
from poutine.trace_graph import Trace

T = TypeVar("T")

Subject = Callable[[Any], st.SearchStrategy[Any]]
"""What a law is put to: the handlers of one kind, whose options may name sites of the program."""


ANY: Final = ("any",)


@attrs.frozen(repr=False)
class Law:
    """One law: its ``name`` in the tables, its ``equation``, what it is ``about``, and its ``check``.

    about:   which handlers and programs the equation speaks of, in words.
    put_to:  the kinds of handlers (short names) whose options the check reads; ``ANY`` if it can be put to any handler, a user's own
             included; nothing if it is about something else.
    check:   draws a case and raises ``LawBroken`` where it does not hold.
    """

    name: str
    equation: str
    about: str
    check: Callable[[Case], None]
    put_to: tuple[str, ...] = ()

    @property
    def generic(self) -> bool:
        """Whether it can be put to any handler."""
        return self.put_to == ANY

    def __repr__(self) -> str:
        return f"<{self.name}: {self.equation}>"


@attrs.frozen
class Side:
    """One side of an equation: a program, and how it is written."""

    source: str
    fn: Callable[..., Any]


class LawBroken(AssertionError):
    """A law does not hold. Its ``str`` names the law, and shows both sides, the program and the first difference."""

    def __init__(self, law: Law, sides: tuple[str, str], programs: tuple[Model, ...], found: Difference | str) -> None:
        super().__init__(law, sides, programs, found)
        self.law, self.sides, self.programs, self.found = law, sides, programs, found

    def __str__(self) -> str:
        lines = [f"law {self.law.name} does not hold: {self.law.equation}", ""]
        lines += [f"  left:   {self.sides[0]}", f"  right:  {self.sides[1]}"] if any(self.sides) else []
        lines += [f"  first difference, at {self.found}"]
        lines += ["\nwith the program" + repr(program).rstrip() for program in self.programs]
        return "\n".join(lines)


class Case:
    """One case of a law: draws what the law speaks of, and compares.

    handler:  is drawn from the subject, for the generic laws.
    """

    def __init__(self, law: Law, draw: Callable[[st.SearchStrategy[Any]], Any], subject: Subject | None = None) -> None:
        self.law = law
        self.subject: Subject | None = subject or (None if law.generic else lambda program: handlers(program, law.put_to))
        self._draw = draw
        self._programs: list[Model] = []

    def draw(self, strategy: st.SearchStrategy[T]) -> T:
        drawn: T = self._draw(strategy)
        return drawn

    def program(self, **flags: Any) -> Model:
        """A random program, which the report shows."""
        program = self.draw(programs(**flags))
        self._programs.append(program)
        return program

    def handler(self, program: Callable[..., Any]) -> Wrap:
        """A handler of the kind that the law is put to."""
        assert self.subject is not None, f"{self.law.name} is to be put to a handler"
        handler: Wrap = self.draw(self.subject(program))
        return handler

    def link(self, program: Callable[..., Any]) -> Link:
        """The same, where the law reads its options."""
        handler = self.handler(program)
        assert isinstance(handler, Link), f"{self.law.name} needs a Link, to read its options; got {handler!r}"
        return handler

    def trace(self, program: Callable[..., Any], seed: int | None = None) -> Trace:
        """A trace of ``program`` by a tracing handler (one with ``traced``, as ``TracePoutine`` has), which is what the law is put to."""
        tracer: Any = self.handler(program)(program)
        trace: Trace = outcome(tracer.traced, seed=self.seed() if seed is None else seed).value
        return trace

    def other(self, program: Callable[..., Any], *kinds: str) -> Wrap:
        """A handler of the library, of one of ``kinds``, or of any kind."""
        return self.draw(handlers(program, kinds or None))

    def seed(self) -> int:
        return self.draw(SEEDS)

    def agree(self, left: Side, right: Side, seed: int | None = None) -> None:
        """``left ≈ right``, under one seed."""
        seed = self.seed() if seed is None else seed
        self.equal(outcome(left.fn, seed=seed), outcome(right.fn, seed=seed), left.source, right.source)

    def equal(self, left: Outcome, right: Outcome, *sources: str) -> None:
        """The same of two outcomes."""
        found = difference(left, right)
        if found is not None:
            self.broken(found, *sources)

    def expect(self, holds: bool, otherwise: str, *sources: str) -> None:
        """Any other claim: ``otherwise`` says what is wrong where it does not hold."""
        if not holds:
            self.broken(otherwise, *sources)

    def broken(self, found: Difference | str, left: str = "", right: str = "") -> None:
        raise LawBroken(self.law, (left, right), tuple(self._programs), found)


def side(program: Callable[..., Any], *wraps: Wrap, name: str = "model") -> Side:
    """``program`` under each of ``wraps``, innermost first."""
    source, fn = name, program
    for wrap in wraps:
        source, fn = written(wrap, source), wrap(fn)
    return Side(source, fn)


def law(name: str, equation: str, about: str, put_to: tuple[str, ...] = ()) -> Callable[[Callable[[Case], None]], Law]:
    """Makes a law of its check, a function that draws a case."""
    return lambda check: Law(name, equation, about, check, put_to)
