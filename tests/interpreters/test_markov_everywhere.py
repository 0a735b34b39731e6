"""A markov loop means the same whoever answers it: run, enumeration, elimination, stepping, asyncio and lockstep."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from itertools import product

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Normal

from interpreters.asynchronous import run_async
from interpreters.elimination import eliminate
from interpreters.enumeration import exact
from interpreters.lockstep import lockstep
from interpreters.stepping import begin
from poutine import Observe, Program, Sample, condition, markov, replay, run, scale, trace
from tests.interpreters.enumeration import runs

F64 = torch.float64
TURN = torch.tensor([0.3, 0.8], dtype=F64)


def chain(steps, vectorized=False):
    @markov("days", steps, vectorized=vectorized)
    def day(t, x):
        x = yield Sample("x", Bernoulli(torch.tensor(0.5, dtype=F64) if x is None else TURN[x.long()]))
        yield Observe("y", Normal(2 * x - 1, 1.0), torch.tensor(0.5, dtype=F64))
        return x

    return (yield from day())


def walk(steps, vectorized=False):
    @markov("walk", steps, vectorized=vectorized)
    def step(t, x):
        x = yield Sample("x", Normal, 0.0 if x is None else x, 1.0)
        yield Observe("y", Normal, 0.5, x, 1.0)
        return x

    return (yield from step())


BOTH = pytest.mark.parametrize("vectorized", [True, False])


@BOTH
def test_enumerated_it_is_what_is_eliminated(vectorized):
    one, other = exact(Program(chain, 4, vectorized)), eliminate(Program(chain, 4, vectorized))
    assert len(one.traces) == 16
    assert one.log_evidence.item() == pytest.approx(other.log_evidence.item(), rel=1e-12)
    for name in ("x_0", "x_2", "x_3"):
        assert one.marginal(name)[1.0] == pytest.approx(other.marginal(name)[1].item(), rel=1e-12)


@BOTH
@pytest.mark.parametrize("model", [chain, walk])
def test_stepped_and_awaited_it_is_what_is_run(model, vectorized):
    program = Program(model, 4, vectorized)
    expected = run(program, seed=5)
    here = begin(program, seed=5)
    assert here.finish().value == expected
    later = here.goto("x_2")
    assert later.back().goto("y_3").finish().value == expected
    assert list(later.trace)[-1] == "y_1"
    assert asyncio.run(run_async(program, seed=5)) == expected


@BOTH
@pytest.mark.parametrize("numbers", [True, False])
def test_in_lockstep_each_instance_is_a_single_run(numbers, vectorized):
    batch = run(Program(lockstep, Program(walk, 3, vectorized), 5, numbers=numbers, keep=True), seed=2)
    for i in range(5):
        mine = batch.trace(i)
        alone = run(trace(replay(walk, guide_trace=mine)).traced(3, vectorized))
        assert [name for name in mine if name in alone] == ["x_0", "y_0", "x_1", "y_1", "x_2", "y_2"]
        assert alone["_RETURN"].value == batch.values[i]
        assert alone.log_pdf().item() == pytest.approx(batch.log_densities[i].item(), rel=1e-6)


def test_in_lockstep_under_the_enumerator_it_is_independent_runs():
    single, joint = Counter(), Counter()
    for value, probability in runs(Program(chain, 2)):
        single[value.item()] += probability
    for batch, probability in runs(Program(lockstep, Program(chain, 2), 2, least=1)):
        joint[tuple(value.item() for value in batch.values)] += probability
    assert dict(joint) == pytest.approx({pair: single[pair[0]] * single[pair[1]] for pair in product(single, repeat=2)})


def test_handlers_around_it_apply_in_lockstep():
    program = scale(condition(walk, data={"x_1": torch.tensor(3.0)}), scale=0.5)(3)
    batch = run(Program(lockstep, program, 4, keep=True), seed=1)
    assert all(batch.trace(i)["x_1"].is_observed and batch.trace(i)["x_2"].scale == 0.5 for i in range(4))


def hidden(y, vectorized):
    @markov("time", len(y), vectorized=vectorized)
    def step(t, x):
        x = yield Sample("x", Categorical(logits=torch.zeros(8, dtype=F64) if x is None else LOGITS[x]))
        yield Observe("y", Normal(x.to(F64), 1.0), y[t])
        return x

    yield from step()


LOGITS = torch.randn(8, 8, dtype=F64, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_step_by_step_takes_time_that_is_linear_in_the_steps():
    y = torch.randn(400, dtype=F64, generator=torch.Generator().manual_seed(1))
    best = {100: float("inf"), 400: float("inf")}
    for _ in range(3):
        for steps in best:
            begun = time.process_time()
            eliminate(Program(hidden, y[:steps], False), max_plate_nesting=1)
            best[steps] = min(best[steps], time.process_time() - begun)
    assert best[400] < 8 * best[100]  # four times, and sixteen if it were quadratic
