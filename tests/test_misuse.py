"""What is easily got wrong at the edges of the core: either it works, or the error names the site and a way out."""

from __future__ import annotations

import pickle
import re
from functools import partial

import attrs
import numpy
import pytest
import torch
from torch.distributions import Normal, constraints

from interpreters import importance
from interpreters.elimination import eliminate
from interpreters.lockstep import lockstep
from poutine import (
    Deterministic,
    DistributionError,
    MarkovPoutine,
    Message,
    NotAProgram,
    Observe,
    Param,
    ParamError,
    ParamStore,
    PlateError,
    PlatePoutine,
    Poutine,
    Program,
    Rule,
    Sample,
    Trace,
    UnusedNames,
    block,
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
    vectorized_plates,
)

D = Normal(0.0, 1.0)


def one():
    return (yield Sample("x", D))


# Parameters


@pytest.mark.parametrize("init", [None, torch.tensor(-1.0)])
def test_a_read_that_fails_leaves_the_store_as_it_was(init):
    store = ParamStore()
    with pytest.raises(ParamError):
        store.read(Param("w", init, constraint=constraints.real if init is None else constraints.positive))
    assert store.read(Param("w", torch.tensor(0.5), constraint=constraints.unit_interval)) == 0.5


def test_parameters_may_be_ordered_and_a_constraint_without_a_transform_names_the_site():
    w = torch.tensor([1.0, 2.0, 4.0])
    assert torch.allclose(ParamStore().read(Param("w", w, constraint=ordered)), w)
    with pytest.raises(ParamError, match="'w': no transform"):
        ParamStore().read(Param("w", torch.tensor(1.0), constraint=constraints.integer_interval(0, 2)))


def test_a_state_is_loaded_by_the_names_of_parameters_only():
    store, loaded = ParamStore(), ParamStore()
    store.read(Param("a.b", torch.tensor(2.0), constraint=constraints.positive))
    loaded.load_state_dict(store.state_dict())
    with pytest.raises(KeyError, match="was loaded, and its constraint is not known"):
        loaded["a.b"]
    assert torch.isclose(loaded.read(Param("a.b", constraint=constraints.positive)), torch.tensor(2.0))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        ParamStore().load_state_dict({"foo": torch.zeros(())})


def test_a_mapping_is_no_store_and_no_trace():
    with pytest.raises(TypeError, match="expected a ParamStore as params"):
        run(one, params={})
    with pytest.raises(TypeError, match="expected a trace to replay"):
        replay(one, {"x": 1})


def test_a_coroutine_function_is_no_callable_of_a_sample():
    async def simulator(x):
        return x

    def model():
        return (yield Sample("z", simulator, 1.0))

    with pytest.raises(DistributionError, match=r"site 'z': .*simulator.* is a coroutine function.*yield Await\('z', fn, \*args\)"):
        run(model)


@pytest.mark.parametrize("constraint", [constraints.positive, constraints.real])
@pytest.mark.parametrize(
    "fn", [one, one(), scale(one, 2.0), scale(one, 2.0)(), Program(one)], ids=["function", "generator", "poutine", "its program", "program"]
)
def test_a_submodel_is_no_value_of_a_sample(fn, constraint):
    def model():
        yield Sample("z", fn)

    with pytest.raises(DistributionError, match=r"site 'z': expected a distribution.*; write `x = yield from submodel\(\.\.\.\)`"):
        run(model)
    if callable(fn):
        with pytest.raises(DistributionError, match="site 'w': .*got the submodel"):
            run(lift(partial(learning, constraint), prior=fn)())


def learning(constraint):
    return (yield Param("w", torch.tensor(0.5), constraint=constraint))


@pytest.mark.parametrize("constraint", [
    constraints.dependent, constraints.dependent_property(), constraints.independent(constraints.dependent, 1),
    constraints.greater_than, constraints.stack, 5, None,
])  # fmt: skip
def test_what_is_no_constraint_of_a_parameter_names_the_site(constraint):
    for model in (partial(learning, constraint), lift(partial(learning, constraint), prior=D)):
        with pytest.raises(
            ParamError, match="site 'w': (the constraint .* depends on its arguments|expected a constraint, like constraints.positive)"
        ):
            run(Program(model))


