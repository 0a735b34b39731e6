"""escape, indep, infer_config, lift, mask, scale, scope, trace, the aliases and chain."""

from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
import textwrap
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch.distributions import Dirichlet, HalfNormal, Independent, LogNormal, Normal, TransformedDistribution, constraints
from torch.distributions.transforms import AffineTransform, StickBreakingTransform
from torch.fx.experimental.proxy_tensor import make_fx

import poutine.handlers
from poutine import (
    AlreadyObserved,
    CondIndepStackFrame,
    ConditionPoutine,
    Deterministic,
    DuplicateSite,
    EnterMarkov,
    EnterPlate,
    NonlocalExit,
    NotAProgram,
    Observe,
    Param,
    ParamError,
    PlateError,
    Poutine,
    Program,
    Rule,
    Sample,
    ScalePoutine,
    Trace,
    TracePoutine,
    UnusedNames,
    block,
    chain,
    condition,
    escape,
    indep,
    infer_config,
    lift,
    markov,
    mask,
    ordered,
    plate,
    replay,
    run,
    same,
    scale,
    scope,
    seed,
    substitute,
    trace,
    uncondition,
    vectorized_plates,
)
from poutine.messages import param_of
from tests.script import AS_IT_IS, perform

D = Normal(0.0, 1.0)
ONE = torch.tensor(1.0)


def model():
    x = yield Sample("x", D)
    yield Observe("y", Normal(x, 1.0), ONE)
    return x


# scale and mask


def test_scale_multiplies():
    t = chain(model, scale(scale=2.0), scale(scale=torch.tensor(3.0)), trace()).get_trace()
    assert t["x"].scale == t["y"].scale == 6.0
    assert torch.isclose(t.log_pdf(), 6 * trace(model).get_trace().log_pdf())


@pytest.mark.parametrize(("bad", "error"), [(0.0, ValueError), (-1.0, ValueError), (float("nan"), ValueError),
                                            (torch.tensor([1.0, 0.0]), ValueError), (True, TypeError), ("2", TypeError), (None, TypeError)])  # fmt: skip
def test_a_scale_is_positive(bad, error):
    with pytest.raises(error, match="expected a positive"):
        scale(model, scale=bad)


def test_masks_are_joined():
    some = torch.tensor([True, False])
    assert same(chain(model, mask(mask=some), mask(mask=torch.tensor([True, True])), trace()).get_trace()["y"].mask, some)
    assert chain(model, mask(mask=some), mask(mask=False), trace()).get_trace()["y"].mask is False
    assert same(chain(model, mask(mask=True), mask(mask=some), trace()).get_trace()["y"].mask, some)
    assert trace(mask(model, mask=False)).get_trace().log_pdf() == 0
    assert same(run(mask(model, mask=False)()), run(model))


@pytest.mark.parametrize("bad", [1, None, torch.tensor([1.0])])
def test_a_mask_is_boolean(bad):
    with pytest.raises(TypeError, match="bool"):
        mask(model, mask=bad)


# escape


def test_escape_leaves_with_the_site_and_the_partial_trace():
    drawn = []

    def watched():
        x = yield Sample("x", D)
        drawn.append(x)
        drawn.append((yield Sample("z", D)))

    with pytest.raises(NonlocalExit, match="'z'") as caught:
        run(trace(escape(watched, escape_fn=lambda site: site.name == "z"))())
    assert caught.value.site == Sample("z", D)
    assert list(caught.value.trace) == ["_INPUT", "x"]
    assert len(drawn) == 1


def test_a_trace_inside_of_the_escape_leaves_its_trace_unless_there_is_one_outside():
    def leave(site):
        return site.type == "observe"

    with pytest.raises(NonlocalExit) as caught:
        run(escape(model, escape_fn=leave)())
    assert caught.value.trace is None
    with pytest.raises(NonlocalExit) as caught:
        run(trace(scale(escape(trace(model), escape_fn=leave), scale=2.0), graph_type="dense")())
    assert caught.value.trace["x"].scale == 2.0
    assert caught.value.trace.graph_type == "dense"


def test_a_program_may_catch_the_exit_outside_and_a_model_may_not_inside():
    def deaf():
        try:
            yield Sample("x", D)
        except NonlocalExit:
            return "stayed"

    def search():
        try:
            return (yield from escape(deaf, escape_fn=lambda site: True)())
        except NonlocalExit as exit:
            return exit.site.name

    assert run(search) == "x"


# indep


def flip(i):
    yield Sample(f"x{i}", D)


def test_entries_are_counted_in_the_run():
    flips = indep(flip, name="flips", vectorized=False)

    def loop():
        for i in range(3):
            yield from flips(i)

    for _ in range(2):
        t = trace(loop).get_trace()
        assert [t[f"x{i}"].cond_indep_stack for i in range(3)] == [(CondIndepStackFrame("flips", i, False),) for i in (1, 2, 3)]


def test_a_traced_program_counts_from_one_inside_of_a_larger_run():
    def twice():
        first = yield from trace(indep(flip, name="flips", vectorized=False)).traced(0)
        second = yield from trace(indep(flip, name="flips", vectorized=False)).traced(0)
        return first, second

    first, second = run(twice)
    assert first["x0"].cond_indep_stack == second["x0"].cond_indep_stack == (CondIndepStackFrame("flips", 1, False),)


