"""check_laws, as a user meets it; and its report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import pytest
import torch
from hypothesis import strategies as st

from poutine import Message, Poutine, Rule, Sample, ScalePoutine, chain, run, scale
from poutine.laws import LAWS, LawBroken, Link, check_law, check_laws, claims_of, law, laws_of, link, outcome
from poutine.laws.links import Chain, written
from poutine.laws.table import ANY_HANDLER


@attrs.frozen(slots=False, eq=False, repr=False)
class Doubled(Poutine):
    """Gives the program every sample twice as large. It keeps nothing between sites (H4), and hidden ones stay (B.isolates)."""

    def rules(self):
        return {Sample: Rule(down=lambda site: site.evolve(value=2 * site.value))}


@pytest.mark.slow
def test_a_handler_of_the_users_own():
    check_laws(Doubled)


@attrs.frozen(slots=False, eq=False, repr=False)
class Tell(Message):
    """A message type of the user's own."""

    type: ClassVar[str] = "tell"


@attrs.frozen(slots=False, eq=False, repr=False)
class Telling(Poutine):
    """Answers ``Tell`` with the number of samples so far."""

    def rules(self):
        seen = []

        def tell(message):
            return message.evolve(value=len(seen))
            yield  # it yields nothing, but is a generator

        return {Sample: Rule(down=lambda site: seen.append(site.name) or site), Tell: Rule(around=tell)}


@pytest.mark.slow
def test_a_handler_of_the_users_own_message():
    def model():
        yield Sample("x", torch.distributions.Normal(0.0, 1.0))
        return (yield Tell("count"))

    assert run(Telling(model)()) == 1
    check_laws(Telling)


class Wrong(Doubled):
    """It is not idempotent, whatever it says (I.idempotent)."""


def test_the_report_shows_the_law_both_sides_the_smallest_program_and_the_first_difference():
    with pytest.raises(LawBroken) as caught:
        check_laws(Wrong, laws=["I.idempotent"], max_examples=100)
    text = str(caught.value)
    assert text.startswith("law I.idempotent does not hold: h∘h∘p ≈ h∘p\n")
    assert "left:   Wrong(Wrong(model))\n  right:  Wrong(model)\n" in text
    assert "first difference, at the returned value: value\n    left:  " in text
    assert text.rstrip().endswith('with the program\ndef model():\n    x_1 = yield Sample("x_1", Normal(0.0, 1.0))\n    return x_1')
    assert not getattr(caught.value, "__notes__", None), "nothing of Hypothesis's own is in the way"


def test_what_is_said_of_a_handler_is_what_is_checked():
    assert laws_of(Doubled) == (*ANY_HANDLER, LAWS["H4"], LAWS["B.isolates"])
    assert claims_of(Wrong) == (LAWS["I.idempotent"],)
    assert LAWS["I.scale"] in claims_of(scale) and claims_of(scale) == claims_of(ScalePoutine) == claims_of(scale(scale=2.0))
    assert claims_of(scale(lambda: None, scale=2.0)) == claims_of(scale)
    assert claims_of(lambda fn: Doubled(fn)) == ()


def test_a_law_that_is_not_there_is_an_error():
    def unlawful(fn: Callable[..., Any]) -> Poutine:
        """It obeys (Z.nothing), which is no name of a law, and (C.nothing), which is like one."""
        return Doubled(fn)

    with pytest.raises(KeyError, match="C.nothing"):
        claims_of(unlawful)
    with pytest.raises(ValueError, match="there is no law 'H99'"):
        check_laws(Doubled, laws=["H99"])


def test_a_law_about_other_handlers_cannot_be_put_to_this_one():
    with pytest.raises(ValueError, match="is about scale"):
        check_laws(Doubled, laws=["I.scale"])


class Forgetful(Poutine):
    """Is wrong now and then."""

    runs: ClassVar[list[None]] = []

    def rules(self):
        self.runs.append(None)
        return {Sample: Rule(up=lambda site: site.evolve(scale=2.0))} if len(self.runs) % 8 < 4 else {}


@pytest.mark.slow
def test_a_failure_that_does_not_come_again_is_reported_all_the_same():
    with pytest.raises(LawBroken, match="law I.idempotent does not hold"):
        check_laws(Forgetful, laws=["I.idempotent"], max_examples=200)


def test_links_print_as_they_are_written():
    handlers = link("condition", data={"x": torch.tensor(1.0)}), link("scale", scale=2.0)
    assert repr(handlers[0]) == "condition(data={'x': torch.tensor(1.)})"
    assert repr(Chain(handlers)) == "chain(condition(data={'x': torch.tensor(1.)}), scale(scale=2.0))"
    assert written(Chain(handlers), "model") == "scale(condition(model, data={'x': torch.tensor(1.)}), scale=2.0)"
    assert written(scale(scale=2.0), "model") == "ScalePoutine(model, scale=2.0)"
    assert written(Doubled, "model") == "Doubled(model)"
    assert handlers[1] == Link("scale", ScalePoutine, {"scale": 2.0}) != handlers[0]


def test_a_chain_is_its_links_around_one_another():
    def model():
        return (yield Sample("x", torch.distributions.Normal(0.0, 1.0)))

    links = (link("scale", scale=2.0), link("scope", prefix="a"))
    assert Chain(links)(model) == chain(model, *links)


def test_a_law_of_the_users_own():
    @law("quiet", "h∘p has no sites", "handlers that hide all", put_to=("block",))
    def quiet(case):
        program = case.program()
        handler = case.handler(program)
        case.expect(not outcome(handler(program)).sites, "it lets sites through", repr(handler))

    with pytest.raises(LawBroken, match="quiet"):
        check_law(quiet, max_examples=50, shrink=False)
    check_law(quiet, lambda program: st.just(link("block")), max_examples=50)