def test_an_initial_value_has_the_dimensions_of_its_constraint():
    with pytest.raises(ParamError, match="site 'w': expected an initial value of 2 or more dimensions for PositiveDefinite"):
        run(Program(learning, constraints.positive_definite))


@pytest.mark.parametrize("seen", [run, lambda model: run(seed(model, 1)()), lambda model: trace(model).get_trace().log_pdf()])
@pytest.mark.parametrize("value", [torch.tensor(1.0), 1.0, numpy.ones(())])
def test_an_observation_whose_value_and_distribution_are_exchanged_is_refused(value, seen):
    def model():
        yield Observe("y", value, D)

    with pytest.raises(DistributionError, match=r"site 'y': expected a distribution.* is one: write Observe\(name, distribution, value\)"):
        seen(model)


def test_nothing_is_no_observation():
    with pytest.raises(DistributionError, match="site 'y': expected the value that was observed, got None; write Sample"):
        Observe("y", D, None)
    with pytest.raises(DistributionError, match="site 'x': expected the value that was observed, got None"):
        run(condition(one, data={"x": None})())


def test_a_deferred_distribution_takes_no_obs():
    def model():
        yield Sample("y", Normal, 0.0, 1.0, obs=torch.tensor(1.0))

    with pytest.raises(DistributionError, match=r"unexpected keyword argument 'obs'; write Observe\(name, distribution, value\)"):
        run(model)


@pytest.mark.parametrize("name", [5, None, D, ["x"], b"x", torch.ones(())])
@pytest.mark.parametrize("make", [
    lambda name: Sample(name, D), lambda name: Observe(name, D, 0.0), lambda name: Param(name, 0.0), lambda name: Deterministic(name, 0.0),
])  # fmt: skip
def test_the_name_of_a_site_is_a_string(make, name):
    with pytest.raises(TypeError, match=r": expected a string as the name of the site, got .*; write \w+\(name, \.\.\.\)"):
        make(name)


# Plates


@pytest.mark.parametrize(("options", "problem"), [
    ({"size": 2.5}, "expected a whole number as size, got 2.5"),
    ({"size": True}, "expected a whole number as size, got True"),
    ({"size": 5, "subsample": torch.tensor([7])}, r"lies outside of the plate's size 5: \[7\]"),
    ({"size": 5, "subsample": [-1]}, "lies outside"),
    ({"size": 5, "subsample": torch.zeros(2, 2, dtype=torch.long)}, "a vector of whole numbers"),
    ({"size": 5, "subsample": [0.5]}, "a vector of whole numbers"),
])  # fmt: skip
def test_sizes_and_subsamples_are_checked(options, problem):
    with pytest.raises(PlateError, match=problem):
        plate("p", **options)(one)


def test_a_subsample_may_be_a_list():
    def each(i):
        return i
        yield

    assert run(plate("p", 5, subsample=[3, 1], vectorized=False)(each)()) == [3, 1]
    for index in ([3, 1], numpy.array([3, 1])):
        assert run(condition(plate("p", 5, 2, vectorized=False)(each), data={"p": index})()) == [3, 1]


@pytest.mark.parametrize("number", range(4))
def test_replaying_an_index_into_a_plate_of_another_size_is_an_error_whatever_was_drawn(number):
    def model(size):
        return (yield from plate("p", size, 2)(lambda i: one())())

    guide = run(trace(model).traced(5), seed=number)
    with pytest.raises(PlateError, match="size 4 here, and 5 in the trace"):
        run(replay(model, guide)(4))
    assert same(run(replay(model, guide)(5), seed=9), guide["_RETURN"].value)


def test_a_plate_is_a_decorator():
    decorator = plate("p", 3)
    with pytest.raises(NotAProgram, match="plate 'p' is a decorator"), decorator:
        pass
    with pytest.raises(NotAProgram, match="plate 'p' is a decorator: write `@plate"):
        list(decorator)
    assert pickle.loads(pickle.dumps(decorator))(one) == decorator(one)
    with pytest.raises(NotAProgram, match="call it with the arguments"):
        list(decorator(one))


