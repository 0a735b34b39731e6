"""Laws are not vacuous: of the cases that are drawn for a law, in how many its handlers do something; and a minimum of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import poutine
from poutine import Poutine
from poutine.laws import LAWS, Case, Law, Link, Outcome, Subject, claims_of, difference, outcome
from poutine.laws.handlers import CONFIGURATIONS
from poutine.laws.law import ANY, Side
from poutine.laws.links import Wrap

# They change nothing, whatever they are around (but for plates without broadcasting, which random programs do not have).
PASSIVE = {"TracePoutine", "BroadcastPoutine", "Poutine"}

# Of two around one another, the order matters: both have something to say of one name.
IN_CONFLICT = {"I.outer-wins", "I.do", "I.lift", "I.seed", "I.infer_config", "I.replay", "R.uncondition"}


@attrs.frozen(eq=False, repr=False)
class Recorded(Link):
    """A link that keeps what it is put around."""

    applied: list[tuple[Link, Any]]

    def __call__(self, fn: Callable[..., Any]) -> Poutine:
        self.applied.append((self, fn))
        return super().__call__(fn)


class Measured(Case):
    """A case that notes whether it tells anything."""

    def __init__(self, *args: Any) -> None:
        self.telling: bool | None = None
        self.compared = 0
        self.applied: list[tuple[Link, Any]] = []
        super().__init__(*args)

    def handler(self, program: Callable[..., Any]) -> Wrap:
        return self.recorded(super().handler(program))

    def another(self, program: Callable[..., Any]) -> Link:
        return self.recorded(super().another(program))

    def link(self, kind: str, **options: Any) -> Link:
        return self.recorded(super().link(kind, **options))

    def recorded(self, made: Any) -> Recorded:
        return Recorded(made.name, made.poutine, made.options, self.applied)

    def agree(self, left: Side, right: Side, seed: int | None = None) -> None:
        super().agree(left, right, seed)
        layers, bare = peeled(left.fn)
        if self.law.name in IN_CONFLICT and len(layers) > 1:
            self.note(difference(outcome(again(layers, bare)), outcome(again(layers[::-1], bare))) is not None)
        else:
            self.note(all(acts(lambda fn, each=each: attrs.evolve(each, fn=fn), bare) for each in layers))

    def equal(self, left: Any, right: Any, *sources: str) -> None:
        self.compared += 1
        super().equal(left, right, *sources)

    def same(self, what: str, left: Any, right: Any, *sources: str) -> None:
        self.compared += 1
        super().same(what, left, right, *sources)

    def expect(self, holds: bool, otherwise: str, *sources: str) -> None:
        self.compared += 1
        super().expect(holds, otherwise, *sources)

    def note(self, telling: bool) -> None:
        self.telling = telling or bool(self.telling)

    @property
    def told(self) -> bool:
        """What ``agree`` noted or, without it, whether something was compared and each kind of handler acts somewhere."""
        if self._programs and not any(map(has_sites, self._programs)):
            return False
        if self.telling is not None:
            return self.telling
        applied = [*self.applied]
        kinds = {wrap.name for wrap, _ in applied}
        return self.compared > 0 and all(any(acts(wrap, fn) for wrap, fn in applied if wrap.name == kind) for kind in kinds)


def peeled(fn: Any) -> tuple[list[Poutine], Any]:
    """The poutines around a program, outermost first, and the program."""
    layers = []
    while isinstance(fn, Poutine):
        layers.append(fn)
        fn = fn.fn
    return layers, fn


def again(layers: list[Poutine], fn: Any) -> Any:
    for layer in reversed(layers):
        fn = attrs.evolve(layer, fn=fn)
    return fn


def has_sites(program: Any) -> bool:
    found = outcome(program)
    return bool(found.sites) or takes_arguments(found)


def takes_arguments(found: Outcome) -> bool:
    """As the parts of plates do; nothing more can be said of them here."""
    return found.failure is not None and found.failure.type in (TypeError, ValueError) and not found.sites


def acts(wrap: Callable[[Any], Any], program: Any) -> bool:
    wrapped = wrap(program)
    if type(wrapped).__name__ in PASSIVE or not callable(program):
        return True
    bare = outcome(program)
    return takes_arguments(bare) or difference(outcome(wrapped), bare) is not None


def share_of(law: Law, number: int) -> float:
    """In how many cases of a hundred the law tells something; what is about any handler is put to one that states it, and acts."""
    told = []
    stating = [kind for kind in CONFIGURATIONS if kind not in ("trace", "broadcast") and law in claims_of(getattr(poutine, kind)).obeys]

    @settings(max_examples=number, phases=[Phase.generate], deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @seed(0)
    @given(st.data())
    def look(data):
        subject = Subject.of(getattr(poutine, data.draw(st.sampled_from(stating)))) if law.put_to == ANY else None
        case = Measured(law, data.draw, subject)
        law.check(case)
        told.append(case.told)

    look()
    return 100 * sum(told) / len(told)


# Laws of which the handlers need not act for the law to say something, and why.
ELSEWHERE = {
    "I.neutral": "its handlers do nothing, which is what it says",
    "I.idempotent": "it is about any handler",
    "B.isolates": "it is about any handler",
    "C.broadcast": "random programs have no plates that are not broadcast",
    "C.lifted-names": "condition must not act inside of lift, which is what it says",
    "R.draws": "its handlers give what is drawn anyway: that nothing moves is what it says",
    "R.partial": "likewise",
    "R.prefix": "likewise",
}
LEAST = 25
LEAST_OF_TWO = 15  # where two random handlers must both do something, or of two random sites one depend on the other


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LAWS if name[0] in "IBCRDK" and name not in ELSEWHERE])
def test_a_law_tells_something(name: str):
    share = share_of(LAWS[name], 100)  # of fewer, most are those of the smallest program
    assert share >= (LEAST_OF_TWO if name.startswith("C.") or name == "K.provenance" else LEAST), f"{share:.0f} of 100 cases"