def test_frames_are_listed_outermost_first_and_dimensions_are_taken_from_the_right():
    def both(outer_dim):
        inner = indep(flip, name="inner", vectorized=True, size=2)
        yield from indep(inner, name="outer", vectorized=True, size=3, dim=outer_dim)(0)

    def dims(outer_dim):
        return [(frame.name, frame.dim) for frame in trace(both).get_trace(outer_dim)["x0"].cond_indep_stack]

    assert dims(None) == [("outer", -1), ("inner", -2)]
    assert dims(-2) == [("outer", -2), ("inner", -1)]


def test_a_plate_is_not_entered_inside_itself_and_dimensions_do_not_clash():
    with pytest.raises(PlateError, match="inside itself"):
        run(indep(indep(flip, name="p", vectorized=True), name="p", vectorized=True)(0))
    with pytest.raises(PlateError, match="dimension -1 is that of plate 'a'"):
        run(indep(indep(flip, name="b", vectorized=True, dim=-1), name="a", vectorized=True, dim=-1)(0))


# lift


def network():
    w = yield Param("w", torch.zeros(2), constraint=constraints.real)
    again = yield Param("w")
    b = yield Param("b", torch.zeros(()))
    return w, again, b


PRIOR = Independent(Normal(torch.zeros(2), 1.0), 1)


def test_lift_samples_once_and_remembers():
    t = trace(lift(network, prior={"w": PRIOR})).get_trace()
    w, again, b = t["_RETURN"].value
    assert (t["w"].type, t["b"].type) == ("sample", "param")
    assert same(w, again)
    assert b == 0.0


def test_a_trace_inside_of_lift_sees_the_lifted_site_once():
    inner = []

    def noting():
        t = yield from trace(network).traced()
        inner.append(t)

    run(lift(noting, prior={"w": PRIOR})())
    assert inner[0].stochastic_nodes == ["w"]


def test_the_lifted_site_keeps_scale_mask_and_frames():
    def lifted():
        yield Param("w", torch.zeros(2))

    links = [scale(scale=2.0), mask(mask=False), indep(name="p", vectorized=True), lift(prior=PRIOR), trace()]
    site = chain(lifted, *links).get_trace()["w"]
    assert (site.type, site.scale, site.mask, len(site.cond_indep_stack)) == ("sample", 2.0, False, 1)


def in_plate():
    def each(i):
        w = yield Param("w", torch.zeros(()))
        yield Observe("y", Normal(w, 1.0), torch.ones(2))

    yield from plate("a", 2)(each)()


def test_what_is_lifted_around_a_plate_is_one_sample_that_a_guide_has_outside_of_it():
    """D.lift: its prior counts once, and the rest is the density at the param's value, which the elements share."""
    program, at = lift(in_plate, prior={"w": D}), torch.tensor(0.5)
    t = trace(lambda: of_guide(D)).get_trace()
    t.set_value("w", at)
    expected = D.log_prob(at) + trace(substitute(in_plate, data={"w": at})).get_trace().log_pdf()
    for given in (replay(program, t), condition(program, data={"w": at}), substitute(program, data={"w": at})):
        assert torch.isclose(trace(given).get_trace().log_pdf(), expected)
    lifted = trace(lift(in_plate, prior={"w": Normal(1.0, 2.0)})).get_trace()
    assert run(trace(replay(program, lifted)).traced(), seed=3)["w"].value == lifted["w"].value


@pytest.mark.parametrize("vectorized", [True, False])
def test_a_prior_counts_once_around_a_subsampled_plate(vectorized: bool):
    """D.lift: the elements that take part stand for others, and their param for itself. A scale of the program's own stays."""
    y = torch.arange(6.0)

    def model():
        def element(i):
            w = yield from scale(reading, scale=5.0)()
            yield Observe(f"y_{next(number)}", Normal(w, 1.0), y[i])

        number = iter(range(4))

        def inner(j):
            return plate("inner" if vectorized else f"inner_{j}", 6, 2, vectorized=vectorized)(element)()

        yield from plate("outer", 4, 2, vectorized=vectorized)(inner)()

    def reading():
        return (yield Param("w", torch.zeros(())))

    t = run(trace(lift(model, prior={"w": D})).traced(), seed=1)
    rest = run(trace(substitute(model, data={"w": t["w"].value})).traced(), seed=1)
    assert t["w"].scale == 5.0 and {frame.weight for frame in rest["y_0"].cond_indep_stack} == {2.0, 3.0}
    assert torch.isclose(t.log_pdf(), 5.0 * D.log_prob(t["w"].value) + rest.log_pdf())
    again = run(trace(replay(lift(model, prior={"w": D}), t, sites=["w"])).traced(), seed=2)  # of other elements
    assert same(again["w"].value, t["w"].value) and torch.isclose(again["w"].log_pdf, 5.0 * D.log_prob(t["w"].value))
    assert not same(again.log_pdf(), t.log_pdf())


