"""A sampler sees what ``block`` hides, and so does all that is done with its draws."""

from __future__ import annotations

import pytest
import torch
import torch.distributions as td

from interpreters.density import density
from interpreters.nuts import infer
from interpreters.opening import opened
from interpreters.predictive import predict
from interpreters.sampled_posterior import trace_at
from poutine import Deterministic, Observe, Param, Program, Sample, block, run, trace

F64 = torch.float64


def model(y):
    mu = yield Sample("mu", td.Normal(torch.tensor(0.0, dtype=F64), 1.0))
    z = yield Sample("z", td.Bernoulli(torch.tensor(0.3, dtype=F64)))
    yield Deterministic("sum", mu + z)
    yield Observe("y", td.Normal(mu + z, 0.5), y)


Y = torch.tensor([1.0, 1.5], dtype=F64)


def test_nothing_is_hidden_and_the_program_is_as_it_was():
    def everything():
        w = yield Param("w", torch.tensor(2.0))
        yield from model(w)
        return w

    program = opened(block(block(everything), hide_types=["sample"])())
    hidden = trace(program.fn).get_trace(*program.args)
    plain = trace(everything).get_trace()
    assert [name for name in plain if name not in hidden] == ["w", "sum"], "what is no choice stays hidden"
    assert all(torch.equal(hidden[name].value, plain[name].value) for name in ("mu", "z", "y"))
    assert run(opened(block(everything)())) == run(everything)


@pytest.mark.parametrize("hide", [["z"], ["mu"], ["mu", "z"]])
def test_draws_are_made_whole_and_predict(hide):
    hidden = block(model, hide=hide)(Y)
    options = {"num_chains": 2, "num_warmup": 20, "num_draws": 20}
    theirs, ours = infer(Program(model, Y), **options), infer(hidden, **options)
    for name in ("mu", "z", "sum"):
        assert torch.equal(ours.draws[name], theirs.draws[name]), name
    assert torch.allclose(ours.draws["sum"], ours.draws["mu"] + ours.draws["z"])
    assert torch.equal(predict(hidden, ours).predictive["y"], predict(Program(model, Y), theirs).predictive["y"])


def test_a_trace_at_values_has_them():
    values = {"mu": torch.tensor(2.0, dtype=F64), "z": torch.tensor(1.0, dtype=F64)}
    found = trace_at(density(block(model)(Y)), values)
    assert [found[name].value for name in values] == [2.0, 1.0]
