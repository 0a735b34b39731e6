"""H, continued. How a run ends under any handler."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from poutine.errors import NonlocalExit
from poutine.handlers.trace import TracePoutine
from poutine.laws.ask import AskingRuntime
from poutine.laws.blame import Blame, told
from poutine.laws.law import ANY, Case, law
from poutine.laws.links import written
from poutine.laws.probes import Failing, error_of
from poutine.laws.watch import OfTheSystem, OfTorch, Several, Watched

_STEPS: Final = st.integers(0, 12)


@law(
    "H23",
    "where p comes to its end, so does h∘p",
    ANY,
    "h may leave it, or refuse it with an error of the library for sites; in one case at least it does neither, and p does not fail of itself; "
    "what h asks for to answer a message of your own, which p may send twice, may be one site twice",
)
def ends(case: Case) -> None:
    program = case.program(first=("sample", *(["message"] if case.messages is not None else [])))
    seed = case.seed()
    handler = case.handler(program)
    if error_of(TracePoutine(program).traced, AskingRuntime(seed)) is not None:
        return  # pragma: no cover  # random programs come to their ends
    source, blame = written(handler, "model"), Blame()
    error = error_of(TracePoutine(blame.around(handler, program)).traced, AskingRuntime(seed))
    if error is None or isinstance(error, NonlocalExit):
        case.shows_something()
        return
    how = told(error)
    case.shows_nothing(f"the end of the run: in none of the cases does it come to its end; here {how}", source)
    case.expect(blame.fault() is None, f"the end of the run: {how}; model alone returns", source)


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


SECTION_H_ENDS: Final = (ends, once)