def test_a_prior_counts_once_for_each_element_that_has_one_of_its_own():
    body = lift(lambda i: (yield Param("w", torch.zeros(()))), prior={"w": D})
    t = run(trace(plate("a", 6, 2)(body)).traced(), seed=1)
    assert t["w"].scale == 3.0 and torch.isclose(t["w"].log_pdf, 3.0 * D.log_prob(t["w"].value).sum())
    with pytest.raises(PlateError, match="'w': plate 'a' has the elements .* here, and the value in the trace that is replayed is that of"):
        run(replay(plate("a", 6, 2)(body), t, sites=["w"])(), seed=2)


@pytest.mark.parametrize("vectorized", [True, False])
def test_a_param_that_was_lifted_in_one_plate_and_around_another_is_one_for_each_element_of_the_first_alone(vectorized: bool):
    def lifted(i):
        prefix = "" if vectorized else f"{i}"
        return scope(lift(lambda: plate("inner", 3)(lambda j: (yield Param("w", torch.zeros(()))))(), prior=D), prefix=prefix)()

    t = run(trace(plate("outer", 2, vectorized=vectorized)(lifted)).traced(), seed=1)
    draws = torch.cat([site.value.reshape(-1) for site in t.nodes.values() if isinstance(site, Sample)])
    assert draws.shape == (2,) and torch.isclose(t.log_pdf(), D.log_prob(draws).sum())


def test_a_plate_with_a_param_that_its_elements_share_may_be_exploited_as_without():
    def element(i):
        w = yield Param("w", torch.zeros(()))
        yield Sample("x", Normal(w, 1.0))

    t = run(trace(lift(plate("a", 2)(element), prior=D)).traced(), seed=1)
    assert vectorized_plates(t)["a"].exploitable and vectorized_plates(t)["a"].sites == ("x",)


def of_guide(dist):
    return (yield Sample("w", dist))


def test_a_value_for_each_element_is_none_of_what_they_share():
    program, two = lift(in_plate, prior={"w": D}), {"w": torch.ones(2)}
    guides = [trace(guide).get_trace() for guide in (lambda: of_guide(D.expand([2])), lambda: plate("a", 2)(lambda i: of_guide(D))())]
    given = [condition(program, data=two), substitute(program, data=two), *(replay(program, guide) for guide in guides)]
    for handled in given:
        with pytest.raises(PlateError, match=r"'w': the elements of plate 'a' share its value: expected shape \(\), got \(2,\)"):
            run(handled())
    for guide in guides:
        with pytest.raises(
            PlateError, match="'w': its distribution, which the elements of plate 'a' share, has size 1 here, .* size 2 there"
        ):
            run(replay(indep(lambda: of_guide(D), name="a", vectorized=True, dim=-1, size=2), guide)())
    each = plate("a", 2)(lift(lambda i: (yield Param("w", torch.zeros(()))), prior={"w": D}))
    assert run(condition(each, data=two)()).tolist() == [1.0, 1.0] == run(condition(each, data={"w": ONE})()).tolist()
    many = torch.zeros(5, 1)  # to the left of the plate, as a runtime of many values has them
    assert run(condition(program, data={"w": many})()) is None


def test_priors_by_callable_and_the_inner_lift_wins():
    def one():
        return (yield Param("w", ONE))

    assert run(lift(one, prior=lambda: torch.tensor(5.0))()) == 5.0
    t = trace(lift(lift(one, prior=Normal(100.0, 0.001)), prior=Normal(-100.0, 0.001))).get_trace()
    assert t["w"].value > 0


def test_condition_reaches_lifted_sites_from_outside_only():
    def one():
        return (yield Param("w", ONE))

    assert run(condition(lift(one, prior=D), data={"w": torch.tensor(3.0)})()) == 3.0
    assert run(lift(condition(one, data={"w": torch.tensor(3.0)}, strict=False), prior=D)()) != 3.0


def test_substitute_decides_what_lift_makes_of_it():
    def one():
        return (yield Param("w", ONE))

    t = trace(lift(substitute(one, data={"w": torch.tensor(3.0)}), prior=D)).get_trace()
    assert (t["w"].type, t["w"].value) == ("sample", 3.0)


class Whole(constraints.Constraint):
    """One of a user's own."""

    event_dim = 1

    def check(self, value):
        return (value == value).all(-1)


