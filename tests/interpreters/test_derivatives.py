"""A program that writes in place has a density, a gradient, a Hessian and batches, as its kernel has."""

from __future__ import annotations

import pytest
import torch
import torch.distributions as td

from interpreters.density import density
from poutine import Observe, Program, Sample

F64 = torch.float64
Y = torch.tensor([0.3, -0.2, 0.5, 0.1, 0.4], dtype=F64)
MISSING = torch.tensor([1, 3])


def volatility(y, in_place):
    """The recurrence overwrites what autograd has kept."""
    mu = yield Sample("mu", td.Normal(torch.zeros((), dtype=F64), 1.0))
    phi = yield Sample("phi", td.Uniform(torch.tensor(-1.0, dtype=F64), 1.0))
    noise = yield Sample("noise", td.Normal(torch.zeros(len(y), dtype=F64), 1.0))
    if in_place:
        h = 0.3 * noise
        h += mu
        for t in range(1, len(y)):
            h[t] += phi * (h[t - 1] - mu) ** 2
    else:
        steps = [0.3 * noise[0] + mu]
        for t in range(1, len(y)):
            steps.append(0.3 * noise[t] + mu + phi * (steps[-1] - mu) ** 2)
        h = torch.stack(steps)
    yield Observe("y", td.Normal(torch.zeros((), dtype=F64), (h / 2).exp()), y)


def imputed(y, in_place):
    """What is missing is written into a tensor that is no batch."""
    mu = yield Sample("mu", td.Normal(torch.zeros((), dtype=F64), 1.0))
    unseen = yield Sample("unseen", td.Normal(mu.expand(2), 1.0))
    if in_place:
        full = y.clone()
        full[MISSING] = unseen
    else:
        full = y.index_put((MISSING,), unseen)
    yield Observe("y", td.Normal(mu, 1.0), full)


def looked_at(y, in_place):
    """Of a number that is looked at, neither vmap nor a record has the value."""
    mu = yield Sample("mu", td.Normal(torch.zeros((), dtype=F64), 1.0))
    scale = 1.0 + float(mu.detach().abs()) if in_place else 1.0 + mu.detach().abs()
    yield Observe("y", td.Normal(mu, scale), y)


def looked_at_by_numpy(y, in_place):
    mu = yield Sample("mu", td.Normal(torch.zeros((), dtype=F64), 1.0))
    scale = 1.0 + torch.from_numpy(abs(mu.detach().numpy()[None]))[0] if in_place else 1.0 + mu.detach().abs()
    yield Observe("y", td.Normal(mu, scale), y)


@pytest.mark.parametrize("model", [volatility, imputed, looked_at, looked_at_by_numpy])
def test_the_same_as_without_writing(model):
    ours, theirs = (density(Program(model, Y, in_place)) for in_place in (True, False))
    positions = torch.randn(3, ours.dim, dtype=F64, generator=torch.Generator().manual_seed(1)) / 2
    for u in positions:
        for found, expected in zip(ours.value_and_grad(u), theirs.value_and_grad(u), strict=True):
            assert torch.allclose(found, expected, rtol=1e-12)
        v = torch.linspace(0.5, 1.0, ours.dim, dtype=F64)
        assert torch.allclose(ours.hessian_vector_product(u, v), theirs.hessian_vector_product(u, v), rtol=1e-12)
    assert torch.allclose(ours.batch(positions), theirs.batch(positions), rtol=1e-12)


def test_data_that_change_are_seen():
    """What is recorded to take a derivative is not kept."""
    y = Y.clone()
    d = density(Program(volatility, y, True))
    u = torch.full((d.dim,), 0.1, dtype=F64)
    before, _ = d.value_and_grad(u)
    y += 1.0
    after, gradient = d.value_and_grad(u)
    expected, expected_gradient = density(Program(volatility, y, False)).value_and_grad(u)
    assert not torch.isclose(before, after)
    assert torch.isclose(after, expected, rtol=1e-12)
    assert torch.allclose(gradient, expected_gradient, rtol=1e-12)


def test_the_errors_of_a_program_are_its_own():
    d = density(Program(imputed, Y, True))
    with pytest.raises(ValueError, match="expected 3 numbers in double precision, got torch.float64 of shape"):
        d.batch(torch.zeros(2, 4, dtype=F64))
    with pytest.raises(ValueError, match="expected a vector of 3 numbers"):
        d.hessian_vector_product(torch.zeros(3, dtype=F64), torch.zeros(2, dtype=F64))
