"""explain: what each poutine of a chain did to one site."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import attrs

from poutine.messages import EnterMarkov, EnterPlate, Message
from poutine.options import as_seed
from poutine.params import ParamStore
from poutine.poutine import Poutine
from poutine.program import Coroutine, Program, Rule, Rules, as_program
from poutine.runtime import run

T = TypeVar("T")
_ENTRIES: Final = (EnterPlate, EnterMarkov)
Passing = tuple[str, str, Message]  # what ("up" or "down"), who, and the message as it left them


@attrs.frozen(repr=False)
class Explanation:
    """The way of the messages that bore ``name``: ``steps`` are (what, who, message); ``error`` is what ended the run, if any.

    ``raised_by`` is who raised it: a poutine of the chain, the program (with all that it runs itself) or the runtime. ``what`` is "up"
    (as ``who`` passed it on) or "down" (as ``who`` handed it back). Its ``str`` is a table.
    """

    name: str
    steps: tuple[Passing, ...]
    error: BaseException | None = None
    raised_by: str | None = None

    def __str__(self) -> str:
        lines = [f"site {self.name!r}" if self.steps else f"no site {self.name!r} was yielded"]
        width = max((len(who) for _, who, _ in self.steps), default=0)
        before: Message | None = None
        for what, who, message in self.steps:
            lines.append(f"  {'↑' if what == 'up' else '↓'} {who:{width}}  {'unchanged' if message is before else repr(message)}")
            before = message
        if self.error is not None:
            lines.append(f"  ✗ {self.raised_by}  {type(self.error).__name__}: {self.error}")
        return "\n".join(lines)

    __repr__ = __str__


def explain(program: Program[Any] | Callable[..., Any], name: str, seed: int = 0, params: ParamStore | None = None) -> Explanation:
    """Runs ``program`` with a probe between any two poutines of its chain, and tells what each did to the site ``name``.

    ``name`` may be the site's name at any height of the chain. An error of the run is part of the explanation. How a plate or a loop of
    that name is entered is not: that is no site.
    """
    probed, seed = Probed.of(as_program(program)), as_seed(seed)
    error: BaseException | None = None
    try:
        run(probed.program, seed, params)
    except Exception as raised:
        error = raised
    visits = (
        visit for visit in probed.visits() if any(message.name == name and not isinstance(message, _ENTRIES) for _, _, message in visit)
    )
    steps = tuple(passing for visit in visits for passing in visit)
    return Explanation(name, steps, error, None if error is None else probed.raised_by())


@attrs.frozen(eq=False)
class Probed(Generic[T]):
    """``program``, for one run, with a probe between any two poutines of its chain. **Law**: the probes change nothing."""

    program: Program[T]
    _people: tuple[str, ...]
    _log: list[tuple[int, str, Message]]
    _left: list[int]

    @classmethod
    def of(cls, program: Program[T]) -> Probed[T]:
        """``program``, which may be handled by any chain of poutines, with probes for one run."""
        log: list[tuple[int, str, Message]] = []
        left: list[int] = []
        poutines, method, inside = _chain(program)
        fn: Callable[..., Any] = _Probe(inside.fn, 0, log, left)
        for height, poutine in enumerate(reversed(poutines), start=1):
            poutine = _rewrapped(poutine, fn)
            whole = poutine if method is None or height < len(poutines) else getattr(poutine, method)
            inside = inside if whole is poutine else Program(poutine.fn, *inside.args, **inside.kwargs)
            fn = _Probe(whole, height, log, left)
        args = inside.args if method is None else (inside, *program.args[1:])
        kwargs = inside.kwargs if method is None else program.kwargs
        people = ("the program", *(type(poutine).__name__ for poutine in reversed(poutines)), "the runtime")
        return cls(Program(fn, *args, **kwargs), people, log, left)

    def visits(self) -> list[tuple[Passing, ...]]:
        """What has passed so far, cut where the program yields: what lies between is one message's way up and down."""
        visits: list[list[Passing]] = []
        for height, what, message in self._log:
            if (height, what) == (0, "up"):
                visits.append([])
            if visits:
                visits[-1].append((what, self._people[height + (what == "down")], message))
        return [tuple(visit) for visit in visits]

    def raised_by(self) -> str:
        """Who raised the error that ended the run."""
        waiting: list[int] = []  # the heights at which a message went up and has not come down
        for height, what, _ in self._log:
            while waiting and waiting[-1] >= height:
                waiting.pop()
            if what == "up":
                waiting.append(height)
        if not waiting:
            return self._people[self._left[0] if self._left else 0]
        height, what, _ = self._log[-1]
        return self._people[height + (what == "up")]

    def forget(self) -> None:
        """Drops all visits but the last, which may go on."""
        last = next((i for i in reversed(range(len(self._log))) if self._log[i][:2] == (0, "up")), 0)
        del self._log[:last]


@attrs.frozen(slots=False, eq=False, repr=False)
class _Probe(Poutine):
    """Notes what passes at its height of the chain: 0 is just outside of the program itself."""

    height: int
    log: list[tuple[int, str, Message]]
    left: list[int]  # the heights that an error has left since

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        try:
            return (yield from super().coroutine(program))
        except Exception:
            self.left.append(self.height)
            raise

    def rules(self) -> Rules:
        def note(what: str) -> Callable[[Message], Message]:
            def passing(message: Message) -> Message:
                self.left.clear()  # somebody has gone on after that
                self.log.append((self.height, what, message))
                return message

            return passing

        return {Message: Rule(up=note("up"), down=note("down"))}


def _chain(program: Program[Any]) -> tuple[list[Poutine], str | None, Program[Any]]:
    """The poutines of a program, outermost first; the method of the outermost that runs it, if it is not called; the program inside them all."""
    fn, inside, method = program.fn, program, None
    owner = getattr(fn, "__self__", None)
    if isinstance(owner, Poutine) and program.args and isinstance(program.args[0], Program):
        fn, inside, method = owner, program.args[0], program.fn.__name__
    poutines: list[Poutine] = []
    while isinstance(fn, Poutine):
        poutines.append(fn)
        fn = fn.fn
    return poutines, method, Program(fn, *inside.args, **inside.kwargs)


def _rewrapped(poutine: Poutine, fn: Callable[..., Any]) -> Poutine:
    clone = copy.copy(poutine)
    clone.__dict__["fn"] = fn
    return clone
