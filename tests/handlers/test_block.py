"""BlockPoutine: every option, isolation in both directions, and the seed's example."""

from __future__ import annotations

import itertools
from typing import ClassVar

import attrs
import pytest
import torch
from torch.distributions import Normal

from poutine import (
    BlockPoutine,
    Deterministic,
    Message,
    Observe,
    Param,
    Poutine,
    Rule,
    Sample,
    Sealed,
    Site,
    TracePoutine,
    UnhandledMessage,
    block,
    chain,
    condition,
    drive,
    escape,
    run,
    same,
    scale,
    trace,
)

D = Normal(0.0, 1.0)


def model():
    a = yield Sample("a", D)
    b = yield Sample("b", D)
    y = yield Observe("y", D, torch.tensor(1.0))
    w = yield Param("w", torch.tensor(2.0))
    t = yield Deterministic("t", a + b)
    return a, b, y, w, t


ALL = {"a", "b", "y", "w", "t"}


def test_the_seeds_example():
    def fn():
        yield Sample("a", D)
        yield Sample("b", D)

    fn_inner = TracePoutine(fn)
    fn_outer = TracePoutine(BlockPoutine(TracePoutine(fn), hide=["a"]))
    trace_inner = fn_inner.get_trace()
    trace_outer = fn_outer.get_trace()
    assert "a" in trace_inner
    assert "a" not in trace_outer
    assert "b" in trace_inner
    assert "b" in trace_outer


@pytest.mark.parametrize(("options", "seen"), [
    ({}, set()),
    ({"hide_all": True}, set()),
    ({"hide_all": False}, ALL),
    ({"expose_all": True}, ALL),
    ({"expose_all": True, "hide": ["a"]}, ALL - {"a"}),
    ({"hide_all": False, "hide": ["a"], "hide_types": ["param"]}, ALL - {"a", "w"}),
    ({"hide": ["a"]}, ALL - {"a"}),
    ({"hide": []}, ALL),
    ({"hide": ["a", "nowhere"]}, ALL - {"a"}),
    ({"hide_types": ["sample"]}, ALL - {"a", "b"}),
    ({"hide_types": ["observe", "param"]}, ALL - {"y", "w"}),
    ({"hide_types": ["deterministic"]}, ALL - {"t"}),
    ({"expose": ["a"]}, {"a"}),
    ({"expose": []}, set()),
    ({"expose_types": ["sample"]}, {"a", "b"}),
    ({"expose": ["y"], "expose_types": ["sample"]}, {"y", "a", "b"}),
    ({"expose_types": ["sample"], "hide": ["a"]}, {"b"}),
    ({"expose": ["a"], "hide_types": ["sample"]}, set()),
])  # fmt: skip
def test_what_each_option_shows(options, seen):
    assert set(trace(block(model, **options)).get_trace()) - {"_INPUT", "_RETURN"} == seen


@pytest.mark.parametrize(("options", "problem"), [
    ({"hide": ["a"], "expose": ["a", "b"]}, "same name is hidden and exposed: a"),
    ({"hide_types": ["param"], "expose_types": ["param"]}, "same type is hidden and exposed: param"),
])  # fmt: skip
def test_hiding_and_exposing_the_same_is_an_error(options, problem):
    with pytest.raises(ValueError, match=problem):
        block(model, **options)


def test_a_name_is_no_list_of_names():
    with pytest.raises(TypeError, match=r"write \['ab'\]"):
        block(model, hide="ab")


def test_a_type_that_no_site_has_is_an_error():
    for option in ("hide_types", "expose_types"):
        with pytest.raises(ValueError, match="'smaple' is the type of no site; the types are .*observe, .*sample"):
            block(model, **{option: ["param", "smaple"]})

    @attrs.frozen(slots=False, eq=False)
    class Spoken(Site):
        type: ClassVar[str] = "spoken"

    assert block(model, hide_types=["spoken"]).hides(Spoken("x"))


@attrs.frozen(slots=False, eq=False)
class Ask(Message):
    type: ClassVar[str] = "ask"


@attrs.frozen(slots=False, eq=False)
class AskSite(Site):
    type: ClassVar[str] = "ask_site"


@attrs.frozen(slots=False, eq=False, repr=False)
class Answer(Poutine):
    def rules(self):
        return {kind: Rule(up=lambda message: message.evolve(value=3.0)) for kind in (Ask, AskSite)}


def asking(kind):
    return (yield kind("q"))


def test_a_message_that_is_no_site_passes_and_a_site_of_ones_own_is_hidden():
    """H5 and B.isolates."""
    for options in ({}, {"hide": ["q"]}, {"expose": ["x"]}):
        assert run(Answer(block(asking, **options))(Ask)) == 3.0
        with pytest.raises(UnhandledMessage, match=r"AskSite\(.*it is hidden, .* the runtime .* does not know AskSite; expose it"):
            run(Answer(block(asking, **options))(AskSite))
        assert run(block(Answer(asking), **options)(AskSite)) == 3.0
    with pytest.raises(UnhandledMessage, match="AskSite"):
        run(Answer(block(asking, hide_types=["ask_site"]))(AskSite))
    with pytest.raises(ValueError, match="'ask' is the type of no site; .*; Ask is no site, and passes: derive it from Site to hide it"):
        block(asking, hide_types=["ask"])


def test_the_values_are_the_same_hidden_or_not():
    assert same(run(model), run(block(model)()))


def test_nothing_outside_acts_on_a_hidden_site_and_the_inside_sees_all():
    inner = TracePoutine(model)
    outer = chain(inner, block(hide=["a"]), condition(data={"a": torch.tensor(9.0)}, strict=False), scale(scale=3.0), trace())
    outside = outer.get_trace()
    assert "a" not in outside
    assert outside["b"].scale == 3.0
    assert same(outside["_RETURN"].value, run(model))


def test_an_escape_outside_never_fires_at_a_hidden_site():
    assert same(run(escape(block(model), escape_fn=lambda site: True)()), run(model))


def test_a_hidden_site_goes_up_sealed_and_only_once():
    def one():
        return (yield Sample("a", D))

    sealed = Sealed(Sample("a", D))
    engine = drive(block(block(one))())
    assert next(engine) == sealed
    with pytest.raises(StopIteration) as stop:
        engine.send(Sealed(Sample("a", D).evolve(value=4.0)))
    assert stop.value.value == 4.0


def test_two_blocks_hide_what_either_hides():
    for a, b in itertools.product(["a", "b", "y"], repeat=2):
        both = trace(block(block(model, hide=[b]), hide=[a])).get_trace()
        assert both == trace(block(model, hide=[a, b])).get_trace()
