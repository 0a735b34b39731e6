"""The log likelihood of each observation, with discrete sites of its own summed out: against marginals that are written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, HalfNormal, Independent, Normal

from interpreters.discrete import with_discrete
from interpreters.nuts import infer
from interpreters.results.extras import extra
from interpreters.sampled_posterior import SampledPosterior
from poutine import Observe, Program, Sample, factor, markov, plate
from tests.interpreters.test_summed_density import Y, hmm

F64 = torch.float64
PROBS = torch.tensor([0.25, 0.35, 0.4], dtype=F64)


def posterior_of(program: Program[Any], **draws: torch.Tensor) -> SampledPosterior:
    """Of these draws of the continuous sites, in two chains."""
    observed = {"y": Y, "w": Y, **{f"y_{i}": Y for i in range(len(Y))}}
    draws = {name: values.unflatten(0, (2, -1)) for name, values in draws.items()}
    number = len(next(iter(draws.values()))[0])
    statistics = {"diverging": torch.zeros(2, number), "energy": torch.zeros(2, number)}
    return with_discrete(program, SampledPosterior(draws, statistics, observed))


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(6, *shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def mixture(y):
    mu = yield Sample("mu", Independent(Normal(torch.zeros(3), 2.0), 1))

    @plate("rows", len(y))
    def rows(i):
        z = yield Sample("z", Categorical(PROBS))
        yield Observe("y", Normal(mu[..., z], 1.0), y[i])

    yield from rows()


def gap_between(y):
    gap = yield Sample("gap", HalfNormal(2.0))

    @plate("rows", len(y))
    def rows(i):
        z = yield Sample("z", Categorical(PROBS))
        yield Observe("y", Normal(gap * z, 1.0), y[i])

    yield from rows()


def by_hand(mu: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """[draws, rows]"""
    return (PROBS.log() + Normal(mu[:, None], 1.0).log_prob(y[:, None])).logsumexp(-1)


def test_of_a_mixture_it_is_the_marginal():
    mu = numbers(0, 3)
    found = posterior_of(Program(mixture, Y), mu=mu)
    assert found.likelihood["y"].shape == (2, 3, len(Y)) and not found.unscored
    torch.testing.assert_close(found.likelihood["y"].flatten(0, 1), by_hand(mu, Y))


def test_several_sites_in_nested_plates_and_a_continuous_one_that_tells_of_them():
    """u depends on z, and k in a plate inside: log p(y, u) - log p(u), and k sums to one."""

    def model(y):
        @plate("rows", len(y), dim=-2)
        def rows(i):
            z = yield Sample("z", Bernoulli(torch.full((), 0.3, dtype=F64)))
            u = yield Sample("u", Normal(2.0 * z, 1.0))

            @plate("columns", 3, dim=-1)
            def columns(j):
                yield Sample("k", Bernoulli(0.2 + 0.5 * z))

            yield from columns()
            yield Observe("y", Normal(u + z, 1.0), y[i, None])

        yield from rows()

    u = numbers(1, len(Y), 1)
    found = posterior_of(Program(model, Y), u=u)
    z = torch.tensor([0.0, 1.0], dtype=F64)
    joint = torch.tensor([0.7, 0.3], dtype=F64).log() + Normal(2.0 * z, 1.0).log_prob(u)
    expected = (joint + Normal(u + z, 1.0).log_prob(Y[:, None])).logsumexp(-1) - joint.logsumexp(-1)
    torch.testing.assert_close(found.likelihood["y"].flatten(0, 1).squeeze(-1), expected)


def test_observations_of_a_python_loop_have_a_number_each():
    def model(y):
        mu = yield Sample("mu", Normal(0.0, 2.0))
        for i in range(len(y)):
            z = yield Sample(f"z_{i}", Bernoulli(0.5))
            yield Observe(f"y_{i}", Normal(mu * z, 1.0), y[i])

    mu = numbers(2)
    found = posterior_of(Program(model, Y[:4]), mu=mu)
    for i in range(4):
        expected = torch.stack([Normal(mu * z, 1.0).log_prob(Y[i]) for z in (0.0, 1.0)]).logsumexp(0) - torch.tensor(2.0, dtype=F64).log()
        torch.testing.assert_close(found.likelihood[f"y_{i}"].flatten(), expected)


def test_steps_of_a_vectorised_loop_that_share_nothing_have_a_number_each():
    def model(y):
        mu = yield Sample("mu", Independent(Normal(torch.zeros(3), 2.0), 1))

        @markov("steps", len(y), vectorized=True)
        def step(t, state):
            z = yield Sample("z", Categorical(PROBS))
            yield Observe("y", Normal(mu[..., z], 1.0), y[t])
            return state

        yield from step(torch.zeros(()))

    mu = numbers(3, 3)
    found = posterior_of(Program(model, Y[:5]), mu=mu)
    got = torch.stack([found.likelihood[f"y_{t}"].flatten() for t in range(5)], 1)
    torch.testing.assert_close(got, by_hand(mu, Y[:5]))


def outside(y):
    z = yield Sample("z", Bernoulli(0.5))
    mu = yield Sample("mu", Normal(0.0, 2.0))

    @plate("rows", len(y))
    def rows(i):
        yield Observe("y", Normal(mu * z, 1.0), y[i])

    yield from rows()


def two(y):
    mu = yield Sample("mu", Normal(0.0, 2.0))

    @plate("rows", len(y))
    def rows(i):
        z = yield Sample("z", Bernoulli(0.5))
        yield Observe("y", Normal(mu * z, 1.0), y[i])
        yield Observe("w", Normal(mu + z, 1.0), y[i])

    yield from rows()


def loose(y):
    mu = yield Sample("mu", Normal(0.0, 2.0))
    z = yield Sample("z", Bernoulli(0.5))
    yield Observe("y", Normal(mu * z, 1.0), y)


def weighted(y):
    """What conditions z besides y is no normalised density."""
    mu = yield Sample("mu", Normal(0.0, 2.0))
    z = yield Sample("z", Bernoulli(0.5))
    yield factor("f", 3.0 * z)
    yield Observe("y", Normal(mu * z, 1.0), y[0])


@pytest.mark.parametrize(
    ("program", "continuous", "words"),
    [
        (Program(hmm, Y[:5], True), None, "share x_0, x_1, x_2, …, x_4"),
        (Program(hmm, Y[:5], False), None, "of y_0, y_1, y_2, …, y_4: given"),
        (Program(outside, Y), "mu", "of y: given the continuous sites they are not independent, but share z"),
        (Program(two, Y), "mu", "of y, w: given the continuous sites they are not independent, but share z"),
        (Program(loose, Y), "mu", "of y: along dimensions of no plate"),
        (Program(weighted, Y), "mu", "of y: given"),
    ],
    ids=["vectorised chain", "chain", "outside of the plate", "two sites", "no plate", "a factor"],
)
def test_where_observations_share_a_site_there_is_none_and_words_say_so(program, continuous, words):
    if continuous:
        found = posterior_of(program, **{continuous: numbers(4)})
    else:
        found = infer(program, 2, 10, 10)
    assert not found.likelihood
    assert words in "\n".join(found.unscored)
    assert found.unscored[0] in str(found.summary())


@pytest.mark.slow
def test_arviz_compares_mixtures_and_files_tell_why_there_is_none(tmp_path: Path):
    generator = torch.Generator().manual_seed(0)
    y = 2.0 * torch.multinomial(PROBS, 40, replacement=True, generator=generator) + torch.randn(40, dtype=F64, generator=generator)
    data = infer(Program(gap_between, y), 2, 100, 100, seed=1).to_arviz()
    gap = torch.from_numpy(data.posterior["gap"].values).flatten(0, 1)
    expected = by_hand(gap[:, None] * torch.arange(3), y)
    torch.testing.assert_close(torch.from_numpy(data.log_likelihood["y"].values).flatten(0, 1), expected)
    assert data.log_likelihood["y"].dims == ("chain", "draw", "rows")
    loo = extra("arviz").loo(data, pointwise=True)
    importance = expected.mean(0).sum().item()
    assert importance - 5 < float(loo.elpd_loo) < importance
    chain = infer(Program(hmm, Y[:4], True), 2, 10, 10)
    chain.save(tmp_path / "chain.nc")
    assert SampledPosterior.load(tmp_path / "chain.nc").unscored == chain.unscored
