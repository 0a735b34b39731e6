"""check_laws, as a user meets it; and its report."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any, ClassVar

import attrs
import pytest
import torch
from hypothesis import Phase, find, settings
from hypothesis import strategies as st

from poutine import Handling, Message, Poutine, Rule, Sample, ScalePoutine, Site, block, chain, mask, run, scale
from poutine.equality import same
from poutine.laws import (
    LAWS,
    Claims,
    Difference,
    LawBroken,
    Link,
    check_law,
    check_laws,
    claims_of,
    difference,
    law,
    laws_of,
    link,
    outcome,
    programs,
)
from poutine.laws.links import Chain, written
from poutine.laws.probes import AskingRuntime, NotingPoutine, error_of
from poutine.laws.section_h_sites import _meaning, _written_otherwise
from poutine.laws.table import ANY_HANDLER


@attrs.frozen(slots=False, eq=False, repr=False)
class Doubled(Poutine):
    """Gives the program every sample twice as large. It keeps nothing between sites, and hidden ones stay.

    **Obeys**: H4, B.isolates.
    """

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
    """It is not idempotent, whatever it says.

    **Obeys**: I.idempotent.
    """


@pytest.mark.slow
def test_the_report_shows_the_law_both_sides_the_smallest_program_and_the_first_difference():
    with pytest.raises(LawBroken) as caught:
        check_laws(Wrong, laws=["I.idempotent"], max_examples=100, seed=0)
    text = str(caught.value)
    assert text.startswith("law I.idempotent does not hold: h∘h∘p ≈ h∘p\n")
    assert "left:   Wrong(Wrong(model))\n  right:  Wrong(model)\n" in text
    assert "first difference, at the returned value: value\n    left:  " in text
    assert 'with the program\ndef model():\n    x_1 = yield Sample("x_1", Normal(0.0, 1.0))\n    return x_1\n' in text
    assert text.endswith("again:  check_laws(..., laws=['I.idempotent'], max_examples=100, seed=0)")
    assert not getattr(caught.value, "__notes__", None), "nothing of Hypothesis's own is in the way"
    (program,) = caught.value.programs  # as a value: to run it again, or to keep its source
    assert difference(outcome(Wrong(Wrong(program))), outcome(Wrong(program))) is not None


class Forgiving(Poutine):
    """Turns every error into None.

    **Obeys**: I.idempotent; H4,
        C.scale.
    **Breaks**: H7, because errors are its values.
    """

    def coroutine(self, program):
        try:
            return (yield Handling(program, {}))
        except Exception:
            return None


def test_what_a_handler_states_is_what_it_is_put_to():
    assert laws_of(Doubled) == (*ANY_HANDLER, LAWS["H4"], LAWS["B.isolates"])
    assert claims_of(Wrong).obeys == (LAWS["I.idempotent"],)
    assert claims_of(scale) == claims_of(ScalePoutine) == claims_of(scale(scale=2.0)) == claims_of(scale(lambda: None, scale=2.0))
    assert LAWS["I.scale"] in claims_of(scale).obeys
    assert claims_of(lambda fn: Doubled(fn)) == claims_of(partial(Doubled)) == claims_of(Doubled)


def test_a_handler_may_state_that_it_breaks_a_law_of_any_handler():
    assert claims_of(Forgiving) == Claims((LAWS["I.idempotent"], LAWS["H4"], LAWS["C.scale"]), ((LAWS["H7"], "errors are its values"),))
    assert laws_of(Forgiving) == (*(law for law in ANY_HANDLER if law.name != "H7"), *claims_of(Forgiving).obeys)


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("**Obeys**: Z.nothing.", "states 'Z.nothing', which is no law; near to it are"),
        ("**Obeys**: H4 and I.idempotent.", "states 'H4 and I.idempotent', which is no law"),
        ("Obeys: H4", "'H4' has no end; put a full stop after it"),
        ("**Obeys** H4.", r"Obeys 'H4' states nothing; write `\*\*Obeys\*\*: ...`, with a colon"),
        ("**Breaks** H7, because.", "Breaks 'H7, because' states nothing"),
        ("**Obeys**: H5.", "states H5, which any handler must obey: leave it out"),
        ("**Breaks**: H7.", "'H7' gives no reason; write"),
        (
            "It is so. **Breaks**: H7, because it is.",
            r"Breaks states nothing in 'It is so. \*\*Breaks\*\*: H7, because it is.'; begin a line with it",
        ),
        ("- **Obeys:** H4.", "Obeys states nothing in '- "),
        ("**Breaks**: I.scale, because it adds.", "states that it breaks I.scale, which no handler need obey"),
    ],
)
def test_a_statement_that_is_none_is_an_error(statement: str, error: str):
    def unlawful(fn: Callable[..., Any]) -> Poutine:
        return Doubled(fn)

    unlawful.__doc__ = f"It wraps.\n\n    {statement}\n"
    with pytest.raises(ValueError, match=error):
        check_laws(unlawful)


def test_the_colon_may_be_bold_too():
    def wrap(fn: Callable[..., Any]) -> Poutine:
        """It wraps.

        **Obeys:** H4, C.scale.
        """
        return Doubled(fn)

    assert claims_of(wrap) == Claims((LAWS["H4"], LAWS["C.scale"]))


def test_what_is_no_list_of_laws_and_no_number_of_examples_is_said_to_be_none():
    with pytest.raises(TypeError, match=r"expected names of laws, got 'H4'; write \['H4'\]"):
        check_laws(Doubled, laws="H4")
    with pytest.raises(ValueError, match="expected at least one example for each law as max_examples, got 0"):
        check_laws(Doubled, max_examples=0)


def test_prose_about_laws_states_nothing():
    def wrap(fn: Callable[..., Any]) -> Poutine:
        """It has to do with H4, and whoever (I.scale) obeys: H10.

        Obeys nobody. One writes `**Obeys**: H4.` for that.
        """
        return Poutine(Poutine(fn))

    assert claims_of(wrap) == Claims()


def test_a_law_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="there is no law 'H99'"):
        check_laws(Doubled, laws=["H99"])


def test_a_law_about_other_handlers_cannot_be_put_to_this_one():
    class Louder(Doubled):
        """**Obeys**: D.scale, I.idempotent."""

        def rules(self):
            raise AssertionError("nothing runs before it is said")

    with pytest.raises(ValueError, match=r"'Louder' cannot be put to D.scale \(about scale: p may be in a plate"):
        check_laws(Louder)
    with pytest.raises(ValueError, match=r"cannot be put to I.scale \(about scale\), R.params"):
        check_laws(Doubled, laws=["I.scale", "R.params"])


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
    assert repr(handlers[0]) == "condition(data={'x': torch.tensor(1.0)})"
    assert repr(Chain(handlers)) == "chain(condition(data={'x': torch.tensor(1.0)}), scale(scale=2.0))"
    assert written(Chain(handlers), "model") == "scale(condition(model, data={'x': torch.tensor(1.0)}), scale=2.0)"
    assert written(scale(scale=2.0), "model") == "ScalePoutine(model, scale=2.0)"
    assert written(Doubled, "model") == "Doubled(model)"
    assert handlers[1] == Link("scale", ScalePoutine, {"scale": 2.0}) != handlers[0]


def test_a_chain_is_its_links_around_one_another():
    def model():
        return (yield Sample("x", torch.distributions.Normal(0.0, 1.0)))

    links = (link("scale", scale=2.0), link("scope", prefix="a"))
    assert Chain(links)(model) == chain(model, *links)


def test_a_law_of_the_users_own():
    @law("quiet", "h∘p has no sites", ("block",), "without options")
    def quiet(case):
        program = case.program()
        handler = case.handler(program)
        case.expect(not outcome(handler(program)).sites, "it lets sites through", repr(handler))

    with pytest.raises(LawBroken, match="quiet"):
        check_law(quiet, max_examples=50, shrink=False)
    check_law(quiet, block(), max_examples=50)


class Hoarding(Poutine):
    """Answers ``Tell`` with the number of those that it has ever seen: keeps its count on the class."""

    told: ClassVar[list[str]] = []

    def rules(self):
        def tell(message):
            self.told.append(message.name)
            return message.evolve(value=float(len(self.told)))
            yield

        return {Tell: Rule(around=tell)}


def test_messages_of_the_users_own_are_sent():
    check_laws(Hoarding, ["H12"], max_examples=10)  # no random program knows of its message
    with pytest.raises(LawBroken, match="law H12 does not hold") as caught:
        check_law(LAWS["H12"], Hoarding, 10, shrink=False, messages=[Tell("count")])
    assert "= yield Tell('count')\n" in str(caught.value)


def test_messages_that_are_answered_well_break_nothing():
    check_laws(Telling, ["H2", "H8", "H12", "H13", "H17"], 5, messages=st.builds(Tell, st.text(max_size=2)))


@attrs.frozen(slots=False, eq=False, repr=False)
class Mark(Site):
    """A site of the user's own."""

    type: ClassVar[str] = "mark"

    def __init__(self, name):
        self.__dict__.update(name=name)