@pytest.mark.parametrize(("param", "prior", "problem"), [
    (Param("w", torch.ones(3), constraint=constraints.positive), D, r"site 'w'.*Normal.*support Real\(\).*constraint GreaterThan"),
    (Param("w", torch.tensor(0.5), constraint=constraints.unit_interval), HalfNormal(1.0), "which does not satisfy its constraint Interval"),
    (Param("w", torch.ones(2) / 2, constraint=constraints.simplex), PRIOR, "which does not satisfy its constraint Simplex"),
    (Param("w", torch.zeros(2), constraint=ordered), PRIOR, "which does not satisfy its constraint Ordered"),
    (Param("w", torch.ones(2), constraint=constraints.stack([constraints.real, constraints.positive])), PRIOR.base_dist.expand([2]), None),
    (Param("w", torch.ones(2, 2), constraint=constraints.square), Normal(torch.zeros(2, 2), 1.0), None),
    (Param("w", torch.ones(2), constraint=Whole()), PRIOR, None),
    (Param("w", ONE, constraint=constraints.positive), TransformedDistribution(HalfNormal(1.0), [AffineTransform(0.0, 2.0)]), None),
    (Param("w", torch.ones(3, 2), constraint=constraints.independent(Whole(), 1)), Normal(torch.zeros(3, 2), 1.0), None),
    (Param("w", torch.ones(3)), D, r"site 'w': its initial value has shape \(3,\), and its value under the prior Normal.* has \(\)"),
    (Param("w", lambda: torch.randn(3)), D, r"site 'w': its initial value has shape \(3,\), and its value under the prior Normal.* has \(\)"),
    (Param("w", lambda: torch.randn(3)), D.expand([3]), None),
    (Param("w", ONE), PRIOR, None),
    (Param("w", 0.5, constraint=constraints.positive), LogNormal(0.0, 1.0), None),
    (Param("w", torch.ones(2) / 2, constraint=constraints.simplex), Dirichlet(torch.ones(2)), None),
])  # fmt: skip
def test_a_prior_whose_support_or_shape_does_not_fit_the_param_is_refused(param, prior, problem):
    def one():
        return (yield param)

    program = lift(one, prior={"w": prior})
    if problem is None:
        assert run(program()).shape == prior.batch_shape + prior.event_shape
    else:
        with pytest.raises(ParamError, match=problem):
            run(program())


class Minus:
    """Tells no support."""

    def sample(self):
        return torch.tensor(-1.0)

    def log_prob(self, value):
        return -value


@pytest.mark.parametrize(("prior", "expected"), [
    (lambda: D, "has support Real"), (lambda: torch.tensor(-2.0), "gives tensor.-2"), (Minus(), "gives tensor.-1"), (Minus, "gives tensor.-1"),
    (lambda: "text", "gives 'text'"),
])  # fmt: skip
def test_a_prior_that_a_callable_makes_or_that_tells_no_support_must_satisfy_the_constraint_too(prior, expected):
    def scaled():
        return (yield Param("w", torch.tensor(1.0), constraint=constraints.positive))

    for number in range(4):  # also where what is drawn does, by chance
        for given in (prior, {"w": prior}):
            with pytest.raises(ParamError, match=f"site 'w'.*{expected}.*does not satisfy its constraint GreaterThan"):
                run(lift(scaled, prior=given)(), seed=number)
    assert run(lift(scaled, prior=lambda: HalfNormal(1.0))()) > 0
    assert run(lift(scaled, prior=lambda: torch.tensor(2.0))()) == 2.0
    many = torch.tensor([2.0, 3.0])
    assert torch.equal(torch.vmap(lambda value: run(lift(scaled, prior=lambda: value)()))(many), many)
    traced = make_fx(lambda value: run(lift(scaled, prior=lambda: value)()) * 2.0)(torch.tensor(2.0))  # which cannot be asked
    assert traced(torch.tensor(3.0)) == 6.0


def three():
    return (yield Param("w", lambda: torch.ones(3)))


@pytest.mark.parametrize("around", [
    lambda p: p, lambda p: block(p), lambda p: uncondition(condition(p, data={"w": torch.zeros(3)})), lambda p: scope(p, prefix="a"),
    lambda p: replay(p, guide_trace=Trace()),
])  # fmt: skip
def test_whoever_draws_what_was_a_param_checks_its_shape(around):
    assert run(around(lift(three, prior=D.expand([3])))()).shape == (3,)
    with pytest.raises(ParamError, match=r"its initial value has shape \(3,\), and its value under the prior .* has \(\)"):
        run(around(lift(three, prior=D))())


def test_a_value_that_is_given_for_what_was_a_param_is_the_givers():
    given = torch.zeros(2, 3)
    for give in (condition, substitute):
        assert run(give(lift(three, prior=D), data={"w": given})()) is given


@attrs.frozen(slots=False, eq=False, repr=False)
class Reparameterised(Poutine):
    """Draws ``w`` as a transform of something else."""

    base: Any
    transform: Any

    def rules(self):
        def around(site):
            base = yield site.evolve(name="w_base", fn=self.base)
            return site.evolve(value=self.transform(base.value))

        return {Sample: Rule(around=around)}


@pytest.mark.parametrize(("param", "prior", "base", "transform"), [
    (Param("w", torch.ones(3) / 3, constraint=constraints.simplex), Dirichlet(torch.ones(3)), PRIOR, StickBreakingTransform()),
    (Param("w", ONE, constraint=constraints.positive), LogNormal(0.0, 1.0), D, torch.exp),
    (Param("w", torch.zeros(2)), PRIOR, D, lambda x: x.expand(2)),
])  # fmt: skip
def test_what_a_lifted_param_is_drawn_from_by_a_handler_is_that_handlers(param, prior, base, transform):
    def one():
        return (yield param)

    value = run(Reparameterised(lift(one, prior=prior), base, transform)())
    assert bool(param.constraint.check(value).all())
    assert value.shape == param.init.shape


