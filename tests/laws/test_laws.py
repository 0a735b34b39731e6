"""Every law of the tables, put to every handler that it speaks of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import poutine
from poutine.laws import LAWS, Law, check_law, claims_of, difference, handlers, outcome
from poutine.laws.handlers import CONFIGURATIONS
from poutine.laws.table import ANY_HANDLER
from poutine.laws.witnesses import DO_NOT_COMMUTE, model

KINDS = tuple(CONFIGURATIONS)
CLAIMS = {kind: claims_of(getattr(poutine, kind)) for kind in KINDS}


def commutation(law: Law) -> str | None:
    """The kind with which a handler commutes, if that is what a law says."""
    name = law.name.removeprefix("C.").removesuffix(".inside")
    return name if law.name.startswith("C.") and name in KINDS else None


def of_one_kind() -> list[object]:
    """(law, kind): what any handler must obey, and what each says of itself. Of two that say that they commute, one is enough."""
    pairs = [(law, kind) for kind in KINDS for law in dict.fromkeys((*ANY_HANDLER, *CLAIMS[kind])) if law.generic]
    pairs = [(law, kind) for law, kind in pairs if (other := commutation(law)) is None or KINDS.index(kind) <= KINDS.index(other)]
    return [pytest.param(law, kind, id=f"{law.name}-{kind}") for law, kind in pairs]


@pytest.mark.parametrize(("law", "kind"), of_one_kind())
def test_handler_obeys(law: Law, kind: str):
    check_law(law, lambda program: handlers(program, [kind]))


@pytest.mark.parametrize("law", [law for law in LAWS.values() if not law.generic], ids=lambda law: law.name)
def test_law_holds(law: Law):
    check_law(law)


def test_every_law_is_stated_by_a_handler_or_put_to_all():
    stated = {law for claims in CLAIMS.values() for law in claims} | set(ANY_HANDLER) | set(claims_of(poutine.Poutine))
    about_others = {"D.factor", "D.plate", "R.params", "R.pickle", "H10"}
    assert {law.name for law in LAWS.values()} - {law.name for law in stated} <= about_others


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_states_only_laws_that_are_put_to_it(kind: str):
    """What it states is run here: as a generic law, or as one that is put to handlers of this kind or names it in ``about``."""
    for law in CLAIMS[kind]:
        assert law.generic or kind in law.put_to or re.search(rf"\b{kind}s?\b", law.about), law


@pytest.mark.parametrize("i", range(len(KINDS)), ids=KINDS.__getitem__)
def test_every_pair_of_handlers_says_whether_it_commutes(i: int):
    for other in KINDS[i:]:
        both = {(KINDS[i], other), (other, KINDS[i])}
        commutes = [kind for kind, with_kind in both if LAWS[f"C.{with_kind}"] in CLAIMS[kind]]
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
        assert law.name == name and law.equation and law.about
        assert law.equation in repr(law)
