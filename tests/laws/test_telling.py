"""Laws are not vacuous: of the cases that are drawn for a law, in how many its handlers do something; and a minimum of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from poutine import Poutine
from poutine.laws import LAWS, Case, Law, difference, outcome
from poutine.laws.law import Side
from poutine.laws.links import Wrap

# They change nothing, whatever they are around (but for plates without broadcasting, which random programs do not have).
PASSIVE = {"TracePoutine", "BroadcastPoutine", "Poutine"}

# Of two around one another, the order matters: both have something to say of one name.
IN_CONFLICT = {"I.outer-wins", "I.do", "I.lift", "I.seed", "I.infer_config", "I.replay"}


class Measured(Case):
    """A case that notes whether it tells anything."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.telling: bool | None = None
        self.wrapped: list[tuple[Wrap, Callable[..., Any]]] = []

    def handler(self, program: Callable[..., Any]) -> Wrap:
        wrap = super().handler(program)
        self.wrapped.append((wrap, program))
        return wrap

    def link(self, kind: str, **options: Any) -> Any:
        wrap = super().link(kind, **options)
        self.wrapped += [(wrap, self._programs[0])] if self._programs else []
        return wrap

    def agree(self, left: Side, right: Side, seed: int | None = None) -> None:
        super().agree(left, right, seed)
        layers, bare = peeled(left.fn)
        if self.law.name in IN_CONFLICT and len(layers) > 1:
            self.note(difference(outcome(again(layers, bare)), outcome(again(layers[::-1], bare))) is not None)
        else:
            self.note(all(acts(lambda fn, each=each: attrs.evolve(each, fn=fn), bare) for each in layers))

    def note(self, telling: bool) -> None:
        self.telling = telling or bool(self.telling)

    @property
    def told(self) -> bool:
        """What ``agree`` noted or, without it, whether all handlers act; a program without a site tells nothing."""
        if not any(outcome(program).sites for program in self._programs):
            return not self._programs
        if self.telling is not None:
            return self.telling
        return all(acts(wrap, program) for wrap, program in self.wrapped)


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


def acts(wrap: Callable[[Any], Any], program: Any) -> bool:
    wrapped = wrap(program)
    if type(wrapped).__name__ in PASSIVE or not callable(program):
        return True
    return difference(outcome(wrapped), outcome(program)) is not None


def share_of(law: Law, number: int) -> float:
    """In how many cases of a hundred the law tells something."""
    told = []

    @settings(max_examples=number, phases=[Phase.generate], deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @seed(0)
    @given(st.data())
    def look(data):
        case = Measured(law, data.draw)
        law.check(case)
        told.append(case.told)

    look()
    return 100 * sum(told) / len(told)


# Laws of sections I and B of which the handlers need not act for the law to say something, and why.
ELSEWHERE = {
    "I.neutral": "its handlers do nothing, which is what it says",
    "I.idempotent": "it is about any handler",
    "B.isolates": "it is about any handler",
}
LEAST = 25


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LAWS if name[:2] in ("I.", "B.") and name not in ELSEWHERE])
def test_a_law_tells_something(name: str):
    share = share_of(LAWS[name], 12)
    assert share >= LEAST, f"{share:.0f} of 100 cases"
