"""condition, uncondition, substitute, do and replay: who decides a value, and who wins."""

from __future__ import annotations

import pickle
import re

import pytest
import torch
from torch.distributions import Normal

from poutine import (
    AlreadyObserved,
    Observe,
    Param,
    Program,
    Sample,
    Trace,
    UnusedNames,
    block,
    chain,
    condition,
    do,
    plate,
    replay,
    run,
    same,
    substitute,
    trace,
    uncondition,
)
from tests.script import AS_IT_IS, perform

D = Normal(0.0, 1.0)
ONE, TWO, THREE = torch.tensor(1.0), torch.tensor(2.0), torch.tensor(3.0)


def model():
    x = yield Sample("x", D)
    w = yield Param("w", TWO)
    yield Observe("y", Normal(x, 1.0), THREE)
    return x, w


def one():
    return (yield Sample("x", D))


X = Sample("x", D)
SAW_X = Observe("x", D, ONE).evolve(conditioned=True)


# condition


def test_condition_observes():
    assert perform(condition(one, data={"x": ONE})(), [(SAW_X, AS_IT_IS)]) == ONE
    t = trace(condition(model, data={"x": ONE})).get_trace()
    assert (t["x"].type, t["x"]["is_observed"], t["_RETURN"].value[0]) == ("observe", True, ONE)
    assert t.observation_nodes == ["x", "y"]


def test_a_trace_conditions_on_its_samples():
    t = trace(model).get_trace()
    again = trace(condition(model, data=t)).get_trace()
    assert again.observation_nodes == ["x", "y"]
    assert same(again["x"].value, t["x"].value)
    assert again.log_pdf() == t.log_pdf()


@pytest.mark.parametrize("alias", [condition, substitute])
def test_a_trace_brings_the_index_of_a_subsampled_plate(alias):
    @plate("rows", 10, subsample_size=3)
    def rows(index):
        yield Sample("z", Normal(10.0 * index, 1.0))

    t = run(trace(rows).traced(), seed=1)
    again = run(trace(alias(rows, data=t)).traced(), seed=0)
    assert torch.equal(again.log_pdf(), t.log_pdf())
    assert "rows" not in again.observation_nodes


@pytest.mark.parametrize("value", [ONE, THREE])
def test_what_the_model_observes_cannot_be_conditioned_on(value):
    with pytest.raises(AlreadyObserved, match=r"site 'y'.*uncondition first"):
        run(condition(model, data={"y": value})())
    with pytest.raises(AlreadyObserved, match="site 'y'"):
        run(substitute(model, data={"y": value})())
    assert trace(condition(uncondition(model), data={"y": value})).get_trace()["y"].value == value


@pytest.mark.parametrize("alias", [condition, do, substitute])
def test_names_that_no_site_has_are_listed_at_the_end(alias):
    with pytest.raises(UnusedNames, match=r"nowhere, nothing; it reached: x.*strict=False"):
        run(alias(model, data={"x": ONE, "nowhere": ONE, "nothing": ONE})())
    run(alias(model, data={"nowhere": ONE}, strict=False)())


def test_condition_and_do_do_not_reach_parameters():
    for alias in (condition, do):
        with pytest.raises(UnusedNames, match=r"as a sample or an observation: w; it reached: x, y"):
            run(alias(model, data={"w": ONE})())


def test_a_mapping_is_wanted():
    with pytest.raises(TypeError, match="expected a mapping"):
        condition(model, data=[("x", ONE)])


def test_the_outer_one_of_two_wins():
    for alias in (condition, substitute):
        assert run(chain(one, alias(data={"x": ONE}), alias(data={"x": TWO}))()) == TWO
    assert run(chain(one, condition(data={"x": ONE}), substitute(data={"x": TWO}))()) == TWO
    assert run(chain(one, substitute(data={"x": ONE}), condition(data={"x": TWO}))()) == TWO


def test_the_data_of_a_handler_is_its_own():
    data = {"x": ONE}
    conditioned = condition(one, data=data)
    data["x"] = TWO
    assert run(conditioned()) == ONE


# uncondition


def test_uncondition_draws_what_was_observed():
    t = trace(uncondition(condition(model, data={"x": ONE}))).get_trace()
    assert t.stochastic_nodes == ["x", "y"]
    assert same(t["x"].value, run(one))
    assert trace(condition(uncondition(model), data={"x": ONE})).get_trace()["x"].is_observed


# substitute


