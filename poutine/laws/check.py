"""check_laws: puts a handler of your own to the laws."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from time import monotonic
from typing import Any, Final, NoReturn

import attrs
import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure, HypothesisException

from poutine.laws.claims import claims_of
from poutine.laws.law import Case, Law
from poutine.laws.links import Wrap
from poutine.laws.report import LawBroken
from poutine.laws.settings import kept, warned_once
from poutine.laws.subject import Subject
from poutine.laws.table import LAWS
from poutine.messages import Message

BUDGET: Final = 40
_FIRST: Final = ("H11", "H23")  # what fails, or changes what is around it, breaks others, too, and they would say less well what is wrong
_SHRINKING: Final = 30.0  # seconds; then the smallest program so far is told
Messages = Iterable[Message] | st.SearchStrategy[Message]


def check_laws(
    handler: Wrap,
    laws: Iterable[str] | None = None,
    max_examples: int | None = None,
    *,
    messages: Messages | None = None,
    seed: int | None = None,
) -> None:
    """Puts ``handler`` to the laws of any handler and to those that its docstring states (``**Obeys**: H4.``), on random programs.

    ::

        def test_doubled():
            check_laws(Doubled)                         # a poutine without options
            check_laws(lambda fn: Noisy(fn, level=2.0)) # or what makes one of what it wraps
            check_laws(Telling, messages=[Tell("x")])   # the programs send messages of your own, too

    handler:       is called with what it wraps. A class of the library, or derived from one, gets random options; a handler that is
                   ``strict`` about names is taken not to be, since random programs do not have them.
    laws:          names of laws (keys of ``LAWS``) instead of these.
    max_examples:  random cases for each law; by default 40, or that of the Hypothesis profile in use if it is less.
    messages:      of your own types, or a Hypothesis strategy of them. What ``handler`` does not answer is answered outside: with 0.0, 1.0,
                   2.0 and 3.0 in turn, so that an answer that is kept may be out of date.
    seed:          of the random cases: the same gives the same. By default it is another each time, or 0 where the Hypothesis profile in use
                   is ``derandomize``. A report gives it.

    Raises ``LawBroken``, whose text names the law, both sides, the smallest program that was found and the first difference; before
    anything runs, ``ValueError`` for a law that cannot be put to ``handler`` and ``TypeError`` if that needs options.
    """
    if isinstance(laws, str):
        raise TypeError(f"expected names of laws, got {laws!r}; write [{laws!r}]")
    if max_examples is not None and max_examples < 1:
        raise ValueError(f"expected at least one example for each law as max_examples, got {max_examples!r}")
    subject = Subject.of(handler)
    wanted = laws_of(handler) if laws is None else tuple(map(_known, laws))
    unfit = [law for law in wanted if not law.speaks_of(subject.kind)]
    if unfit:
        raise ValueError(
            f"{getattr(handler, '__name__', handler)!r} cannot be put to {', '.join(f'{law.name} (about {law.about})' for law in unfit)}: "
            "it is no such handler, and derives from none"
        )
    profile: Any = settings.default
    with warned_once():
        for law in sorted(wanted, key=lambda law: law.name not in _FIRST):
            check_law(
                law, subject, min(profile.max_examples, BUDGET) if max_examples is None else max_examples, messages=messages, seed=seed
            )


def laws_of(handler: Wrap) -> tuple[Law, ...]:
    """What ``check_laws`` puts a handler to: what any handler must obey, but for what it states to break, and what it states to obey."""
    return claims_of(handler).all


def check_law(
    law: Law,
    subject: Subject | Wrap | None = None,
    max_examples: int | None = None,
    shrink: bool = True,
    *,
    messages: Messages | None = None,
    seed: int | None = None,
) -> None:
    """Puts one law to random cases, of ``subject`` or, without it, of the library's handlers that it is about. Raises ``LawBroken``."""
    known = subject if subject is None or isinstance(subject, Subject) else Subject.of(subject)
    profile: Any = settings.default
    seed = (0 if profile.derandomize else int.from_bytes(os.urandom(4))) if seed is None else seed
    examples = profile.max_examples if max_examples is None else max_examples
    sent, numbers = _strategy(messages), count()
    said: list[Case] = []
    shrinking = _Shrinking()

    @settings(
        max_examples=examples,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),  # no explanations: they take minutes, and nobody sees them
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @hypothesis.seed(seed)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        case = Case(law, data.draw, known, sent, is_first=next(numbers) == 0)
        with shrinking.noting():
            try:
                with kept():
                    law.check(case)
            except (LawBroken, HypothesisException):
                raise
            except Exception as error:
                case.broken_by(error)
        if case.shown or case.vacuous is not None:
            said.append(case)

    again = f"check_laws(..., laws=[{law.name!r}], max_examples={examples}, seed={seed})"
    try:
        with kept(patched=True), warned_once():
            holds()
        _check_telling(said)
    except LawBroken as broken:
        _report(broken, again)
    except _Enough:
        _report(_smallest(shrinking.found), again)
    except FlakyFailure as flaky:
        # It failed, and then held in the same case: what is remembered from run to run makes the difference.
        broken_ones = [error for error in flaky.exceptions if isinstance(error, LawBroken)]
        if not broken_ones:
            raise  # pragma: no cover  # an error of another kind that comes and goes is shown as it is
        _report(broken_ones[0], again)


class _Enough(BaseException):
    """Ends Hypothesis's search, which takes no ``Exception`` for that."""


class _Shrinking:
    """Notes the failures that are ``found``, and for how long smaller ones are looked for."""

    def __init__(self) -> None:
        self.found: list[LawBroken] = []
        self._until = float("inf")

    @contextmanager
    def noting(self) -> Iterator[None]:
        try:
            yield
        except LawBroken as broken:
            self._until = self._until if self.found else monotonic() + _SHRINKING
            self.found.append(broken)
            raise
        if monotonic() > self._until:  # in a case that holds: Hypothesis checks that what has failed does so again
            raise _Enough


def _smallest(several: list[LawBroken]) -> LawBroken:
    return min(several, key=lambda broken: len(repr(broken.programs)))


def _check_telling(said: list[Case]) -> None:
    """A law that asks for a case that shows something holds for want of one otherwise."""
    vacuous = [case.vacuous for case in said if case.vacuous is not None]
    if vacuous and not any(case.shown for case in said):
        raise _smallest(vacuous)


def _report(broken: LawBroken, again: str) -> NoReturn:
    """Without Hypothesis's notes on how it came to the case: the text says it all."""
    raise LawBroken(broken.law, attrs.evolve(broken.finding, again=again)) from broken.__cause__


def _strategy(messages: Messages | None) -> st.SearchStrategy[Message] | None:
    if messages is None or isinstance(messages, st.SearchStrategy):
        return messages
    return st.sampled_from(list(messages))


def _known(name: str) -> Law:
    try:
        return LAWS[name]
    except KeyError:
        raise ValueError(f"there is no law {name!r}; there are {', '.join(LAWS)}") from None