def test_a_lifted_param_that_a_handler_computes_is_read_again():
    @attrs.frozen(slots=False, eq=False, repr=False)
    class Computing(Poutine):
        def rules(self):
            def around(site):
                return (yield Deterministic(site.name, torch.tensor(2.0)))

            return {Sample: Rule(around=around)}

    def twice():
        w = yield Param("w", ONE, constraint=constraints.positive)
        return w, (yield Param("w", ONE, constraint=constraints.positive))

    assert run(Computing(lift(twice, prior=HalfNormal(1.0)))()) == (2.0, 2.0)


def test_in_a_plate_the_shape_of_what_was_a_param_is_that_of_each_element():
    inside = plate("p", 4)(lambda _: lift(three, prior=D)())
    with pytest.raises(ParamError, match=r"its initial value has shape \(3,\)"):
        run(inside())


def test_no_field_of_a_class_of_ones_own_is_taken_for_that_of_a_lifted_param():
    @attrs.frozen(slots=False, eq=False, repr=False, init=False)
    class Start(Sample):
        init: torch.Tensor = attrs.field(init=False)

        def __init__(self, name, fn, init):
            super().__init__(name, fn)
            self.__dict__["init"] = init

    @attrs.frozen(slots=False, eq=False, repr=False, init=False)
    class Layer(Param):
        args: tuple = attrs.field(init=False)

        def __init__(self, name, init, *args):
            super().__init__(name, init)
            self.__dict__["args"] = args

    def two():
        x = yield Start("x", D, torch.zeros(7))
        return x, (yield Layer("w", ONE, "dense", 3))

    sampled = trace(uncondition(condition(two, data={"x": ONE}))).get_trace()["x"]
    assert sampled.value.shape == ()
    assert sampled.init.shape == pickle.loads(pickle.dumps(sampled)).init.shape == (7,)
    assert trace(lift(two, prior=lambda: D)).get_trace()["w"].args == ()
    with pytest.raises(UnusedNames):
        run(lift(two, prior={"x": D})())


def test_what_was_a_param_is_pickled_and_copied_without_its_initial_value():
    """Which may be a function that cannot be pickled."""
    site = trace(lift(three, prior=D.expand([3]))).get_trace()["w"]
    assert same(pickle.loads(pickle.dumps(site)), site)
    assert param_of(site).init().shape == (3,)
    assert param_of(pickle.loads(pickle.dumps(site))) is None
    assert same(copy.deepcopy(site), site)


def test_the_shape_of_an_initial_value_is_asked_for_without_the_global_generator():
    def one():
        return (yield Param("w", lambda: torch.randn(3)))

    before = torch.get_rng_state()
    run(lift(one, prior=D.expand([3]))())
    assert same(torch.get_rng_state(), before)


def test_the_priors_and_notes_of_a_handler_are_its_own():
    priors, notes = {"w": PRIOR}, {"w": {"a": 1}}
    lifted, noted = lift(network, prior=priors), infer_config(network, config=notes)
    priors.clear()
    notes.clear()
    assert trace(lifted).get_trace()["w"].type == "sample"
    assert trace(noted).get_trace()["w"].infer == {"a": 1}


def test_names_that_no_param_has_are_listed_at_the_end():
    with pytest.raises(UnusedNames, match=r"LiftPoutine names what the program never reached as a param: typo; it reached: w, b\."):
        run(lift(network, prior={"w": PRIOR, "typo": D})())
    run(lift(network, prior={"typo": D}, strict=False)())


def test_a_name_that_a_lift_further_in_has_taken_counts_as_read():
    for inner in (
        lift(network, prior={"w": PRIOR}),
        lift(scale(network, scale=2.0), prior={"w": PRIOR}),
    ):  # in lift's own way, and by ``lifted``
        twice = lift(inner, prior={"w": D})
        assert trace(twice).get_trace()["w"].fn is PRIOR
    run(lift(condition(inner, data={"w": torch.zeros(2)}), prior={"w": D})())
    run(lift(scope(inner, prefix="a"), prior={"a/w": D})())


def test_one_rule_for_params_of_different_shapes():
    """As the docstring has it."""

    def network(x):
        w = yield Param("w", torch.ones(2, 3))
        return x @ w + (yield Param("b", lambda: torch.zeros(3)))

    code = textwrap.dedent("\n".join(line for line in lift.__doc__.splitlines() if "t = run(" in line or "prior={name" in line))
    names = {"torch": torch, "run": run, "trace": trace, "lift": lift, "Normal": Normal, "network": network, "x": torch.ones(5, 2)}
    exec(code, names)
    t = run(trace(names["bayesian"]).traced(names["x"]), seed=1)
    assert {name: tuple(t[name].value.shape) for name in t.stochastic_nodes} == {"w": (2, 3), "b": (3,)}


def test_a_sample_of_a_name_is_no_param():
    def model():
        yield Sample("mu", D)
        yield Param("w", 0.0)

    for around in (lambda m: m, lambda m: condition(m, data={"mu": torch.tensor(0.0)})):
        with pytest.raises(UnusedNames, match=r"LiftPoutine names what the program never reached as a param: mu; it reached: w\."):
            run(lift(around(model), prior={"mu": D, "w": D})())
    run(lift(model, prior={"mu": D}, strict=False)())


