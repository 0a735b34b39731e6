"""Every law of the tables, put to every handler that it speaks of."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

import poutine
from poutine.laws import LAWS, Law, check_law, claims_of, difference, outcome
from poutine.laws.handlers import CONFIGURATIONS
from poutine.laws.law import ANY
from poutine.laws.table import ANY_HANDLER
from poutine.laws.witnesses import DO_NOT_COMMUTE, model

KINDS = tuple(CONFIGURATIONS)
CLAIMS = {kind: claims_of(getattr(poutine, kind)) for kind in KINDS}
OF_ANY = {law for law in LAWS.values() if law.put_to == ANY}


def commutation(law: Law) -> str | None:
    """The kind with which a handler commutes, if that is what a law says."""
    name = law.name.removeprefix("C.").removesuffix(".inside")
    return name if law.name.startswith("C.") and name in KINDS else None


SLOW = (pytest.mark.slow,)


def of_one_kind() -> list[object]:
    """(law, kind): what any handler must obey, and what each says of itself. Of two that say that they commute, one is enough."""
    pairs = [(law, kind) for kind in KINDS for law in CLAIMS[kind].all if law in OF_ANY]
    pairs = [(law, kind) for law, kind in pairs if (other := commutation(law)) is None or KINDS.index(kind) <= KINDS.index(other)]
    return [pytest.param(law, kind, id=f"{law.name}-{kind}", marks=SLOW * (law.name == "H11")) for law, kind in pairs]


@pytest.mark.parametrize(("law", "kind"), of_one_kind())
def test_handler_obeys(law: Law, kind: str):
    # A law of any handler is put to sixteen kinds: it has cases enough with half for each.
    examples = settings.default.max_examples
    check_law(law, getattr(poutine, kind), examples // 2 if law in ANY_HANDLER else examples)


def of_several_kinds() -> list[object]:
    laws = [law for law in LAWS.values() if law not in OF_ANY]
    return [pytest.param(law, id=law.name, marks=SLOW * (law.name in ("H10", "I.neutral", "I.do"))) for law in laws]


@pytest.mark.parametrize("law", of_several_kinds())
def test_law_holds(law: Law):
    check_law(law)


def test_every_law_is_stated_by_a_handler_or_put_to_all():
    stated = {law for claims in CLAIMS.values() for law in claims.obeys} | set(ANY_HANDLER)
    about_others = {law for law in LAWS.values() if not law.put_to}
    assert set(LAWS.values()) - stated == about_others | {LAWS["H10"]}
    assert {law.name for law in about_others} == {"D.factor", "D.plate", "R.constrain", "R.keys", "R.observed", "R.params", "R.pickle"}
    assert claims_of(poutine.Poutine).obeys == (LAWS["H1"],)


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_states_only_laws_that_can_be_put_to_it(kind: str):
    assert all(law.speaks_of(kind) for law in CLAIMS[kind].obeys)


@pytest.mark.parametrize("i", range(len(KINDS)), ids=KINDS.__getitem__)
def test_every_pair_of_handlers_says_whether_it_commutes(i: int):
    for other in KINDS[i:]:
        both = {(KINDS[i], other), (other, KINDS[i])}
        commutes = [kind for kind, with_kind in both if LAWS[f"C.{with_kind}"] in CLAIMS[kind].obeys]
        witnessed = both & DO_NOT_COMMUTE.keys()
        assert bool(commutes) != bool(witnessed), f"{KINDS[i]} and {other}: commute according to {commutes}; witnesses {witnessed}"


@pytest.mark.parametrize(("one", "other"), DO_NOT_COMMUTE.values(), ids=map("-".join, DO_NOT_COMMUTE))
def test_a_witness_shows_that_two_do_not_commute(one, other):
    assert difference(outcome(one(other(model))), outcome(other(one(model)))) is not None


def test_every_handler_of_the_library_has_random_options():
    files = {path.stem for path in (Path(poutine.__file__).parent / "handlers").glob("[!_]*.py")}
    assert files == set(KINDS)


def test_the_table_is_in_the_order_of_the_sections_and_says_what_each_law_is():
    sections = [name[0] for name in LAWS]
    assert "".join(dict.fromkeys(sections)) == "HIBCRDK"
    assert sections == sorted(sections, key="HIBCRDK".index)
    for name, law in LAWS.items():
        assert law.name == name and law.equation and (law.about or not law.put_to)
        assert law.equation in repr(law)
