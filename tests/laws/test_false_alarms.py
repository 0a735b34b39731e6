"""Programs and handlers without a fault, of which random cases seldom have one, and which no law may accuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, constraints

from poutine import Param, Poutine, Program, Rule, Running, Sample, block, broadcast, condition, indep, lift, plate, replay, scale
from poutine.laws import LAWS, Case, LawBroken, Subject, sampled
from poutine.laws.law import Side, side
from poutine.laws.links import Wrap
from poutine.laws.watch import Boom, Watched
from poutine.messages.frames import of_all


class OneCase(Case):
    """The case of one program, under one handler; ``drawn`` is what the law draws otherwise, in turn."""

    def __init__(self, law: str, wrap: Wrap, model: Callable[..., Any], *drawn: Any) -> None:
        super().__init__(LAWS[law], lambda strategy, rest=iter(drawn): next(rest), Subject.of(wrap))
        self.wrap, self.model = wrap, model

    def program(self, **flags: Any) -> Any:
        return self.model

    def handler(self, program: Callable[..., Any]) -> Wrap:
        return self.wrap

    def chain(self, program: Callable[..., Any], *kinds: str) -> Side:
        return side(program)

    def seed(self) -> int:
        return 0


def check(law: str, wrap: Wrap, model: Callable[..., Any], *drawn: Any) -> None:
    LAWS[law].check(OneCase(law, wrap, model, *drawn))


def read(name: str = "w", **options: Any) -> Any:
    return (yield Param(name, torch.tensor(0.5), **options))


LIFTS = [lambda fn: lift(fn, prior=Normal(0.0, 1.0)), lambda fn: lift(fn, prior=partial(Normal, 0.0, 1.0))]
BY_NAME = lift(prior={"w": Normal(0.0, 1.0)}, strict=False)


def test_h20_what_a_param_of_a_subsample_becomes_is_that_of_all_elements():
    def model():
        return (yield from plate("p", 4, subsample_size=2)(lambda j: read())())

    for wrap in LIFTS:
        check("H20", wrap, model)


def test_d_draws_what_is_lifted_around_a_plate_is_not_broadcast_to_it():
    def model():
        return (yield from plate("p", 3)(lambda j: read())())

    for wrap in LIFTS:
        check("D.draws", broadcast, wrap(model))


class ForgetsTheSubsample(Poutine):
    """Has each sample in the plates of all elements, as if these shared it."""

    def rules(self):
        return {Sample: Rule(up=lambda site: site.evolve(cond_indep_stack=tuple(map(of_all, site.cond_indep_stack))))}


def test_h20_what_no_param_was_is_in_the_subsample():
    def model():
        return (yield from plate("p", 4, subsample_size=2)(lambda j: (yield Sample("x", Normal(0.0, 1.0))))())

    with pytest.raises(LawBroken, match=r"size=2, index=tensor\(\[.*\]\), weight=2.0\)\), and is in .*size=2\)\)$"):
        check("H20", ForgetsTheSubsample, model)


def test_h19_a_param_that_was_read_outside_of_a_plate_comes_back_from_there():
    def model(parts: Any) -> Any:
        def program():
            yield from read()
            return (yield from parts(lambda *index: read())())

        return program

    for parts in (plate("p", 2), indep(name="p", vectorized=False)):
        for wrap in (*LIFTS, BY_NAME):
            check("H19", wrap, model(parts))


def nested():
    """Both of its ``finally`` yield: whoever closes it does so at the second."""
    try:
        yield Sample("x", Normal(0.0, 1.0))
        try:
            yield Sample("y", Bernoulli(0.5))
        finally:
            yield from read("v")
    finally:
        w = yield from read()
    return w


HANDLERS = [
    Poutine,
    lambda fn: scale(fn, scale=2.0),
    lambda fn: condition(fn, data={"y": torch.tensor(1.0)}),
    lambda fn: replay(fn, guide_trace=sampled({"x": torch.tensor(0.5)})),
]


@pytest.mark.parametrize("wrap", HANDLERS, ids=["identity", "scale", "condition", "replay"])
@pytest.mark.parametrize("swallow", [False, True])
def test_h7_a_program_that_yields_on_its_way_out_more_than_once_was_thrown_the_error(wrap: Wrap, swallow: bool):
    for steps in range(4):
        check("H7", wrap, nested, steps, swallow)


def test_h18_a_param_has_the_constraint_that_it_has_where_it_is_hidden_too():
    def model():
        yield from read()
        return (yield from block(read)())

    for wrap in (Poutine, block(hide=[]), condition(data={}), *LIFTS):
        check("H18", wrap, model)


@pytest.mark.parametrize("law", ["H16", "H18", "H19", "H20", "H21", "H22", "H23", "H27", "C.lifted-names"])
def test_a_prior_that_does_not_fit_a_param_is_refused_whoever_sees_it(law: str):
    def constrained():
        return (yield from read(constraint=constraints.positive))

    def wide():
        return Independent(Normal(torch.zeros(3), 1.0), 1)

    drawn = [True] if law == "H22" else []  # whether the sites come back observed
    for wrap in (*LIFTS, lambda fn: lift(fn, prior=wide), lambda fn: lift(fn, prior=wide())):
        check(law, wrap, constrained, *drawn)
    check(law, LIFTS[0], read, *drawn)


def test_h7_who_is_closed_after_an_error_was_thrown_nothing():
    """The model's own error is caught, and the run is left where it waits behind that."""
    boom = Boom()

    def raising():
        yield Sample("x", Normal(0.0, 1.0))
        raise boom

    watched = Watched(raising, swallow=boom)
    with Running(Program(watched)) as running:
        running.begin()
        running.reply(running.message.evolve(value=torch.tensor(0.0)))
        assert running.message.name == "after"
    assert not watched.still_open
    assert not watched.running
    assert watched.thrown == []
