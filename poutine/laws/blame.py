"""Whose an error is that ends a run: the program's, the handler's, or that of what is around both."""

from __future__ import annotations

from collections.abc import Callable
from traceback import extract_tb
from typing import Any, Final

import attrs

from poutine.errors import DuplicateSite, NonlocalExit, ParamError, SiteError, UnusedNames
from poutine.laws.ask import Ask
from poutine.laws.law import Case
from poutine.laws.links import written
from poutine.laws.outcome import Outcome, outcome
from poutine.laws.probes import NotingPoutine
from poutine.messages import EnterMarkov, EnterPlate, Message, Sealed, Site, param_of
from poutine.poutine import Poutine
from poutine.program import Coroutine, Program, Rule, Rules

# By these a handler says that it is not for this program, or that the run is over.
REFUSALS: Final = (SiteError, UnusedNames, NonlocalExit)
Note = Callable[[Any], Message]


def look(
    case: Case,
    handler: Callable[..., Any],
    program: Callable[..., Any],
    seed: int,
    *,
    ask: Note | None = None,
    come: Note | None = None,
    leave: Note | None = None,
    reply: Note | None = None,
) -> Outcome:
    """Runs ``program`` under ``handler``, with a look at what passes; breaks the law of ``case`` where the handler makes the run fail.

    For laws that judge what they have seen: of a run that fails, they would have seen nothing.

    ask, come:     called with what the program yields and with what comes back to it; each returns it, or another in its place.
    leave, reply:  the same of what leaves the handler, and of what comes back to that.

    Nothing that these put in place may be a reason for the program alone to fail.
    """
    blame = Blame()
    inside = NotingPoutine(program, up=ask, down=come)
    found = outcome(NotingPoutine(blame.around(handler, inside), up=leave, down=reply), seed=seed)
    error = blame.fault()
    if error is not None:
        case.broken(f"the end of the run: {told(error)}; model alone, where its sites are the same, returns", written(handler, "model"))
    return found


def check_end(case: Case, found: Outcome, source: str) -> None:
    """Breaks the law of ``case`` where a run, which is judged by what was seen of it, failed; but for a refusal."""
    failure = found.failure
    case.expect(failure is None or issubclass(failure.type, REFUSALS), f"the end of the run: it {failure}", source)


def told(error: BaseException) -> str:
    """An error in a line, with the place where it was raised."""
    place = f" ({where[-1].filename}:{where[-1].lineno})" if (where := extract_tb(error.__traceback__)) else ""
    return f"{type(error).__name__}: {error}{place}"


def is_own(message: Message) -> bool:
    """Whether it is of a type of a user's own."""
    return not isinstance(message, (Site, Sealed, EnterPlate, EnterMarkov, Ask))


class Blame:
    """Notes the errors of one run, on both sides of a handler; and what leaves the handler while it answers a message of a user's own."""

    def __init__(self) -> None:
        self._inside, self._outside = _Errors(), _Errors()
        self._waiting: list[Message] = []
        self._for_own: set[str] = set()
        self._for_sites: set[str] = set()

    def around(self, handler: Callable[..., Any], program: Callable[..., Any]) -> Callable[..., Any]:
        """``program`` under ``handler``, watched."""
        inside = _BlamingPoutine(program, self._inside.left, self._ask, self._inside.note, self._come)
        return _BlamingPoutine(handler(inside), self._outside.left, self._leave, self._throw)

    def fault(self) -> BaseException | None:
        """The error that ended the run, if the handler is to blame for it.

        It is not where it refuses the program (a site, a name, or leaves it), nor for an error of the program's own. What it asks for
        to answer a message of a user's own may be one site twice: the program may send the message twice. A prior for a param it may leave
        to be refused by whoever draws it.
        """
        if not self._outside.left:
            return None
        error = self._outside.left[-1]
        of_the_program = error in self._inside.left and error not in self._inside.thrown
        refused = isinstance(error, REFUSALS) and error not in self._outside.thrown
        twice = isinstance(error, DuplicateSite) and error.name in self._for_own - self._for_sites
        return None if of_the_program or refused or twice else error

    def _ask(self, message: Message) -> None:
        self._waiting.append(message)

    def _come(self, message: Message) -> None:
        self._waiting.pop()

    def _throw(self, message: Message, error: BaseException) -> None:
        lifts = param_of(message) is not None and not (self._waiting and param_of(self._waiting[-1]) is not None)
        if not (lifts and isinstance(error, ParamError)):
            self._outside.note(message, error)

    def _leave(self, message: Message) -> None:
        for_own = bool(self._waiting) and is_own(self._waiting[-1])
        (self._for_own if for_own else self._for_sites).add(message.name)


@attrs.frozen
class _Errors:
    """The errors that were ``thrown`` into a program, and those that have ``left`` it. They are told apart by identity."""

    thrown: list[BaseException] = attrs.field(factory=list)
    left: list[BaseException] = attrs.field(factory=list)

    def note(self, message: Message, error: BaseException) -> None:
        self.thrown.append(error)


@attrs.frozen(slots=False, eq=False, repr=False)
class _BlamingPoutine(Poutine):
    left: list[BaseException]
    ask: Callable[[Message], None]
    thrown: Callable[[Message, BaseException], None]
    come: Callable[[Message], None] | None = None

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        try:
            return (yield from super().coroutine(program))
        except BaseException as error:
            self.left.append(error)
            raise

    def rules(self) -> Rules:
        def around(message: Message) -> Coroutine[Any]:
            self.ask(message)
            try:
                return (yield message)
            except BaseException as error:
                self.thrown(message, error)
                raise
            finally:
                if self.come is not None:
                    self.come(message)

        return {Message: Rule(around=around)}