def test_markov_is_a_decorator():
    decorator = markov("t", 3)
    with pytest.raises(
        NotAProgram,
        match=r"markov 't' is a decorator: write `@markov\('t', \.\.\.\)` over a generator function of the step's number and the state, and run",
    ):
        for _ in decorator:
            pass
    assert pickle.loads(pickle.dumps(decorator))(one) == decorator(one)
    with pytest.raises(NotAProgram, match=r"markov is a decorator with options: write `@markov\(name, size\)` over one"):
        markov(one, 3)
    with pytest.raises(NotAProgram, match=r"markov is a decorator with options: write `@markov\(name, size\)` over .*step"):

        @markov
        def step(t, x):
            yield Sample("x", D)

    with pytest.raises(PlateError, match="site 't': expected a whole number as size, the number of steps, got None"):
        markov("t")(one)


@pytest.mark.parametrize("size", [3.0, True, torch.tensor(3.0), torch.tensor([3]), torch.tensor(True), "a"], ids=repr)
def test_the_steps_of_a_markov_are_a_whole_number(size):
    for make in (lambda: markov("t", size)(one), lambda: MarkovPoutine(one, "t", size)):
        with pytest.raises(PlateError, match=f"site 't': expected a whole number as size, got {re.escape(repr(size))}"):
            make()


def test_a_markov_that_is_made_wrongly():
    with pytest.raises(PlateError, match="site 't': expected a whole number as size, the number of steps, got None"):
        markov("t", None)(one)
    with pytest.raises(TypeError, match=r"markov: expected a string as name, got 3; write markov\(name, 3\)"):
        markov(3, 3)
    with pytest.raises(TypeError, match=r"markov: expected a string as name, got 3; write markov\('t', 3\)"):
        markov(3, "t")
    with pytest.raises(TypeError, match="MarkovPoutine: expected bool as vectorized, got 'yes'"):
        markov("t", 3, vectorized="yes")(one)
    assert run(markov("t", numpy.int64(2))(lambda t, state: one())()) is not None


@pytest.mark.parametrize(("options", "error", "problem"), [
    ({"name": 3, "vectorized": True}, TypeError, "IndepPoutine: expected str as name, got 3"),
    ({"name": "p", "vectorized": "yes"}, TypeError, "IndepPoutine: expected bool as vectorized, got 'yes'"),
    ({"name": "p", "vectorized": True, "dim": 1}, PlateError, "site 'p': expected a negative dim, counted from the right, got 1"),
    ({"name": "p", "vectorized": True, "dim": "x"}, PlateError, "site 'p': expected a whole number as dim, got 'x'"),
    ({"name": "p", "vectorized": True, "size": -3}, PlateError, "site 'p': expected a positive size, got -3"),
    ({"name": "p", "vectorized": True, "size": 2.0}, PlateError, "site 'p': expected a whole number as size, got 2.0"),
])  # fmt: skip
def test_an_indep_that_is_made_wrongly(options, error, problem):
    with pytest.raises(error, match=problem):
        indep(one, **options)


def test_a_plate_is_vectorized_or_not():
    with pytest.raises(TypeError, match="PlatePoutine: expected bool as vectorized, got 0"):
        plate("p", 3, vectorized=0)(one)


def test_an_escape_that_is_made_wrongly():
    for given in ("mu", None):
        with pytest.raises(
            TypeError, match=f"expected a function of a site as escape_fn, got {given!r}; write escape_fn=lambda site: site.name == "
        ):
            escape(one, given)


@pytest.mark.parametrize("option", ["hide", "expose", "hide_types", "expose_types"])
@pytest.mark.parametrize("names", [3, [3], ["x", None], [["x"]], Sample], ids=repr)
def test_the_names_of_a_block_are_strings(option, names):
    with pytest.raises(TypeError, match=f"block: expected a list of names, which are strings, got {re.escape(repr(names))}"):
        block(one, **{option: names})


def test_the_flags_of_a_block_are_flags():
    for option in ("hide_all", "expose_all"):
        with pytest.raises(TypeError, match=f"BlockPoutine: expected bool as {option}, got 'x'"):
            block(one, **{option: "x"})


def test_a_plate_has_a_name_first():
    with pytest.raises(NotAProgram, match=r"write `@plate\(name, size\)` over .*bare"):

        @plate
        def bare(i):
            yield Sample("x", D)

    with pytest.raises(TypeError, match=r"expected a string as name, got 10; write plate\('d', 10\)"):
        plate(10, "d")
    with pytest.raises(TypeError, match="PlatePoutine: expected str as name, got 10"):
        PlatePoutine(one, 10)


