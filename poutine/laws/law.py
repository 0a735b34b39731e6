"""Law: an equation that random programs put to the test. Case: what one test draws and compares."""

from __future__ import annotations

from collections.abc import Callable
from traceback import extract_tb
from typing import Any, Final, TypeVar

import attrs
from hypothesis import strategies as st

from poutine.equality import same
from poutine.laws.handlers import CONFIGURATIONS, chains, handlers, link
from poutine.laws.links import Chain, Link, Wrap, written
from poutine.laws.model import Model
from poutine.laws.outcome import Difference, Outcome, difference, outcome
from poutine.laws.programs import programs
from poutine.laws.report import Finding, LawBroken
from poutine.laws.subject import Subject
from poutine.laws.traces import SEEDS
from poutine.messages import Message
from poutine.trace_graph import Trace

T = TypeVar("T")

ANY: Final = ("any handler",)


@attrs.frozen(repr=False)
class Law:
    """One law: its ``name`` in the tables, its ``equation``, and its ``check``.

    put_to:  the kinds of handlers (short names) that it is about, and so can be put to; ``ANY``: any handler, a user's own included;
             nothing: it is about something else, which no handler can stand for.
    where:   a precondition, in words.
    check:   draws a case and raises ``LawBroken`` where it does not hold.
    """

    name: str
    equation: str
    check: Callable[[Case], None]
    put_to: tuple[str, ...] = ()
    where: str = ""

    def speaks_of(self, kind: str | None) -> bool:
        """Whether it can be put to handlers of a kind; None: to those of the user's own."""
        return self.put_to == ANY or kind in self.put_to

    @property
    def about(self) -> str:
        """What it speaks of, in words."""
        return ": ".join(filter(None, (" and ".join(self.put_to), self.where)))

    def __repr__(self) -> str:
        return f"<{self.name}: {self.equation}>"


@attrs.frozen
class Side:
    """One side of an equation: a program, and how it is written."""

    source: str
    fn: Callable[..., Any]


