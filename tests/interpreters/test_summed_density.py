"""Densities whose discrete sites are summed out: against mixtures by hand, compiled, and sampled."""

from __future__ import annotations

import pytest
import torch
import torch.distributions as td

from interpreters.compiled import compile_density
from interpreters.density import density
from interpreters.errors import NotVectorizable, StructureChanged
from interpreters.nuts import nuts
from poutine import Deterministic, Observe, Program, Sample, markov, plate, run

F64 = torch.float64
GENERATOR = torch.Generator().manual_seed(0)
Y = torch.randn(40, dtype=F64, generator=GENERATOR) + 4.0 * (torch.rand(40, generator=GENERATOR) < 0.4)


def parameters():
    weights = yield Sample("weights", td.Dirichlet(torch.ones(2, dtype=F64)))
    gap = yield Sample("gap", td.HalfNormal(torch.tensor(5.0, dtype=F64)))
    sigma = yield Sample("sigma", td.HalfNormal(torch.tensor(2.0, dtype=F64)))
    return weights, torch.stack([torch.zeros_like(gap), gap]), sigma


def mixture(y):
    weights, loc, sigma = yield from parameters()

    @plate("rows", len(y))
    def rows(i):
        z = yield Sample("z", td.Categorical(weights))
        yield Deterministic("which", loc[z])
        yield Observe("y", td.Normal(loc[z], sigma), y[i])

    yield from rows()
    yield Deterministic("ratio", sigma / loc[1])


def by_hand(y):
    weights, loc, sigma = yield from parameters()
    yield Observe("y", td.MixtureSameFamily(td.Categorical(weights), td.Normal(loc, sigma)), y)


def hmm(y, vectorized):
    rows = yield Sample("rows", td.Independent(td.Dirichlet(torch.ones(3, 3, dtype=F64)), 1))
    loc = yield Sample("loc", td.Independent(td.Normal(torch.tensor([-2.0, 0.0, 2.0], dtype=F64), 1.0), 1))

    @markov("time", len(y), vectorized=vectorized)
    def step(t, x):
        x = yield Sample("x", td.Categorical(torch.ones(3, dtype=F64) / 3 if x is None else rows[x]))
        yield Observe("y", td.Normal(loc[x], 1.0), y[t])
        return x

    yield from step()


def somewhere(dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(dim, dtype=F64, generator=torch.Generator().manual_seed(seed)) / 2


def test_a_mixture_is_the_one_by_hand():
    ours, theirs = density(Program(mixture, Y)), density(Program(by_hand, Y))
    assert ours.summed == ("z",)
    assert list(ours.sites) == list(theirs.sites) == ["weights", "gap", "sigma"]
    for seed in range(3):
        u = somewhere(ours.dim, seed)
        (a, b), (c, d) = ours.value_and_grad(u), theirs.value_and_grad(u)
        assert a.item() == pytest.approx(c.item(), rel=1e-12)
        assert torch.allclose(b, d, rtol=1e-10, atol=1e-10)
    positions = torch.stack([somewhere(ours.dim, seed) for seed in range(3)])
    assert torch.allclose(ours.batch(positions), theirs.batch(positions), rtol=1e-12)
    assert "ratio" in ours.constrain(u)
    assert "which" not in ours.constrain(u)
    assert ours.log_likelihood(u) == {}


def test_discrete_sites_come_back():
    d = density(Program(mixture, Y))
    u = somewhere(d.dim)
    values = d.constrain(u)
    loc = torch.stack([torch.zeros((), dtype=F64), values["gap"]])
    by_bayes = (values["weights"].log() + td.Normal(loc, values["sigma"]).log_prob(Y[:, None])).softmax(-1)
    posterior = d.discrete(u)
    assert torch.allclose(posterior.marginal("z"), by_bayes, rtol=1e-10)
    assert run(Program(posterior.sample, 7))["z"].shape == (7, len(Y))
    with pytest.raises(ValueError, match="no discrete sites"):
        density(Program(by_hand, Y)).discrete(u)


def test_a_chain_is_the_same_step_by_step_and_at_once():
    at_once, loop = density(Program(hmm, Y[:9], True)), density(Program(hmm, Y[:9], False))
    u = somewhere(loop.dim)
    (a, b), (c, d) = at_once.value_and_grad(u), loop.value_and_grad(u)
    assert a.item() == pytest.approx(c.item(), rel=1e-12)
    assert torch.allclose(b, d, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("program", [Program(mixture, Y), Program(hmm, Y, True)], ids=["mixture", "hmm"])
def test_compiled_is_eager(program, tmp_path):
    d = density(program)
    kernel = compile_density(d, cache_dir=tmp_path)
    assert kernel.tier == "native"
    u = somewhere(d.dim, 5)
    for ours, theirs in zip(kernel.value_and_grad(u), d.value_and_grad(u), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_nuts_samples_what_it_samples_by_hand(tmp_path):
    draws = []
    for model in (mixture, by_hand):
        d = density(Program(model, Y))
        chains = run(Program(nuts, compile_density(d, cache_dir=tmp_path), num_chains=4, num_warmup=500, num_draws=1000), seed=1)
        draws.append(chains.positions.flatten(0, 1))
    means, variances = zip(*((x.mean(0), x.var(0)) for x in draws), strict=True)
    error = ((variances[0] + variances[1]) / 500).sqrt()  # 4000 draws are worth at least 500 independent ones
    assert ((means[0] - means[1]).abs() < 4 * error).all()


def test_what_does_not_broadcast_is_refused():
    def summing():
        yield Sample("m", td.Normal(0.0, 1.0))
        z = yield Sample("z", td.Categorical(torch.ones(3, dtype=F64) / 3))
        yield Observe("y", td.Normal(z.sum().to(F64), 1.0), Y[0])

    with pytest.raises(NotVectorizable, match="site 'y': its log density"):
        density(summing)

    def bounded():
        z = yield Sample("z", td.Bernoulli(torch.tensor(0.5, dtype=F64)))
        yield Sample("m", td.Uniform(-1.0, 1.0 + z))

    with pytest.raises(StructureChanged, match="site 'm' has a support that depends on discrete sites"):
        density(bounded)