def test_sites_of_the_users_own_have_names_of_their_own():
    quick = settings(max_examples=1, phases=[Phase.generate], database=None)
    program = find(programs(messages=st.just(Mark("m")), first=("message", "message")), lambda program: True, settings=quick)
    assert [site.name for site in outcome(program).sites if site.type == "mark"] == ["m_1", "m_2"]
    assert 'm_1 = yield Mark("m_1")' in repr(program)


@pytest.mark.slow
def test_what_makes_no_poutine_is_put_to_laws_as_it_is():
    def listed(fn: Callable[..., Any]) -> Callable[..., Any]:
        def one() -> Any:
            return [(yield from fn())]

        return one

    check_laws(lambda fn: fn, laws=["H3"], max_examples=3)
    with pytest.raises(LawBroken, match="law I.idempotent does not hold: h∘h∘p ≈ h∘p"):
        check_laws(listed, laws=["I.idempotent"], max_examples=30)


def test_what_ends_python_is_not_taken_for_an_error_of_the_program():
    def interrupted() -> Any:
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        error_of(interrupted, AskingRuntime())


def test_an_error_that_a_law_did_not_think_of_is_told_as_one():
    @law("odd", "h∘p is odd", ("block",))
    def odd(case):
        raise ZeroDivisionError("by hand")

    with pytest.raises(LawBroken, match=r"block\(model\)\n  first difference, at an error: ZeroDivisionError: by hand \(") as caught:
        check_law(odd, block(), max_examples=1)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(LawBroken, match="  <lambda>\\(model\\)\n  first difference, at an error"):
        check_law(odd, lambda fn: fn, max_examples=1)


