"""The leapfrog integrator, and plain HMC."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from interpreters.hamiltonian.integrator import MOMENTUM, POSITION, energy_tensor, leapfrog_tensor, momentum_tensor, point_tensor
from interpreters.hamiltonian.machine import BatchedDensity
from interpreters.hmc import hmc
from interpreters.results.extras import extra
from poutine import Program, run
from tests.interpreters.gaussians import CORRELATED, F64, FUNNEL, check_means, correlated, funnel

ess = extra("arviz").ess


def random_point(density: BatchedDensity, dim: int, dense: bool, chains: int = 3) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    position, normals = torch.randn(2, chains, dim, generator=generator, dtype=F64)
    scale = torch.rand(chains, dim, generator=generator, dtype=F64) + 0.5
    root = torch.randn(chains, dim, dim, generator=generator, dtype=F64)
    metric = root @ root.mT + torch.eye(dim, dtype=F64) if dense else torch.zeros(chains, 0, 0, dtype=F64)
    momentum = momentum_tensor(scale, torch.linalg.cholesky(metric), normals)
    value, gradient = density(position)
    return scale, metric, point_tensor(position, gradient, momentum, scale, metric), value


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(("density", "dim"), [(correlated, 2), (funnel, 4)])
def test_leapfrogs_are_reversible(density, dim, dense):
    scale, metric, start, _ = random_point(density, dim, dense)
    point, step = start, torch.full((3,), 0.1, dtype=F64)
    for sign in (1, -1):
        for _ in range(20):
            point, value = leapfrog_tensor(density, scale, metric, point, sign * step)
    torch.testing.assert_close(point, start, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dense", [False, True])
def test_a_leapfrog_preserves_volume(dense):
    scale, metric, start, _ = random_point(funnel, 4, dense, chains=1)

    def flow(phase: torch.Tensor) -> torch.Tensor:
        position, momentum = phase.reshape(1, 2, 4).unbind(dim=1)
        _, gradient = funnel(position)
        point = point_tensor(position, gradient, momentum, scale, metric)
        after, _ = leapfrog_tensor(funnel, scale, metric, point, torch.tensor([0.3], dtype=F64))
        return torch.cat([after[0, POSITION], after[0, MOMENTUM]])

    jacobian = torch.autograd.functional.jacobian(flow, torch.cat([start[0, POSITION], start[0, MOMENTUM]]))
    assert float(jacobian.det()) == pytest.approx(1.0, abs=1e-10)


def test_the_energy_error_is_of_second_order():
    scale, metric, start, value = random_point(funnel, 4, False)
    errors = []
    for steps in (50, 100, 200):
        point = start
        for _ in range(steps):
            point, here = leapfrog_tensor(funnel, scale, metric, point, torch.full((3,), 1.0 / steps, dtype=F64))
        errors.append((energy_tensor(point, here) - energy_tensor(start, value)).abs())
    for coarse, fine in zip(errors, errors[1:], strict=False):
        torch.testing.assert_close(coarse / fine, torch.full((3,), 4.0, dtype=F64), rtol=0.05, atol=0.0)


@pytest.mark.parametrize("dense", [False, True])
def test_momenta_have_the_covariance_of_the_metric(dense):
    scale, metric, *_ = random_point(correlated, 2, dense, chains=1)
    normals = torch.randn(20000, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    factor = torch.linalg.cholesky(metric).expand(20000, *metric.shape[1:])
    momenta = momentum_tensor(scale.expand(20000, 2), factor, normals)
    expected = torch.linalg.inv(metric[0] if dense else scale[0].diag())
    torch.testing.assert_close(momenta.T.cov(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("options", [{"num_steps": 5}, {"length": math.pi / 2}, {"length": 1.0, "metric": "dense"}])
def test_the_target_is_left_invariant(options):
    chains = run(Program(hmc, CORRELATED, num_draws=4000, **options), seed=0)
    x, y = chains.positions.unbind(dim=-1)
    for name, draws, expected in (("x", x, 0.0), ("x2", x**2, 1.0), ("xy", x * y, 0.9), ("y4", y**4, 3.0)):
        check_means(draws, expected, 4.0, ess, name)


def test_a_rejected_move_returns_the_same_state():
    chains = run(Program(hmc, CORRELATED, num_chains=2, num_warmup=0, num_draws=300, num_steps=3, step_size=0.9), seed=0)
    positions, index = chains.positions, chains.statistics["index_in_trajectory"]
    stayed = (positions[:, 1:] == positions[:, :-1]).all(dim=-1)
    assert torch.equal(stayed, index[:, 1:] == 0)
    assert stayed.any() and not stayed.all()


def test_the_number_of_leapfrogs_is_as_asked():
    fixed = run(Program(hmc, CORRELATED, num_chains=1, num_warmup=50, num_draws=20, num_steps=7), seed=0)
    assert set(fixed.statistics["n_steps"].flatten().tolist()) == {7.0}
    timed = run(Program(hmc, CORRELATED, num_chains=1, num_warmup=0, num_draws=20, length=1.0, step_size=0.15), seed=0)
    assert set(timed.statistics["n_steps"].flatten().tolist()) == {6.0}


def test_steps_or_length():
    with pytest.raises(ValueError, match="either num_steps or length to be positive, got num_steps=0 and length=0.0"):
        run(Program(hmc, FUNNEL))


def test_divergences_are_rejected():
    chains = run(Program(hmc, FUNNEL, num_chains=1, num_warmup=0, num_draws=50, num_steps=50, step_size=5.0), seed=1)
    diverging = chains.statistics["diverging"] == 1
    assert bool(diverging.any())
    assert set(chains.statistics["index_in_trajectory"][diverging].tolist()) == {0.0}
    assert np.isfinite(chains.positions.numpy()).all()