def test_the_batch_of_a_subsampled_plate_is_that_of_its_sites():
    def model():
        yield from plate("p", 5, 2)(lambda i: one())()

    assert trace(model).get_trace().batch_log_pdf().shape == (2,)


# Traces


def test_bare_callables_are_sorted_too():
    def model():
        yield Sample("f", lambda: torch.zeros(()))
        yield Sample("x", D)

    t = trace(indep(model, name="p", vectorized=True, size=3)).get_trace()
    assert (t.reparameterized_nodes, t.nonreparam_stochastic_nodes) == (["x"], ["f"])
    assert "'f' is a bare callable" in vectorized_plates(t)["p"].problem


def test_a_second_loop_over_a_bare_indep_may_depend_on_the_first():
    def at(name, mean):
        return (yield Sample(name, Normal(mean, 1.0)))

    def model():
        entry = indep(at, "p", False)
        first = yield from entry("a", 0.0)
        yield from entry("b", first)

    assert trace(model, graph_type="dense").get_trace().edges == [("a", "b")]


def test_a_trace_of_ones_own_type_is_copied_as_such_and_a_parameter_keeps_its_arguments():
    class Mine(Trace):
        pass

    t = Mine("dense")
    t.add_node("w", type="param", args=(torch.ones(2),), value=torch.zeros(2))
    assert type(t.copy()) is Mine and t.copy() == t
    assert t["w"].init.tolist() == [1.0, 1.0]


# Messages


def test_values_of_numpy_are_compared_by_content():
    def holding(last):
        return numpy.array([1.0, numpy.nan, last])

    for made in (lambda value: Observe("y", D, value), lambda value: Program(one, value), lambda value: condition(data={"x": value})):
        assert made(holding(1.0)) == made(holding(1.0)) != made(holding(2.0))
    assert condition(data={"x": torch.ones(3)}) == condition(data={"x": torch.ones(3)}) != condition(data={"x": torch.zeros(3)})
    assert same(numpy.array([1, 2]), numpy.array([1, 2])) and not same(numpy.array([1, 2]), numpy.array([1.0, 2.0]))
    assert same(numpy.array([holding(1.0), None], dtype=object), numpy.array([holding(1.0), None], dtype=object))


def test_a_message_reads_as_a_dictionary():
    site = Sample("x", D)
    assert "value" in site and "valeu" not in site and 0 not in site
    assert site.get("name") == "x" and site.get("valeu", 3) == 3
    assert dict(site)["type"] == "sample" and dict(site)["fn"] is D
    with pytest.raises(TypeError, match="write `yield`, not `yield from`"):
        list(site)


@attrs.frozen(slots=False, eq=False)
class Ask(Message):
    pass


@attrs.frozen(slots=False, eq=False, repr=False)
class Answering(Poutine):
    def rules(self):
        return {Ask: Rule(up=lambda ask: ask.evolve(value=42))}


def test_a_message_of_ones_own_may_be_answered_on_the_way_up():
    def asking():
        return (yield Ask("a"))

    assert run(Answering(asking)) == 42


# Options


def test_the_error_of_an_unused_name_tells_on_which_types_the_poutine_acts():
    def model():
        yield Param("w", torch.ones(()))

    with pytest.raises(
        UnusedNames, match=r"ConditionPoutine names what the program never reached as a sample or an observation: w, v;"
    ) as raised:
        run(condition(model, data={"w": 1.0, "v": 2.0}))
    assert pickle.loads(pickle.dumps(raised.value)).unused == ("w", "v")
    assert run(substitute(model, data={"w": torch.zeros(())})) is None


@pytest.mark.parametrize(("make", "problem"), [
    (lambda: trace(one, "dence"), "expected one of None, 'flat', 'dense' as graph_type, got 'dence'$"),
    (lambda: scope(one, 3), "expected str as prefix, got 3$"),
    (lambda: seed(one, "3"), "expected int as seed, got '3'$"),
    (lambda: scale(one, torch.inf), "positive scale that is finite"),
    (lambda: Rule(up=lambda m: m, around=lambda m: m), "stands alone"),
    (lambda: infer_config(one, 3), "expected a mapping from names to dictionaries, or a function from a site to one, got 3$"),
    (lambda: infer_config(one, {"x": 3}), "expected a dictionary for 'x', .* got 3$"),
    (lambda: run(infer_config(one, lambda site: 3)()), "expected a dictionary for site 'x', got 3 from <function"),
    (lambda: lift(one, None), "expected a distribution, a callable .*, got None$"),
    (lambda: lift(one, {"w": None}), "got {'w': None}$"),
])  # fmt: skip
def test_options_are_checked_when_they_are_given(make, problem):
    with pytest.raises((TypeError, ValueError), match=problem):
        make()