def test_substitute_decides_samples_and_params_that_stay_what_they_are():
    t = trace(substitute(model, data={"x": ONE, "w": THREE})).get_trace()
    assert (t["x"].type, t["w"].type, t["_RETURN"].value) == ("sample", "param", (ONE, THREE))


# do


def test_do_shows_the_natural_site_outside_and_the_intervened_value_inside():
    assert perform(do(one, data={"x": TWO})(), [(X, ONE)]) == TWO
    outside = trace(do(model, data={"x": TWO})).get_trace()
    assert same(outside["x"].value, run(one))
    assert outside["y"].dist.loc == TWO


def test_conditioning_is_not_intervening():
    """A confounder: z -> x, z -> y, x -> y, all with unit normal noise; observing x tells about z, setting it does not."""

    def confounded():
        z = yield Sample("z", D)
        x = yield Sample("x", Normal(z, 1.0))
        yield Sample("y", Normal(x + z, 1.0))

    at = {"z": ONE, "y": TWO}
    saw = trace(condition(confounded, data={"x": THREE, **at})).get_trace().log_pdf()
    did = trace(condition(do(confounded, data={"x": THREE}), data=at)).get_trace()
    by_hand = D.log_prob(ONE) + Normal(4.0, 1.0).log_prob(TWO)
    assert torch.isclose(saw, by_hand + Normal(1.0, 1.0).log_prob(THREE))
    assert torch.isclose(did.log_pdf(lambda name, site: name != "x"), by_hand)
    cut = chain(confounded, condition(data={"x": THREE}), block(hide=["x"]), condition(data=at), trace()).get_trace()
    assert "x" not in cut
    assert torch.isclose(cut.log_pdf(), by_hand)


def test_condition_and_do_commute():
    a = trace(condition(do(model, data={"x": TWO}), data={"x": ONE})).get_trace()
    b = trace(do(condition(model, data={"x": ONE}), data={"x": TWO})).get_trace()
    assert a == b
    assert (a["x"].value, a["_RETURN"].value[0]) == (ONE, TWO)


# replay


def test_replay_decides_the_samples_of_the_trace():
    t = run(trace(model).traced(), seed=9)
    again = run(trace(replay(model, guide_trace=t)).traced(), seed=1)
    assert again == t
    assert again["x"].type == "sample"


def test_a_partial_trace_leaves_the_other_draws():
    def two():
        return (yield Sample("a", D)), (yield Sample("b", D))

    t = run(trace(two).traced(), seed=9)
    t.remove_node("b")
    a, b = run(replay(two, t)(), seed=1)
    assert a == t["a"].value
    assert b == run(two, seed=1)[1]


def test_sites_to_replay_and_renaming():
    t = Trace()
    t.add_node("u", type="sample", fn=D, value=TWO)
    t.add_node("x", type="sample", fn=D, value=ONE)
    assert run(replay(one, t)()) == ONE
    assert run(replay(one, t, sites=["x"])()) == ONE
    assert run(replay(one, t, sites={"x": "u"})()) == TWO
    assert run(replay(one, t, sites=["u"])()) == run(one)
    assert run(replay(one, t, sites=[])()) == run(one)


def test_what_cannot_be_replayed():
    t = trace(model).get_trace()
    for sites in (["y"], ["nowhere"], {"x": "w"}):
        with pytest.raises(ValueError, match="which is no sample of"):
            replay(model, t, sites=sites)
    with pytest.raises(TypeError, match=r"write \['x'\]"):
        replay(model, t, sites="x")
    unconditioned = trace(uncondition(model)).get_trace()
    with pytest.raises(AlreadyObserved, match=r"site 'y'.*named in replay's sites"):
        run(replay(model, unconditioned, sites=["y"])())
    assert run(trace(replay(model, unconditioned)).traced())["y"].value == THREE


def test_what_a_handler_replays_is_its_own():
    t, sites = trace(one).get_trace(), {"x": "x"}
    value, replayed = t["x"].value, replay(one, guide_trace=t, sites=sites)
    t.set_value("x", TWO)
    sites.clear()
    assert run(replayed(), seed=9) == value


def plated(size, name="d", dim=None):
    return (yield from plate(name, size, dim=dim)(lambda index: one())())