def test_an_undecided_reply_ends_a_run_that_is_stepped():
    class Asks(Poutine):
        def rules(self):
            def around(site):
                yield site
                return site

            return {Sample: Rule(around=around)}

    check_laws(Asks, ["H13"], max_examples=5)


class Asking(Poutine):
    """Asks for a number where the program asks for a message of ours, which random programs may do twice."""

    def rules(self):
        def ask(tell):
            site = yield Sample(tell.name, torch.distributions.Normal, 0.0, 1.0)
            return tell.evolve(value=site.value)

        return {Tell: Rule(around=ask)}


def test_a_message_of_ones_own_that_is_sent_twice_may_be_one_site_twice():
    check_law(LAWS["H23"], Asking, messages=[Tell("x")], seed=0)


def test_h17_takes_what_is_off_everywhere_for_what_is_off():
    def model():
        return (yield from mask(lambda: (yield Sample("x", torch.distributions.Normal(0.0, 1.0))), mask=False)())

    part = torch.tensor([True, False])
    off, further_off = (outcome(mask(fn, mask=part)).sites[0] for fn in (model, NotingPoutine(model, up=_written_otherwise)))
    assert off.mask is False and further_off.mask.shape == (2,)
    assert same(_meaning(off), _meaning(further_off))
    assert not same(_meaning(off)["mask"], _meaning(off.evolve(mask=part))["mask"])


class Warns(Doubled):
    """Warns at each sample."""

    def rules(self):
        def down(site):
            warnings.warn("a sample", UserWarning, stacklevel=1)
            return site

        return {Sample: Rule(down=down)}


def test_a_warning_is_shown_once_however_often_it_is_given(capsys):
    show = warnings.showwarning
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        check_laws(Warns, laws=["H3", "H5", "H19"], max_examples=4, seed=0)
    assert [str(warning.message) for warning in shown] == ["a sample"]
    assert warnings.showwarning is show


def test_a_tensor_of_many_dimensions_is_shown_in_a_line():
    mask = torch.tensor([True, False]).reshape(2, 1, 1, 1, 1, 1)
    assert str(Difference("site 'x'", "mask", True, mask)).endswith("torch.tensor([True, False]).reshape(2, 1, 1, 1, 1, 1)")


def test_the_smallest_program_so_far_is_told_when_the_search_for_a_smaller_one_takes_long(monkeypatch):
    now = count()
    monkeypatch.setattr("poutine.laws.check.monotonic", lambda: 10.0 * next(now))
    asked = []

    @law("large", "h∘p has few sites", ("block",))
    def large(case):
        program = case.program()
        sites = outcome(program).sites
        asked.append(program)
        case.expect(len(sites) < 3, "it has many", repr(program))

    with pytest.raises(LawBroken, match="law large does not hold") as caught:
        check_law(large, block(), max_examples=50, seed=0)
    failing = [len(repr((program,))) for program in asked if len(outcome(program).sites) >= 3]
    assert len(repr(caught.value.programs)) == min(failing)
    assert len(asked) < 60
