"""H11 and H13, for real: nothing around a program changes, and nothing around it matters."""

from __future__ import annotations

import importlib
import os
import pkgutil
import random
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal

import interpreters
import poutine
from poutine import Observe, Sample, chain, condition, drive, scale, trace
from poutine.laws import AskingRuntime, Stepper, ambient, chains, difference, distributions, interleaved, module_state, outcome, programs
from poutine.laws.ambient import changed, other_generators, other_surroundings, state_of
from poutine.laws.section_h_ambient import _like, _site_like
from poutine.randomness import draw

CHANGES = {
    "torch's global generator": lambda: torch.rand(()),
    "numpy's global generator": lambda: numpy.random.rand(),
    "random's global generator": random.random,
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's grad mode": lambda: torch.set_grad_enabled(False),
    "the warnings filters": lambda: warnings.filterwarnings("ignore"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_seen(what: str):
    generators = torch.get_rng_state(), numpy.random.get_state(), random.getstate()
    before = ambient()
    try:
        with warnings.catch_warnings():
            CHANGES[what]()
            assert changed(before, ambient()) == what
    finally:
        torch.set_rng_state(generators[0])
        numpy.random.set_state(generators[1])
        random.setstate(generators[2])
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)


def test_a_change_deep_inside_is_seen():
    class Thing:
        def __init__(self) -> None:
            self.parts = {"list": [1, torch.ones(2)], "function": lambda: self}

    thing = Thing()
    before = state_of(thing)
    assert changed(before, state_of(thing)) is None
    thing.parts["list"][1].add_(1)
    assert changed(before, state_of(thing)) == ".parts.list.1"
    thing.parts["list"].append(None)
    assert changed(before, state_of(thing)) is not None


@pytest.mark.slow
@given(st.data())
def test_no_object_of_any_module_is_changed(data):
    """Every object that hangs on a module of the packages, deep, before and after a chain of handlers has run."""
    program = data.draw(programs())
    handled = data.draw(chains(program))(program)
    outcome(handled)  # what is imported or built at the first use is there now
    before = module_state()
    outcome(handled)
    assert changed(before, module_state()) is None


def test_every_module_is_looked_at():
    modules = {
        module.name
        for package in (poutine, interpreters)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not module.name.endswith("__main__")
    }
    for module in modules:
        importlib.import_module(module)
    roots = {path for path in module_state() if path in modules}
    assert roots == modules


@pytest.mark.filterwarnings("ignore:Singular sample detected")
@given(distributions(), st.integers(0, 9))
def test_a_draw_of_any_distribution_neither_reads_nor_changes_the_global_generators(dist, seed):
    before = ambient()
    value = draw(dist, (seed, "x", 1))
    assert changed(before, ambient()) is None
    with other_generators(seed + 1):
        again = draw(dist, (seed, "x", 1))
    assert torch.equal(value, again)


@pytest.mark.slow
@given(st.data())
def test_eight_threads_on_one_program(data):
    program = data.draw(programs())
    handled = data.draw(chains(program))(program)
    expected = [outcome(handled, seed=seed) for seed in range(2)]
    with ThreadPoolExecutor(8) as pool:
        for number, found in enumerate(pool.map(lambda number: outcome(handled, seed=number % 2), range(16))):
            assert difference(found, expected[number % 2]) is None


@pytest.mark.slow
@given(st.data(), st.lists(st.integers(0, 4), max_size=60))
def test_programs_that_are_stepped_in_any_order_do_not_see_one_another(data, turns):
    """k different chains around k programs, each driven through ``poutine.drive``, one message at a time."""
    several = [data.draw(programs()) for _ in range(data.draw(st.integers(2, 4)))]
    handled = [data.draw(chains(program))(program) for program in several]
    alone = [outcome(fn, seed=seed) for seed, fn in enumerate(handled)]
    together = interleaved([Stepper(fn, seed) for seed, fn in enumerate(handled)], turns)
    for found, expected in zip(together, alone, strict=True):
        assert difference(found, expected) is None


def model():
    x = yield Sample("x", Normal(0.0, 1.0))
    return (yield Sample("y", Normal(x, 1.0)))


@given(st.lists(st.integers(0, 2), max_size=20))
def test_engines_that_are_sent_to_in_any_order_do_not_see_one_another(turns):
    """The same with ``send``, as another runtime would do it."""
    fn = chain(model, condition(data={"y": torch.tensor(1.0)}), scale(scale=2.0))
    engines = [drive(trace(fn).traced()) for _ in range(3)]
    runtimes = [AskingRuntime(seed) for seed in range(3)]
    waiting = {i: next(engine) for i, engine in enumerate(engines)}
    results = {}
    for i in [*turns, *(i for i in range(3) for _ in range(3))]:
        if i in waiting:
            message = waiting.pop(i)
            try:
                waiting[i] = engines[i].send(runtimes[i][type(message)](message))
            except StopIteration as stop:
                results[i] = stop.value
    assert results == {i: poutine.run(trace(fn).traced(), seed=i) for i in range(3)}


def test_a_stepper_that_is_dropped_closes_its_program():
    closed = []

    def guarded():
        try:
            yield Sample("x", Normal(0.0, 1.0))
        finally:
            closed.append(True)

    stepper = Stepper(guarded)
    assert next(iter(stepper)).name == "x"
    stepper.close()
    assert closed == [True]
    assert stepper.outcome is None


def test_numbers_are_the_same_up_to_the_rounding_of_the_coarser_dtype():
    third, double = torch.tensor(1.0) / 3, torch.tensor(1.0, dtype=torch.float64) / 3
    assert _like([third], [double]) == [third]
    assert _like({"a": third}, {"a": double}) == {"a": third}
    assert _like((third,), [double]) == [double]  # other types are another thing
    assert _like(1, 2) == 2
    assert _like(third, double + 1e-3) == double + 1e-3
    assert _like(Normal(third, 1.0), other := Normal(double + 1e-3, 1.0)) is other
    mine = Sample("x", Normal(third, 1.0))
    assert _site_like(mine, other_type := Observe("x", Normal(third, 1.0), third)) is other_type


def test_in_another_environment_everything_is_set_and_otherwise(monkeypatch):
    monkeypatch.setenv("POUTINE_LEVEL", "7")
    monkeypatch.setenv("POUTINE_MODE", "fast")
    with other_surroundings("the environment"):
        assert "POUTINE_CARELESS" in os.environ and os.environ["POUTINE_CARELESS"] == "1"
        assert os.environ["POUTINE_LEVEL"] == "8" and os.environ["POUTINE_MODE"] == "fast_elsewhere"
    assert "POUTINE_CARELESS" not in os.environ
