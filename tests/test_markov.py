"""markov under a plain run: names, states, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

from poutine import (
    Deterministic,
    EnterMarkov,
    Observe,
    Param,
    ParamStore,
    PlateError,
    Program,
    Runtime,
    Sample,
    answer,
    condition,
    markov,
    plate,
    run,
    trace,
)


def walk(n: int, vectorized: bool = False):
    @markov("walk", n, vectorized=vectorized)
    def step(t, x):
        drift = yield Param("drift", torch.tensor(0.5))
        x = yield Sample("x", Normal(0.0 if x is None else x + drift, 1.0))
        yield Deterministic("twice", 2 * x)
        yield Observe("y", Normal(x, 1.0), torch.tensor(float(t)))
        return x

    return (yield from step())


def test_sites_are_numbered_and_the_last_state_is_the_value():
    t = run(trace(walk).traced(3), seed=1)
    assert list(t)[1:-1] == ["drift", *(f"{name}_{i}" for i in range(3) for name in ("x", "twice", "y"))]
    assert torch.equal(t["_RETURN"].value, t["x_2"].value)
    assert torch.equal(t["x_1"].dist.loc, t["x_0"].value + 0.5)
    assert all(site.cond_indep_stack == () for site in t.nodes.values() if site.name == "x_1")


def test_vectorized_is_the_same_under_run():
    one, other = (run(trace(walk).traced(4, flag), seed=3) for flag in (True, False))
    assert {name: one[name].value for name in one if name[0] == "x"} == {name: other[name].value for name in other if name[0] == "x"}
    assert torch.equal(one.log_pdf(), other.log_pdf())


def test_handlers_apply_by_the_numbered_names_and_params_are_shared():
    t = run(trace(condition(walk, data={"x_1": torch.tensor(7.0)})).traced(3), params=ParamStore())
    assert t["x_1"].is_observed
    assert t["x_2"].dist.loc.item() == 7.5


def test_a_state_and_arguments_are_handed_in():
    def model():
        @markov("steps", 3)
        def step(t, state, more):
            yield Deterministic("t", t)
            return state + more

        return (yield from step(10, 5))

    assert run(model) == 25


def test_plates_inside_and_around():
    def model():
        @plate("series", 2)
        def series(i):
            @markov("steps", 2)
            def step(t, x):
                return (yield Sample("x", Normal(0.0 if x is None else x, 1.0)))

            return (yield from step())

        return (yield from series())

    t = run(trace(model).traced())
    assert t["x_1"].value.shape == (2,)
    assert [frame.name for frame in t["x_1"].cond_indep_stack] == ["series"]


def test_the_loop_asks_for_each_step():
    asked = []

    def watched():
        return (yield from Program(walk, 2))

    runtime = Runtime(0)
    step = runtime[EnterMarkov]
    runtime[EnterMarkov] = lambda entry: (asked.append((entry.name, entry.start, entry.size)), step(entry))[1]
    answer(Program(watched), runtime)
    assert asked == [("walk", 0, 2), ("walk", 1, 2), ("walk", 2, 2)]


def test_there_must_be_steps():
    with pytest.raises(PlateError, match="positive size, got 0"):
        markov("walk", 0)(walk)
