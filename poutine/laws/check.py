"""check_laws: puts a handler of your own to the laws."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure

from poutine.laws.claims import claims_of
from poutine.laws.law import Case, Law, LawBroken, Subject
from poutine.laws.links import Wrap
from poutine.laws.table import ANY_HANDLER, LAWS


def check_laws(handler: Wrap, laws: Iterable[str] | None = None, max_examples: int | None = None) -> None:
    """Puts ``handler`` to the laws of any handler and to those that its docstring names, on random programs.

    ::

        def test_doubled():
            check_laws(Doubled)                     # a poutine without options
            check_laws(noisy(level=2.0))            # or what makes one of what it wraps

    handler:       is called with what it wraps.
    laws:          names of laws (keys of ``LAWS``) instead of these.
    max_examples:  random cases for each law; that of the Hypothesis profile in use by default.

    Raises ``LawBroken``, whose text names the law, both sides, the smallest program that was found and the first difference;
    ``ValueError`` for a law that is about other handlers.
    """
    for law in laws_of(handler) if laws is None else tuple(map(_known, laws)):
        if not law.generic:
            raise ValueError(f"{law!r} is about {law.about}, and cannot be put to another handler")
        check_law(law, lambda program: st.just(handler), max_examples)


def laws_of(handler: Wrap) -> tuple[Law, ...]:
    """What ``check_laws`` puts a handler to: what any handler must obey, and what it says of itself."""
    return tuple(dict.fromkeys((*ANY_HANDLER, *claims_of(handler))))


def check_law(law: Law, subject: Subject | None = None, max_examples: int | None = None, shrink: bool = True) -> None:
    """Puts one law to random cases; ``subject`` is the strategy of the handlers, for the generic laws. Raises ``LawBroken``."""
    phases = tuple(phase for phase in Phase if shrink or phase in (Phase.explicit, Phase.generate))
    count = settings.default.max_examples if max_examples is None else max_examples  # type: ignore[union-attr]

    @settings(
        max_examples=count, phases=phases, deadline=None, database=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False
    )
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        law.check(Case(law, data.draw, subject))

    try:
        holds()
    except LawBroken as broken:
        _report(broken)
    except FlakyFailure as flaky:
        # It failed, and then held in the same case: what is remembered from run to run makes the difference.
        broken_ones = [error for error in flaky.exceptions if isinstance(error, LawBroken)]
        if not broken_ones:
            raise  # pragma: no cover  # an error of another kind that comes and goes is shown as it is
        _report(broken_ones[0])


def _report(broken: LawBroken) -> NoReturn:
    """Without Hypothesis's notes on how it came to the case: the text says it all."""
    raise LawBroken(*broken.args) from None


def _known(name: str) -> Law:
    try:
        return LAWS[name]
    except KeyError:
        raise ValueError(f"there is no law {name!r}; there are {', '.join(LAWS)}") from None
