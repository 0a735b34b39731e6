"""What a run made is freed when it ends: no reference cycle keeps its tensors until the garbage collector comes."""

from __future__ import annotations

import gc

import pytest
import torch
from torch.distributions import Normal

import poutine
from poutine import Observe, Param, Sample, plate, run

DATA = {"x": torch.tensor(0.5)}

LINKS = {
    "trace": poutine.trace(),
    "dense trace": poutine.trace(graph_type="dense"),
    "condition": poutine.condition(data=DATA),
    "do": poutine.do(data=DATA),
    "substitute": poutine.substitute(data=DATA),
    "scale": poutine.scale(scale=2.0),
    "mask": poutine.mask(mask=True),
    "block": poutine.block(hide=["x"]),
    "lift": poutine.lift(prior=Normal(0.0, 1.0)),
    "indep": poutine.indep(name="p", vectorized=False),
    "scope": poutine.scope(prefix="a"),
    "seed": poutine.seed(seed=1),
    "uncondition": poutine.uncondition(),
    "infer_config": poutine.infer_config(config={"x": {"a": 1}}),
}


def model():
    w = yield Param("w", torch.tensor(1.0))
    x = yield Sample("x", Normal, w, 1.0)

    @plate("points", 3)
    def points(_):
        yield Observe("y", Normal(x, 1.0), torch.zeros(3))

    yield from points()
    return x


@pytest.fixture
def garbage():
    """Counts what only the collector can free, of what was made since the test began."""
    gc.collect()
    gc.disable()
    yield gc.collect
    gc.enable()


@pytest.mark.parametrize("name", LINKS)
def test_a_run_leaves_nothing_to_the_garbage_collector(name: str, garbage):
    run(poutine.trace(LINKS[name](model)).traced()).log_pdf()
    assert garbage() == 0


def test_neither_does_one_that_is_dropped_on_its_way(garbage):
    engine = poutine.drive(poutine.trace(poutine.scale(model, 2.0))())
    next(engine)
    engine.close()
    del engine
    assert garbage() == 0
