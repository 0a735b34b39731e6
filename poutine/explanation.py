"""explain: what each poutine of a chain did to one site."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import attrs

from poutine.messages import Message
from poutine.params import ParamStore
from poutine.poutine import Poutine
from poutine.program import Program, Rule, Rules, as_program
from poutine.runtime import run


@attrs.frozen(repr=False)
class Explanation:
    """The way of the messages that bore ``name``: ``steps`` are (what, who, message), and ``error`` is what ended the run, if any.

    ``what`` is "up" (as ``who`` passed it on) or "down" (as ``who`` handed it back). Its ``str`` is a table.
    """

    name: str
    steps: tuple[tuple[str, str, Message], ...]
    error: BaseException | None = None

    def __str__(self) -> str:
        lines = [f"site {self.name!r}" if self.steps else f"no site {self.name!r} was yielded"]
        width = max((len(who) for _, who, _ in self.steps), default=0)
        before: Message | None = None
        for what, who, message in self.steps:
            lines.append(f"  {'↑' if what == 'up' else '↓'} {who:{width}}  {'unchanged' if message is before else repr(message)}")
            before = message
        if self.error is not None:
            lines.append(f"  ✗ {type(self.error).__name__}: {self.error}")
        return "\n".join(lines)

    __repr__ = __str__


def explain(program: Program[Any] | Callable[..., Any], name: str, seed: int = 0, params: ParamStore | None = None) -> Explanation:
    """Runs ``program`` with a probe between any two poutines of its chain, and tells what each did to the site ``name``.

    ``name`` may be the site's name at any height of the chain. An error of the run is part of the explanation.
    """
    poutines, innermost = _chain(as_program(program))
    log: list[tuple[int, str, Message]] = []
    fn: Callable[..., Any] = _Probe(innermost.fn, 0, log)
    for height, poutine in enumerate(reversed(poutines), start=1):
        fn = _Probe(_rewrapped(poutine, fn), height, log)
    error: BaseException | None = None
    try:
        run(Program(fn, *innermost.args, **innermost.kwargs), seed, params)
    except Exception as raised:
        error = raised
    people = ["the program", *(type(poutine).__name__ for poutine in reversed(poutines)), "the runtime"]
    visits = (visit for visit in _visits(log) if any(message.name == name for _, _, message in visit))
    return Explanation(
        name, tuple((what, people[height + (what == "down")], message) for visit in visits for height, what, message in visit), error
    )


@attrs.frozen(slots=False, eq=False, repr=False)
class _Probe(Poutine):
    """Notes what passes at its height of the chain: 0 is just outside of the program itself."""

    height: int
    log: list[tuple[int, str, Message]]

    def rules(self) -> Rules:
        def note(what: str) -> Callable[[Message], Message]:
            def passing(message: Message) -> Message:
                self.log.append((self.height, what, message))
                return message

            return passing

        return {Message: Rule(up=note("up"), down=note("down"))}


def _chain(program: Program[Any]) -> tuple[list[Poutine], Program[Any]]:
    """The poutines of a program, outermost first, and the program inside them all."""
    poutines: list[Poutine] = []
    while True:
        owner = getattr(program.fn, "__self__", program.fn)
        if not isinstance(owner, Poutine):
            return poutines, program
        poutines.append(owner)
        program = program if owner is program.fn else program.args[0]
        program = Program(owner.fn, *program.args, **program.kwargs)


def _rewrapped(poutine: Poutine, fn: Callable[..., Any]) -> Poutine:
    clone = copy.copy(poutine)
    clone.__dict__["fn"] = fn
    return clone


def _visits(log: list[tuple[int, str, Message]]) -> list[list[tuple[int, str, Message]]]:
    """The log, cut where the program yields: what lies between is one message's way up and down."""
    visits: list[list[tuple[int, str, Message]]] = []
    for height, what, message in log:
        if (height, what) == (0, "up"):
            visits.append([])
        if visits:
            visits[-1].append((height, what, message))
    return visits