def test_a_second_read_of_a_lifted_param_is_no_site():
    seen = []

    def spying():
        return (yield from escape(lift(network, prior={"w": PRIOR}), escape_fn=lambda site: seen.append(site.name))())

    run(spying)
    assert seen == ["w"]


# scope and infer_config


def test_infer_config_lists_names_that_no_site_has():
    with pytest.raises(UnusedNames, match=r"InferConfigPoutine names what the program never reached as a site: typo; it reached: x, y"):
        run(infer_config(model, config={"x": {"a": 1}, "typo": {"a": 1}})())
    run(infer_config(model, config={"typo": {"a": 1}}, strict=False)())
    run(infer_config(model, config=lambda site: {})())


def test_what_scope_does_to_a_name_is_undone_only_for_those_who_look():
    asked = []

    class Noting(str):
        def removeprefix(self, prefix):
            asked.append(str(self))
            return str(self).removeprefix(prefix)

        def __radd__(self, prefix):
            return Noting(prefix + str(self))

    def named():
        yield Sample("x", D).evolve(name=Noting("x"))

    run(scope(named, prefix="a")())
    assert asked == []
    assert "x" in run(scope(trace(named).traced, prefix="a")())
    assert asked == ["a/x"]


def rows(size=2):
    return (yield from plate("rows", size)(lambda index: drawing())())


def drawing():
    return (yield Sample("x", D))


def test_a_scope_renames_plates_outside_and_not_inside():
    inner = []

    def noting():
        t = yield from trace(rows).traced()
        inner.append(t["x"].cond_indep_stack)

    def twice():
        for prefix in ("a", "b"):
            yield from scope(noting, prefix=prefix)()

    t = trace(plate("rows", 3)(lambda index: twice())).get_trace()
    assert [[frame.name for frame in t[name].cond_indep_stack] for name in ("a/x", "b/x")] == [["rows", "a/rows"], ["rows", "b/rows"]]
    assert [[(frame.name, frame.size) for frame in frames] for frames in inner] == [[("rows", 3), ("rows", 2)]] * 2
    assert t["a/x"].value.shape == (2, 3)
    assert {name: use.exploitable for name, use in vectorized_plates(t).items()} == {"rows": True, "a/rows": True, "b/rows": True}


def test_a_plate_outside_of_a_scope_keeps_its_name_whatever_that_is():
    inner = []

    def noting():
        t = yield from trace(drawing).traced()
        inner.append([frame.name for frame in t["x"].cond_indep_stack])
        yield from plate("rows", 2)(lambda index: trace(drawing).traced())()

    run(plate("a/columns", 3)(lambda index: scope(noting, prefix="a")()))
    assert inner == [["a/columns"]]
    with pytest.raises(PlateError, match="'a/rows': this plate is entered inside itself; give .* or wrap it in scope"):
        run(plate("a/rows", 3)(lambda index: scope(rows, prefix="a")()))


def test_two_scopes_of_plates_are_one_of_both_prefixes():
    both, one = (run(Program(trace(fn).traced)) for fn in (scope(scope(rows, prefix="b"), prefix="a"), scope(rows, prefix="a/b")))
    assert same(both.nodes["a/b/x"], one.nodes["a/b/x"]) and both["a/b/x"].cond_indep_stack[0].name == "a/b/rows"


def test_sequential_plates_and_markov_loops_in_a_scope():
    def loops():
        yield from plate("items", 2, vectorized=False)(lambda i: named(f"x{i}"))()
        yield from markov("weeks", 2)(lambda t, x: drawing())()

    seen = []
    t = trace(watch(scope(loops, prefix="a"), seen), graph_type="dense").get_trace()
    assert [frame.name for frame in t["a/x1"].cond_indep_stack] == ["a/items"]
    assert t["a/x0"].cond_indep_stack[0].loop is t["a/x1"].cond_indep_stack[0].loop is not None
    assert ("a/x0", "a/x1") not in t.edges
    assert seen == ["a/items", "a/items", "a/weeks", "a/weeks", "a/weeks"]


def named(name):
    yield Sample(name, D)


def watch(fn, seen):
    @attrs.frozen(slots=False, eq=False, repr=False)
    class Watching(Poutine):
        def rules(self):
            rule = Rule(up=lambda entry: seen.append(entry.name) or entry)
            return {EnterPlate: rule, EnterMarkov: rule}

    return Watching(fn)


def test_scope_renames_outside_and_not_inside():
    inner = []

    def noting():
        t = yield from trace(model).traced()
        inner.append(list(t))

    outside = chain(noting, scope(prefix="b"), scope(prefix="a"), trace()).get_trace()
    assert inner == [["_INPUT", "x", "y", "_RETURN"]]
    assert list(outside) == ["_INPUT", "a/b/x", "a/b/y", "_RETURN"]


def test_infer_config_merges():
    configured = infer_config(
        infer_config(model, config={"x": {"step": 1, "kind": "a"}}), config=lambda site: {"kind": "b"} if site.name == "x" else {}
    )
    t = trace(configured).get_trace()
    assert t["x"].infer == {"step": 1, "kind": "b"}
    assert t["y"].infer == {}


# trace