@pytest.mark.parametrize(("guide", "there"), [
    (Program(plated, 1), 1), (Program(plated, 5), 5), (Program(plated, 1, "e"), 1), (Program(one), 1), (Program(plated, 1, dim=-2), 1),
])  # fmt: skip
def test_a_guide_whose_plate_has_another_size_is_refused_with_both_numbers(guide, there):
    t = trace(guide.fn).get_trace(*guide.args, **guide.kwargs)
    for sites in (None, ["x"]):
        with pytest.raises(ValueError, match=f"'x': plate 'd' has size 4 here, and the value .* has size {there} there"):
            run(replay(plated, guide_trace=t, sites=sites)(4))


def test_a_guide_may_have_a_batch_in_place_of_a_plate_or_share_a_value_over_the_same_plate():
    def batch():
        return (yield Sample("x", D.expand([4])))

    def shared(size):
        return (yield from plate("d", size)(lambda index: substitute(one, data={"x": ONE})())())

    t = trace(batch).get_trace()
    assert run(replay(plated, guide_trace=t)(4), seed=9) is t["x"].value
    assert run(replay(lambda: plate("d", 4)(lambda index: callable_one())(), guide_trace=t)(), seed=9) is t["x"].value  # who can tell?
    t = trace(shared).get_trace(4)
    assert t["x"].value.tolist() == [1.0] * 4 and run(replay(plated, guide_trace=t)(4)) is t["x"].value
    t = trace(plated).get_trace(4)
    assert run(replay(lambda: plate("d", 4)(lambda index: callable_one())(), guide_trace=t)(), seed=9) is t["x"].value


def callable_one():
    return (yield Sample("x", lambda: D))


def test_data_wins_over_replay_in_both_orders():
    t = Trace()
    t.add_node("x", type="sample", fn=D, value=TWO)
    for order in ([replay(guide_trace=t), condition(data={"x": ONE})], [condition(data={"x": ONE}), replay(guide_trace=t)]):
        got = chain(one, *order, trace()).get_trace()
        assert (got["x"].value, got["x"].is_observed) == (ONE, True)


def test_the_outer_replay_wins():
    inner, outer = Trace(), Trace()
    inner.add_node("x", type="sample", fn=D, value=ONE)
    outer.add_node("x", type="sample", fn=D, value=TWO)
    assert run(chain(one, replay(guide_trace=inner), replay(guide_trace=outer))()) == TWO


def subsampled(name="d", **options):
    return plate(name, 20, **(options or {"subsample_size": 3}))(lambda index: one())


def test_a_local_of_a_subsampled_plate_is_not_replayed_beside_another_index():
    """Else it would be scored with the data of elements that it has nothing to do with."""
    t = run(trace(subsampled()).traced(), seed=1)
    mine, yours = ([*run(trace(subsampled()).traced(), seed=seed)["d"].value.tolist()] for seed in (2, 1))
    for sites in (["x"], {"x": "x"}):
        with pytest.raises(
            ValueError, match=re.escape(f"'x': plate 'd' has the elements {mine} here") + ".*" + re.escape(f"is that of {yours}")
        ):
            run(replay(subsampled(), t, sites=sites)(), seed=2)
    both = run(trace(replay(subsampled(), t, sites=["x", "d"])).traced(), seed=2)
    assert both["x"].value is t["x"].value and both["d"].value is t["d"].value
    assert run(replay(subsampled(), t, sites=["x"])(), seed=1) is t["x"].value  # the same elements, as the same seed draws them


def test_a_local_is_not_replayed_beside_another_index_that_was_given_or_in_a_plate_of_another_name():
    given, other = (subsampled(subsample=torch.tensor(index)) for index in ([4, 5, 6], [0, 1, 2]))
    t = trace(given).get_trace()
    assert run(replay(given, t)()) is t["x"].value
    assert run(replay(given, pickle.loads(pickle.dumps(t)))(), seed=9) == pytest.approx(t["x"].value)
    whole = trace(plated).get_trace(3)
    for fn, trace_of in ((other, t), (given, whole), (subsampled(name="e"), t), (given, trace(other).get_trace())):
        with pytest.raises(ValueError, match="has the elements"):
            run(replay(fn, trace_of)())
    assert run(replay(other, whole)()) is whole["x"].value


def test_the_index_is_that_of_the_outermost_replay_and_so_must_its_locals_be():
    t, u = (run(trace(subsampled()).traced(), seed=seed) for seed in (1, 2))
    assert run(chain(subsampled(), replay(guide_trace=t), replay(guide_trace=u))()) is u["x"].value
    with pytest.raises(ValueError, match="has the elements"):
        run(chain(subsampled(), replay(guide_trace=t), replay(guide_trace=u, sites=["d"]))())