def test_scalars_of_numpy_are_scales_and_masks():
    density = trace(one).get_trace().log_pdf()
    assert torch.isclose(trace(scale(one, numpy.float32(2.0))).get_trace().log_pdf(), 2 * density)
    assert trace(mask(one, numpy.bool_(False))).get_trace().log_pdf() == 0


@pytest.mark.parametrize("under", [
    lambda model: scale(model, torch.ones(2)),
    lambda model: scale(scale(model, torch.ones(2)), torch.ones(3)),
    lambda model: mask(model, torch.ones(2, dtype=torch.bool)),
    lambda model: mask(mask(model, torch.ones(2, dtype=torch.bool)), torch.ones(3, dtype=torch.bool)),
])  # fmt: skip
def test_scales_and_masks_that_do_not_fit_name_the_site(under):
    def three():
        yield Sample("x", D.expand([3]))

    with pytest.raises(DistributionError, match=r"'x'.*\(2,\)"):
        trace(under(three)).get_trace().log_pdf()


@pytest.mark.parametrize("site", [Sample("x", 3), Observe("x", 3, torch.tensor(1.0))])
def test_what_is_no_distribution_has_no_hint_but_its_name(site):
    with pytest.raises(DistributionError, match="site 'x': .*expected a distribution, or a callable that returns one, got 3$"):
        run(Program(lambda: (yield site)))


def test_a_program_that_returns_a_message_in_place_of_yielding_it():
    def asking():
        yield Sample("z", D)
        return Sample("x", D)

    def without():
        return Param("x", 0.0)

    def answered():
        yield Sample("z", D)
        return Deterministic("x", 1.0)

    def around():
        return (yield from Program(asking))

    told = r"asking returned Sample\('x', .*\), which nobody was asked; .*: `return \(yield Sample\('x', \.\.\.\)\)`"
    for program in (asking, around, scale(asking, 2.0), trace(asking).traced(), Program(lockstep, asking, 3), Program(lockstep, around, 3)):
        with pytest.raises(NotAProgram, match=told):
            run(program)
    for infer in (lambda: importance.infer(asking, 10), lambda: eliminate(asking), lambda: trace(asking).get_trace()):
        with pytest.raises(NotAProgram, match=told):
            infer()
    with pytest.raises(
        NotAProgram, match=r"calling it returned Param\(.*\); a message is yielded: `return \(yield Param\('x', \.\.\.\)\)`"
    ):
        run(without)
    assert run(answered) == Deterministic("x", 1.0)


def test_a_program_that_runs_itself_too_deep_is_told_how_to():
    def deep(n):
        yield Sample(f"x_{n}", D)
        if n:
            yield from deep(n - 1)

    class Deep:
        def down(self, n):
            yield Sample(f"x_{n}", D)
            yield from self.down(n + 1)

        @classmethod
        def further(cls, n):
            yield Sample(f"x_{n}", D)
            yield from cls.further(n + 1)

    def spinning(n):
        return spinning(n + 1)

    def other():
        yield Sample("x", D)
        spinning(0)

    for program in (Program(deep, 5_000), scale(deep, 2.0)(5_000)):
        with pytest.raises(RecursionError) as caught:
            run(program)
        assert caught.value.__notes__ == [
            "deep runs itself with `yield from deep(...)`, as deep as Python's stack allows; run it with `yield from Program(deep, ...)`, which may "
            "be any number of calls deep"
        ]
    for method, name in ((Deep().down, "self.down"), (Deep.further, "cls.further")):
        with pytest.raises(RecursionError) as caught:
            run(Program(method, 0))
        note = f"{name} runs itself with `yield from {name}(...)`, as deep as Python's stack allows; run it with `yield from Program({name}, ...)`"
        assert caught.value.__notes__[0].startswith(note)
    with pytest.raises(RecursionError) as caught:
        run(other)
    assert not hasattr(caught.value, "__notes__")