def test_a_second_sample_of_a_name_is_refused_before_it_is_drawn():
    drawn = []

    class Watched(Normal):
        def rsample(self, sample_shape=()):
            drawn.append(1)
            return super().rsample(sample_shape)

    def twice():
        yield Sample("x", Watched(0.0, 1.0))
        yield Sample("x", Watched(0.0, 1.0))

    with pytest.raises(DuplicateSite, match="site 'x': this name is taken"):
        run(trace(twice)())
    assert drawn == [1]
    run(twice)


@pytest.mark.parametrize(
    "second", [Observe("x", D, ONE), Deterministic("x", ONE), Param("x", ONE), Sample("_INPUT", D), Observe("_INPUT", D, ONE)]
)
def test_names_are_unique_over_all_types(second):
    def twice():
        yield Sample("x", D)
        yield second

    with pytest.raises(DuplicateSite):
        run(trace(twice)())


def test_a_trace_is_transparent_and_its_trace_is_a_programs_value():
    assert same(run(trace(model)()), run(model))

    def outer():
        t = yield from trace(model).traced()
        return t.log_pdf(), t["_RETURN"].value

    density, value = run(outer)
    assert same(value, run(model))
    assert density == trace(model).get_trace().log_pdf()


def test_get_trace_uses_seed_zero_unless_the_chain_has_one():
    assert trace(model).get_trace() == run(trace(model).traced(), seed=0) != trace(seed(model, seed=1)).get_trace()


def test_a_trace_records_what_further_out_left_of_a_site():
    inner = []

    def noting():
        inner.append((yield from trace(model).traced()))

    run(scale(condition(noting, data={"x": ONE}), scale=2.0)())
    assert (inner[0]["x"].is_observed, inner[0]["x"].scale) == (True, 2.0)


# aliases and chain


def test_an_alias_is_its_class_and_awaits_its_function():
    assert scale(model, 2.0) == scale(model, scale=2.0) == scale(scale=2.0)(model) == ScalePoutine(model, 2.0)
    assert isinstance(trace(model), TracePoutine)


def test_a_link_that_wraps_something_already_is_refused():
    """Else the function would be the argument of what the link wraps."""
    for link in (scale(model, 2.0), trace(model), plate("p", 2)(model)):
        with pytest.raises(NotAProgram, match=r"wraps model already; leave its first argument out"):
            chain(model, link)


@pytest.mark.parametrize(("make", "problem"), [
    (lambda: chain(model, [scale(scale=2.0), trace()]), r"expected a poutine .* as a link, got \[ScalePoutine.*write chain\(model, \*links\)"),
    (lambda: chain(model, 3), "expected a poutine that awaits its function as a link, got 3$"),
    (lambda: chain(scale(scale=2.0), model), r"ScalePoutine\(scale=2.0\) awaits what it wraps, and is a link: put the model first"),
    (lambda: chain(model, scale(scale=2.0), model_of), "the link model_of is a generator function, and is wrapped: put it first"),
    (lambda: run(scale(scale=2.0)), r"^ScalePoutine\(scale=2.0\) still awaits what it wraps"),
    (lambda: run(Program(scale(scale=2.0), model, 3)), r"^ScalePoutine\(scale=2.0\) still awaits what it wraps"),
    (lambda: scale(scale=2.0)(model, x=3), r"^ScalePoutine\(scale=2.0\) still awaits what it wraps"),
])  # fmt: skip
def test_what_is_no_link_or_awaits_its_function_is_refused(make, problem):
    with pytest.raises(NotAProgram, match=problem):
        make()


def model_of(fn):
    yield from fn()


class Twice:
    """Of something: a poutine over a method gets the object, as a function does."""

    def __init__(self, at):
        self.at = at

    @condition(data={"x": ONE})
    @scale(scale=2.0)
    def sampled(self, shift):
        x = yield Sample("x", Normal(self.at, 1.0))
        return self.at + x + shift

    @plate("p", 2)
    def each(self, index):
        return (yield Sample("z", Normal(self.at, 1.0)))

    of_a_callable = scale(len, 2.0)


def test_methods_may_be_decorated():
    first, second = Twice(1.0), Twice(10.0)
    assert (run(first.sampled(5.0)), run(second.sampled(5.0)), run(Twice.sampled(first, 5.0))) == (7.0, 16.0, 7.0)
    assert trace(first.sampled).get_trace(5.0)["x"].scale == 2.0
    assert run(first.each()).shape == (2,)
    assert first.of_a_callable == Twice.of_a_callable == scale(len, 2.0)
    assert isinstance(Twice.sampled, ConditionPoutine)


def test_the_program_of_a_chain_prints_as_it_was_written():
    whole = chain(model_of, condition(data={}), scale(scale=2.0))
    assert repr(whole(3)) == "ScalePoutine(ConditionPoutine(model_of, data={}), scale=2.0)(3)"
    assert repr(trace(whole).traced(fn=3)) == "TracePoutine(ScalePoutine(ConditionPoutine(model_of, data={}), scale=2.0)).traced(fn=3)"