class Case:
    """One case of a law: draws what the law speaks of, and compares.

    subject:   what the law is put to; without it, random handlers of one of the kinds that it is about.
    messages:  of the user's own, which the programs send, too.
    is_first:  whether it is the first case of several; some looks are too long to be taken in each.
    shown:     whether it shows something; vacuous: what is wrong if no case does. Of a law that asks for that.
    """

    def __init__(
        self,
        law: Law,
        draw: Callable[[st.SearchStrategy[Any]], Any],
        subject: Subject | None = None,
        messages: st.SearchStrategy[Message] | None = None,
        is_first: bool = True,
    ) -> None:
        self.law, self.messages, self.is_first = law, messages, is_first
        self.vacuous: LawBroken | None = None
        self.shown = False
        self._draw = draw
        self._programs: list[Model] = []
        self._seed: int | None = None
        if subject is None and law.put_to and law.put_to != ANY:
            subject = Subject.of(link(self.draw(st.sampled_from(law.put_to))).poutine)
        self._subject = subject

    def draw(self, strategy: st.SearchStrategy[T]) -> T:
        drawn: T = self._draw(strategy)
        return drawn

    @property
    def subject(self) -> Subject:
        assert self._subject is not None, f"{self.law.name} is to be put to a handler"
        return self._subject

    def program(self, **flags: Any) -> Model:
        """A random program, which the report shows."""
        program = self.draw(programs(messages=self.messages, **flags))
        self._programs.append(program)
        return program

    def handler(self, program: Callable[..., Any]) -> Wrap:
        """The handler that the law is put to."""
        return self.draw(self.subject.handlers(program))

    def another(self, program: Callable[..., Any]) -> Link:
        """A handler of the same class, with other options."""
        return self.draw(self.subject.others(program))

    def link(self, kind: str, **options: Any) -> Link:
        """A handler of a kind with these options: of the class that the law is put to, if that is of this kind; of the library's otherwise."""
        if self._subject is not None and self._subject.kind == kind:
            return self._subject.like(**options)
        return link(kind, **options)

    def options(self, handler: Wrap) -> dict[str, Any]:
        """The options of a handler that the law is put to."""
        assert isinstance(handler, Link), f"the options of {handler!r} are not known"
        return dict(handler.options)

    def trace(self, program: Callable[..., Any], seed: int | None = None) -> Trace:
        """A trace of ``program`` by the tracing handler that the law is put to."""
        tracer: Any = self.handler(program)(program)
        trace: Trace = outcome(tracer.traced, seed=self.seed() if seed is None else seed).value
        return trace

    def other(self, program: Callable[..., Any], *kinds: str) -> Link:
        """A handler of the library, of one of ``kinds``, or of any kind."""
        return self.draw(handlers(program, kinds or None))

    def chain(self, program: Callable[..., Any], *kinds: str) -> Side:
        """``program`` under a random chain of handlers of the library, of some ``kinds`` or of any."""
        drawn: Chain = self.draw(chains(program, 2, kinds or None))
        return side(program, *drawn.links)

    def chain_to_the_end(self, program: Callable[..., Any]) -> Side:
        """The same, of those under which it comes to its end."""
        strategy = chains(program, 2, all_but("escape")).filter(lambda chain: outcome(chain(program)).failure is None)
        drawn: Chain = self.draw(strategy)
        return side(program, *drawn.links)

    def seed(self) -> int:
        """The seed of this case's runs, which the report shows."""
        self._seed = self.draw(SEEDS)
        return self._seed

    def agree(self, left: Side, right: Side, seed: int | None = None) -> None:
        """``left ≈ right``, under one seed."""
        seed = self.seed() if seed is None else seed
        self.equal(outcome(left.fn, seed=seed), outcome(right.fn, seed=seed), left.source, right.source)

    def equal(self, left: Outcome, right: Outcome, *sources: str) -> None:
        """The same of two outcomes."""
        found = difference(left, right)
        if found is not None:
            self.broken(found, *sources)

    def same(self, what: str, left: Any, right: Any, *sources: str) -> None:
        """The same of any two values; ``what`` says what they are, and at which site."""
        if not same(left, right):
            self.broken(Difference(what, "", left, right), *sources)

    def expect(self, holds: bool, otherwise: str, *sources: str) -> None:
        """Any other claim: ``otherwise`` says what is wrong where it does not hold."""
        if not holds:
            self.broken(otherwise, *sources)

    def shows_something(self) -> None:
        """Of a law that must not hold for want of a case: this is one."""
        self.shown = True

    def shows_nothing(self, otherwise: str, source: str) -> None:
        """The same: this is none; ``otherwise`` says what is wrong if there is no other."""
        self.vacuous = LawBroken(self.law, self._finding(otherwise, source))

    def broken(self, found: Difference | str, left: str = "", right: str = "") -> None:
        raise LawBroken(self.law, self._finding(found, left, right))

    def broken_by(self, error: Exception) -> None:
        """An error where none can be, if the law holds: it came out of the handler, in a way that the law did not think of."""
        where = extract_tb(error.__traceback__)[-1]
        found = f"an error: {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        raise LawBroken(self.law, self._finding(found, getattr(self._subject, "shown", "the check"))) from error

    def _finding(self, found: Difference | str, left: str = "", right: str = "") -> Finding:
        return Finding(left, right, found, self._seed, tuple(self._programs))


def side(program: Callable[..., Any] | Side, *wraps: Wrap, name: str = "model") -> Side:
    """``program`` (or what stands on a side already) under each of ``wraps``, innermost first."""
    source, fn = (program.source, program.fn) if isinstance(program, Side) else (name, program)
    for wrap in wraps:
        source, fn = written(wrap, source), wrap(fn)
    return Side(source, fn)


def all_but(*kinds: str) -> tuple[str, ...]:
    """The kinds of all other handlers of the library."""
    return tuple(kind for kind in CONFIGURATIONS if kind not in kinds)


def law(name: str, equation: str, put_to: tuple[str, ...] = (), where: str = "") -> Callable[[Callable[[Case], None]], Law]:
    """Makes a law of its check, a function that draws a case."""
    return lambda check: Law(name, equation, check, put_to, where)
