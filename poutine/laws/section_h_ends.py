"""H, continued. How a run ends under any handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from hypothesis import strategies as st

from poutine.errors import DuplicateSite, NonlocalExit, SiteError, UnusedNames
from poutine.handlers.trace import TracePoutine
from poutine.laws.ask import AskingRuntime
from poutine.laws.law import ANY, Case, law
from poutine.laws.links import written
from poutine.laws.probes import Failing, error_of
from poutine.laws.watch import OfTheSystem, OfTorch, Several, Watched
from poutine.messages import Message
from poutine.poutine import Poutine
from poutine.program import Coroutine, Program, Rule, Rules

# By these a handler says that it is not for this program, or that the run is over.
REFUSALS: Final = (SiteError, UnusedNames, NonlocalExit)
_STEPS: Final = st.integers(0, 12)


@law(
    "H23",
    "where p comes to its end, so does h∘p",
    ANY,
    "h may leave it, or refuse it with an error of the library for sites; in one case at least it does neither, and p does not fail of itself; "
    "what h makes of messages of your own, which p may send twice, may be one site twice",
)
def ends(case: Case) -> None:
    program = case.program(first=("sample", *(["message"] if case.messages is not None else [])))
    seed = case.seed()
    handler = case.handler(program)
    if error_of(TracePoutine(program).traced, AskingRuntime(seed)) is not None:
        return  # pragma: no cover  # random programs come to their ends
    source, inside, outside = written(handler, "model"), _Errors([], []), _Errors([], [])
    error = error_of(TracePoutine(outside.around(handler(inside.around(program)))).traced, AskingRuntime(seed))
    if error is None or isinstance(error, NonlocalExit):
        case.shows_something()
        return
    how = f"{type(error).__name__}: {error}"
    case.shows_nothing(f"the end of the run: in none of the cases does it come to its end; here {how}", source)
    if isinstance(error, DuplicateSite) and case.messages is not None:
        return
    of_the_program = any(error is left for left in inside.left) and not any(error is thrown for thrown in inside.thrown)
    refused = isinstance(error, REFUSALS) and not any(error is thrown for thrown in outside.thrown)
    case.expect(of_the_program or refused, f"the end of the run: {how}; model alone returns", source)


@law("H26", "h runs p once, however it ends", ANY)
def once(case: Case) -> None:
    program, steps, seed = case.program(cleanup=False), case.draw(_STEPS), case.seed()
    handler = case.handler(program)
    for error in (None, Several(), OfTheSystem(), OfTorch()):
        watched = Watched(program if error is None else Failing(program, steps, error))
        error_of(handler(watched), AskingRuntime(seed))
        how = "" if error is None else f", where the model raises {error!r} at message {steps + 1}"
        case.expect(
            watched.started <= 1, f"the end of the run: the model was run {watched.started} times", f"{written(handler, 'model')}{how}"
        )


@attrs.frozen
class _Errors:
    """Notes the errors that are ``thrown`` into a program, and those that have ``left`` it."""

    thrown: list[BaseException]
    left: list[BaseException]

    def around(self, program: Callable[..., Any]) -> Callable[..., Any]:
        return _NotingErrors(program, self)


@attrs.frozen(slots=False, eq=False, repr=False)
class _NotingErrors(Poutine):
    noted: _Errors

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        try:
            return (yield from super().coroutine(program))
        except BaseException as error:
            self.noted.left.append(error)
            raise

    def rules(self) -> Rules:
        def around(message: Message) -> Coroutine[Any]:
            try:
                return (yield message)
            except BaseException as error:
                self.noted.thrown.append(error)
                raise

        return {Message: Rule(around=around)}


SECTION_H_ENDS: Final = (ends, once)
