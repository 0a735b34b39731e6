"""What the command line makes of a model and its data before it infers anything."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Dirichlet,
    HalfNormal,
    Independent,
    Multinomial,
    Normal,
    OneHotCategorical,
    Poisson,
    Uniform,
)

from interpreters.command.model_check import checked
from interpreters.errors import InputError
from poutine import DistributionError, Observe, Param, Sample, factor, plate, run


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


def categories(y):
    p = yield Sample("p", Dirichlet(torch.ones(3)))
    yield Observe("y", Categorical(p), y)


def of_a_state(y):
    z = yield Sample("z", Categorical(torch.ones(2)))
    p = yield Sample("p", Dirichlet(torch.ones(2, 3)))
    yield Observe("y", Categorical(p[z]), y)


def one_hot(y):
    yield Observe("y", OneHotCategorical((yield Sample("p", Dirichlet(torch.ones(3))))), y)


def counts(y):
    yield Observe("y", Multinomial(3, (yield Sample("p", Dirichlet(torch.ones(3))))), y)


def successes(y):
    yield Observe("y", Binomial(3, (yield Sample("p", Beta(1.0, 1.0)))), y)


def in_an_interval(y):
    mu = yield Sample("mu", Normal(0.0, 1.0))
    yield Observe("y", Uniform(0.0, 1.0), y)
    return bool(mu > 0)


@pytest.mark.parametrize(
    "model, y",
    [
        (categories, 5.0),
        (of_a_state, 3.0),
        (one_hot, [1.0, 1.0, 0.0]),
        (counts, [3.0, 3.0, 3.0]),
        (successes, 5.0),
        (in_an_interval, 3.0),
    ],
)
def test_an_observation_that_no_draw_makes_possible_is_an_error(model, y):
    with pytest.raises(DistributionError, match="site 'y': cannot score a value .* to be within the support"):
        checked(model, {"y": torch.tensor(y, dtype=torch.float64)})


def number_of_categories(y):
    k = yield Sample("k", Bernoulli(torch.tensor(0.01)))
    yield Observe("y", Categorical(torch.ones(2 + int(k))), y)


def number_of_counts(y):
    n = yield Sample("n", Poisson(torch.tensor(1.0)))
    yield Observe("y", Multinomial(int(n), torch.ones(2)), y)


def number_of_trials(y):
    n = yield Sample("n", Poisson(torch.tensor(1.0)))
    yield Observe("y", Binomial(n, torch.tensor(0.5)), y)


def up_to(y):
    yield Observe("y", Uniform(0.0, (yield Sample("t", HalfNormal(1.0)))), y)


@pytest.mark.parametrize("model, y", [(number_of_categories, 2.0), (number_of_counts, [9.0, 8.0]), (number_of_trials, 17.0), (up_to, 10.0)])
def test_one_that_other_draws_may_make_possible_is_none(model, y):
    checked(model, {"y": torch.tensor(y, dtype=torch.float64)})


def test_a_number_that_a_bare_callable_draws_may_be_a_bound():
    def model(y):
        top = yield Sample("top", lambda: 5.0 * float(torch.rand(())))
        yield Observe("y", Uniform(0.0, top), y)

    checked(model, {"y": torch.tensor(4.9, dtype=torch.float64)})
