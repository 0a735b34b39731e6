"""explain: what each poutine of a chain did to a site."""

from __future__ import annotations

import torch
from torch.distributions import Normal

from poutine import Observe, Probed, Program, Sample, block, chain, condition, do, escape, explain, run, scale, scope, trace

D = Normal(0.0, 1.0)
ONE = torch.tensor(1.0)


def model(loc: float = 0.0):
    x = yield Sample("x", Normal(loc, 1.0))
    yield Observe("y", Normal(x, 1.0), ONE)


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
    assert "✗ NonlocalExit: left the program at site 'y'" in str(explanation)


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