def test_a_chain_reads_innermost_first():
    whole = chain(model, condition(data={"x": ONE}), scale(scale=2.0), trace())
    assert whole == TracePoutine(ScalePoutine(ConditionPoutine(model, {"x": ONE}), 2.0))
    assert chain(model) is model
    assert repr(whole) == "TracePoutine(ScalePoutine(ConditionPoutine(model, data={'x': tensor(1.)}), scale=2.0))"


@pytest.mark.parametrize("handler", [path.stem for path in Path(poutine.handlers.__file__).parent.glob("[!_]*.py")])
def test_an_alias_is_documented_as_its_class(handler):
    alias = getattr(poutine, handler)
    assert inspect.getdoc(alias) == inspect.getdoc(alias.poutine)
    assert alias.poutine.__name__ in pydoc.plain(pydoc.render_doc(alias))
    assert inspect.signature(alias) == inspect.signature(alias.poutine)
    assert next(iter(inspect.signature(alias).parameters)) == "fn"
    assert pickle.loads(pickle.dumps(alias)) == alias == copy.deepcopy(alias)


@pytest.mark.parametrize(("call", "problem"), [
    (lambda: condition(model, x=1), r"ConditionPoutine: got an unexpected keyword argument 'x'; it is called as ConditionPoutine\(fn, data, strict=True\)"),
    (lambda: condition(model, {}, x=1), "ConditionPoutine: got an unexpected keyword argument 'x'; it is called as"),
    (lambda: condition(model), "ConditionPoutine: missing a required argument: 'data'; it is called as"),
    (lambda: condition(x=1), "ConditionPoutine: got an unexpected keyword argument 'x'; it is called as"),
    (lambda: condition(), "ConditionPoutine: missing a required argument: 'data'"),
    (lambda: trace(model, "flat", 3), r"TracePoutine: too many positional arguments; it is called as TracePoutine\(fn, graph_type=None\)"),
    (lambda: ConditionPoutine(model), r"ConditionPoutine.__init__\(\) missing"),
    (lambda: uncondition(model, 3), r"UnconditionPoutine: too many"),
    (lambda: poutine.UnconditionPoutine(), r"UnconditionPoutine.__init__\(\) missing"),
    (lambda: condition(model, 3), "^expected a mapping from names to values, or a trace, got 3$"),
])  # fmt: skip
def test_a_call_that_does_not_fit_tells_how_it_is_called(call, problem):
    with pytest.raises(TypeError, match=problem):
        call()


def test_an_option_without_its_name_is_refused():
    with pytest.raises(TypeError, match="name the other arguments"):
        scale(2.0)


@pytest.mark.parametrize("link", [
    block(hide=["x"]), condition(data={"x": ONE}), escape(escape_fn=bool), indep(name="p", vectorized=True), infer_config(config={"x": {}}),
    lift(prior=D), mask(mask=torch.tensor(True)), replay(guide_trace=trace(model).get_trace()), scale(scale=torch.tensor(2.0)), scope(prefix="a"),
    seed(seed=3), substitute(data={"x": ONE}), trace(graph_type="dense"),
])  # fmt: skip
def test_handlers_compare_and_pickle(link):
    handler = link(model)
    assert pickle.loads(pickle.dumps(handler)) == handler == link(model)
    assert handler != ScalePoutine(model, 99.0)


def test_messages_pass_in_order_of_the_chain():
    def one():
        return (yield Sample("x", D))

    seen = perform(chain(one, scale(scale=2.0), scope(prefix="s"), scale(scale=3.0))(), [(Sample("s/x", D).evolve(scale=6.0), 5)])
    assert seen == 5
    assert perform(Program(model), [(Sample("x", D), ONE), (Observe("y", Normal(ONE, 1.0), ONE), AS_IT_IS)]) == ONE
    with pytest.raises(AlreadyObserved):
        run(chain(model, condition(data={"y": ONE}))())


def test_a_lift_further_in_is_known_by_what_is_not_hidden():
    def two():
        yield Param("v", ONE)
        return (yield Param("w", ONE))

    run(lift(block(lift(two, prior=D), hide=["v"]), prior={"w": PRIOR})())


def test_a_second_read_must_fit_too():
    def two(again):
        yield Param("w", ONE)
        return (yield again)

    run(lift(two, prior=D)(Param("w", ONE)))
    for again in (Param("w", ONE, constraint=constraints.positive), Param("w", torch.ones(3))):
        with pytest.raises(ParamError, match="site 'w'"):
            run(lift(two, prior=D)(again))


def test_a_param_of_a_class_of_ones_own_may_keep_its_initial_value_elsewhere():
    @attrs.frozen(slots=False, eq=False, repr=False, init=False)
    class One(Param):
        init = ONE

        def __init__(self, name: str) -> None:
            self.__dict__["name"] = name

    def one():
        return (yield One("w"))

    assert trace(lift(one, prior=D)).get_trace()["w"].fn is D
    assert trace(lift(lift(one, prior={"w": D}), prior={"w": PRIOR})).get_trace()["w"].fn is D


def test_what_is_not_lifted_is_taken_for_nothing_else():
    def three():
        w = yield Param("w", ONE)
        yield Param("v", ONE)
        return w, (yield Param("w", ONE))

    first, again = run(lift(three, prior={"w": D})())
    assert first is again
