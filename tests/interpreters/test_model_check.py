"""What the command line makes of a model and its data before it infers anything."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal

from interpreters.command.model_check import checked
from interpreters.errors import InputError
from poutine import Observe, Param, Sample, factor, plate, run


def regression(X, y):
    beta = yield Sample("beta", Independent(Normal(torch.zeros(2), 1.0), 1))
    noise = yield Param("noise", torch.tensor(1.0))
    yield Observe("y", Normal(X @ beta, noise), y)
    return beta


def test_draws_are_double_as_the_data_is():
    X = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, 1.0]], dtype=torch.float64)
    assert run(checked(regression, {"X": X, "y": torch.ones(3, dtype=torch.float64)})).dtype == torch.float64


def test_a_param_that_nothing_learns_is_told_of(caplog):
    checked(regression, {"X": torch.ones(3, 2, dtype=torch.float64), "y": torch.ones(3, dtype=torch.float64)})
    assert [record.getMessage() for record in caplog.records] == [
        "noise: no Sample but a Param, kept at its initial value; wrap the model in lift to infer it"
    ]


def dropped(y):
    @plate("data", len(y))
    def body(index):
        yield Observe("y", Normal(mu, 1.0), y[index])

    mu = yield Sample("mu", Normal(0.0, 1.0))
    body()  # without `yield from`


def empty(y):
    mu = yield Sample("mu", Normal(0.0, 1.0))
    yield Observe("y", Normal(mu, 1.0), y)


def test_data_that_has_no_say_is_an_error():
    with pytest.raises(InputError, match=r"dropped\(y\) observes nothing, so the data \(y\) has no say: .*yield from"):
        checked(dropped, {"y": torch.ones(3)})
    with pytest.raises(InputError, match="observes nothing"):
        checked(empty, {"y": torch.ones(0)})


def penalised(y):
    mu = yield Sample("mu", Normal(0.0, 1.0))
    yield factor("penalty", -((mu - y) ** 2).sum())


def prior():
    yield Sample("mu", Normal(0.0, 1.0))


def test_a_factor_has_its_say_and_without_data_there_is_the_prior():
    checked(penalised, {"y": torch.ones(3)})
    checked(prior, {})
    checked(prior, {"mu": torch.tensor(1.0)})
