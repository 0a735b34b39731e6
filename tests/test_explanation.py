"""explain: what each poutine of a chain did to a site."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch.distributions import Normal, constraints

from poutine import (
    EnterPlate,
    ImproperUniform,
    Observe,
    Poutine,
    Probed,
    Program,
    Rule,
    Sample,
    block,
    chain,
    condition,
    do,
    escape,
    explain,
    indep,
    plate,
    run,
    scale,
    scope,
    trace,
)

D = Normal(0.0, 1.0)
ONE = torch.tensor(1.0)


def model(loc: float = 0.0):
    x = yield Sample("x", Normal(loc, 1.0))
    yield Observe("y", Normal(x, 1.0), ONE)


def test_how_a_plate_is_entered_is_no_part_of_the_site_of_its_name():
    def within(**options):
        yield from plate("g", 5, **options)(lambda index: model())()

    explanation = explain(scale(within, scale=2.0)(subsample_size=2), "g")
    assert [(what, type(message)) for what, _, message in explanation.steps] == [("up", Sample)] * 2 + [("down", Sample)] * 2
    assert not explain(scale(within, scale=2.0)(), "g").steps


def test_a_chain_is_explained_step_by_step():
    explanation = explain(chain(model, condition(data={"x": ONE}), scale(scale=2.0), scope(prefix="a"), trace())(3.0), "x")
    assert [(what, who) for what, who, _ in explanation.steps] == [
        ("up", "the program"),
        ("up", "ConditionPoutine"),
        ("up", "ScalePoutine"),
        ("up", "ScopePoutine"),
        ("up", "TracePoutine"),
        ("down", "the runtime"),
        ("down", "TracePoutine"),
        ("down", "ScopePoutine"),
        ("down", "ScalePoutine"),
        ("down", "ConditionPoutine"),
    ]
    messages = [message for _, _, message in explanation.steps]
    assert messages[0] == Sample("x", Normal(3.0, 1.0))
    assert [message.name for message in messages] == ["x", "x", "x", "a/x", "a/x", "a/x", "a/x", "x", "x", "x"]
    assert [message.scale for message in messages[:3]] == [1.0, 1.0, 2.0]
    assert messages[1].is_observed
    text = str(explanation)
    assert text.splitlines()[0] == "site 'x'"
    assert "↑ ConditionPoutine  Observe('x'" in text
    assert "↓ TracePoutine      unchanged" in text


def test_the_name_may_be_that_of_any_height():
    outside = explain(scope(model, prefix="a")(), "a/x")
    assert outside.steps == explain(scope(model, prefix="a")(), "x").steps
    assert len(outside.steps) == 4


def test_a_hidden_site_is_shown_as_it_travels():
    steps = explain(trace(block(model, hide=["x"]))(), "x").steps
    assert [message.type for _, _, message in steps] == ["sample", "sealed", "sealed", "sealed", "sealed", "sample"]


def test_the_reply_that_do_changes_is_seen():
    steps = explain(do(model, data={"x": ONE})(), "x").steps
    assert steps[-2][2].value != ONE
    assert steps[-1][1:] == ("DoPoutine", steps[-2][2].evolve(value=ONE))


def test_an_error_is_part_of_the_explanation():
    explanation = explain(escape(model, escape_fn=lambda site: site.name == "y")(), "y")
    assert [(what, who) for what, who, _ in explanation.steps] == [("up", "the program")]
    assert explanation.raised_by == "EscapePoutine"
    assert "✗ EscapePoutine  NonlocalExit: left the program at site 'y'" in str(explanation)


class Mine(Poutine):
    """Raises what it is told to at every sample."""

    where: ClassVar[str] = "up"

    def rules(self):
        def fail(message):
            raise ArithmeticError("mine")

        def around(message):
            yield message
            site = yield message.evolve(name="again")
            raise ArithmeticError("mine")
            return site

        return {Sample: Rule(around=around) if self.where == "around" else Rule(**{self.where: fail})}


class OnItsWayDown(Mine):
    where = "down"


class Around(Mine):
    where = "around"


class NoPlates(Poutine):
    def rules(self):
        def fail(message):
            raise ArithmeticError("mine")

        return {EnterPlate: Rule(up=fail)}


class InTheEnd(Poutine):
    def coroutine(self, program):
        yield from super().coroutine(program)
        raise ArithmeticError("mine")


class Again(Poutine):
    """Runs the program once more if it fails."""

    def coroutine(self, program):
        try:
            yield from super().coroutine(program)
        except Exception:
            yield from super().coroutine(program)


class AtOnce(Poutine):
    def coroutine(self, program):
        raise ArithmeticError("mine")
        yield


def failing():
    yield from model()
    raise ArithmeticError("its own")


def refusing():
    raise ArithmeticError("at once")
    yield


def turning():
    try:
        yield from model()
    except ArithmeticError as error:
        raise LookupError from error


def in_itself():
    yield from Mine(model)()


UNDRAWABLE = Sample("x", ImproperUniform(constraints.real))


def undrawable():
    yield UNDRAWABLE


@pytest.mark.parametrize(("program", "name", "who"), [
    (trace(escape(model, escape_fn=lambda site: site.name == "x"))(), "x", "EscapePoutine"),
    (escape(trace(scale(model, 2.0)), escape_fn=lambda site: site.name == "y")(), "x", "EscapePoutine"),
    (trace(condition(scale(model, 2.0), data={"z": ONE}))(), "x", "ConditionPoutine"),
    (trace(condition(scale(model, 2.0), data={"y": ONE}))(), "y", "ConditionPoutine"),
    (scale(Mine(trace(model)), 2.0)(), "x", "Mine"),
    (trace(OnItsWayDown(scale(model, 2.0)))(), "x", "OnItsWayDown"),
    (trace(Around(scale(model, 2.0)))(), "x", "Around"),
    (trace(InTheEnd(scale(model, 2.0)))(), "x", "InTheEnd"),
    (trace(AtOnce(scale(model, 2.0)))(), "x", "AtOnce"),
    (scale(trace(failing), 2.0)(), "x", "the program"),
    (scale(trace(refusing), 2.0)(), "x", "the program"),
    (scale(in_itself, 2.0)(), "x", "the program"),
    (scale(Mine(turning), 2.0)(), "x", "Mine"),
    (scale(Again(failing), 2.0)(), "x", "the program"),
    (InTheEnd(Again(Mine(model)))(), "x", "Mine"),
    (InTheEnd(Again(condition(model, data={"z": ONE})))(), "x", "ConditionPoutine"),
    (scale(indep(refusing, "p", True), 2.0)(), "x", "the program"),
    (trace(AtOnce(indep(model, "p", True)))(), "x", "AtOnce"),
    (NoPlates(trace(indep(model, "p", True)))(), "p", "NoPlates"),
    (InTheEnd(trace(indep(model, "p", True)))(), "x", "InTheEnd"),
    (scale(undrawable, 2.0)(), "x", "the runtime"),
    (trace(block(undrawable, hide=["x"]))(), "x", "the runtime"),
    (Program(undrawable), "x", "the runtime"),
    (trace(indep(indep(model, name="p", vectorized=True), name="p", vectorized=True))(), "x", "IndepPoutine"),
    (trace(model).traced(3.0), "x", None),
])  # fmt: skip
def test_whoever_raised_an_error_is_told(program, name, who):
    explanation = explain(program, name)
    assert explanation.raised_by == who
    assert (explanation.error is None) == (who is None)
    assert who is None or f"  ✗ {who}  {type(explanation.error).__name__}" in str(explanation)


def test_programs_without_poutines_and_names_that_nobody_yields():
    assert len(explain(Program(model, 1.0), "y").steps) == 2
    assert str(explain(model, "nowhere")) == "no site 'nowhere' was yielded"


def test_a_traced_program_is_explained_as_its_poutine_runs_it():
    """``traced`` is a method of the outermost poutine that returns something else than the program does."""
    program = trace(scale(model, scale=2.0)).traced(3.0)
    probed = Probed.of(program)
    assert run(probed.program, seed=3) == run(program, seed=3)
    assert [[who for _, who, _ in visit] for visit in probed.visits()] == [
        ["the program", "ScalePoutine", "TracePoutine", "the runtime", "TracePoutine", "ScalePoutine"]
    ] * 2


def test_an_error_that_somebody_went_on_after_is_not_the_one_that_ended_the_run():
    fails = iter([True, False])

    def failing_once():
        yield from model()
        if next(fails):
            raise ArithmeticError("once")

    assert explain(InTheEnd(Again(failing_once))(), "x").raised_by == "InTheEnd"


def test_what_is_no_seed_is_no_error_of_the_program():
    with pytest.raises(TypeError, match="expected an int as the seed, got 'a'"):
        explain(lambda: (yield Sample("x", Normal(0.0, 1.0))), "x", seed="a")
