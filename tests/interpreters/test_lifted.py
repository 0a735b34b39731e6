"""Params that lift has made samples of: whoever gives these their values looks whether they fit."""

from __future__ import annotations

import asyncio

import pytest
import torch
from torch.distributions import Bernoulli, Normal, constraints

from interpreters import importance, nuts
from interpreters.asynchronous import run_async
from interpreters.density import density
from interpreters.elimination import eliminate
from interpreters.enumeration import exact
from interpreters.lockstep import lockstep
from interpreters.stepping import begin
from interpreters.vmapped import vmapped
from poutine import Param, ParamError, Program, Sample, block, lift, run


def reading(constraint=constraints.real):
    return (yield Param("w", torch.ones(2), constraint=constraint))


FINITE = {
    "exact": exact,
    "eliminate": lambda program: eliminate(program, max_plate_nesting=0),
    "eliminate, hidden": lambda program: eliminate(Program(block(lambda: program))),
}
SMOOTH = {
    "run": run,
    "density": density,
    "nuts": lambda program: nuts.infer(program, 1, 20, 20),
    "importance": lambda program: importance.infer(program, 3),
    "guided": lambda program: importance.infer(program, 3, lambda: (yield Sample("w", program.fn.prior))),
    "lockstep of two": lambda program: run(Program(lockstep, program, 2)),
    "lockstep of three": lambda program: run(Program(lockstep, program, 3)),
    "vmapped, two": lambda program: run(Program(vmapped, lambda _: program, 2)),
    "vmapped, three": lambda program: run(Program(vmapped, lambda _: program, 3)),
    "run_async": lambda program: asyncio.run(run_async(program)),
}


ALL = [pytest.param(name, marks=pytest.mark.slow) if name == "nuts" else name for name in (*FINITE, *SMOOTH)]


@pytest.mark.parametrize("runtime", ALL)
def test_one_draw_is_no_vector(runtime):
    prior = Bernoulli(0.5) if runtime in FINITE else Normal(0.0, 1.0)
    with pytest.raises(ParamError, match=r"site '.*w.*': its initial value has shape \(2,\), and its value under the prior .* has"):
        (FINITE | SMOOTH)[runtime](Program(lift(reading, prior=prior)))


@pytest.mark.parametrize("runtime", [*SMOOTH])
def test_a_distribution_that_a_callable_makes_satisfies_the_constraint(runtime):
    with pytest.raises(ParamError, match="site '.*w.*': its prior .* has support .*, which does not satisfy its constraint GreaterThan"):
        SMOOTH[runtime](Program(lift(reading, prior=lambda: Normal(torch.zeros(2), 1.0)), constraints.positive))


@pytest.mark.parametrize("runtime", ALL)
def test_what_fits_is_taken(runtime):
    prior = Bernoulli(torch.full((2,), 0.5)) if runtime in FINITE else Normal(torch.zeros(2), 1.0)
    (FINITE | SMOOTH)[runtime](Program(lift(reading, prior=prior)))


def test_an_answer_by_hand_fits_too():
    async def one(site):
        return 1.0

    lifted = lift(reading, prior=Normal(0.0, 1.0))
    for answered in (lambda: asyncio.run(run_async(lifted(), answers={"w": one})), lambda: begin(lifted).reply(1.0)):
        with pytest.raises(ParamError, match=r"its initial value has shape \(2,\), and its value .* has \(\)"):
            answered()


def test_what_is_awaited_is_awaited_once():
    def twice():
        w = yield Param("w", torch.zeros(2))
        return w, (yield Param("w", torch.zeros(2)))

    asked = []

    async def answer(site):
        asked.append(site.name)
        return torch.ones(2)

    first, again = asyncio.run(run_async(lift(twice, prior=Normal(torch.zeros(2), 1.0))(), answers={"w": answer}))
    assert asked == ["w"]
    assert first is again
