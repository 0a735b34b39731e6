"""The dense metric: its linear algebra against torch's, its law, and when there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import HalfCauchy, Normal

from interpreters.adaptation import MOST_DENSE, MOST_UNEVEN
from interpreters.compiled import compile_density
from interpreters.density import density
from interpreters.hamiltonian import batched_metric, native_metric
from interpreters.hamiltonian.machine import ELDER, KEPT, Machine, Options
from interpreters.hamiltonian.native_metric import DRAWS, GRADIENTS
from interpreters.hamiltonian.symmetric import cholesky, congruent, eigen, outer_square, solve_transposed
from interpreters.nuts import nuts
from poutine import Observe, Program, Sample, run
from tests.interpreters.gaussians import CORRELATED, F64, NORMAL


def positive_definite(dim: int, seed: int) -> torch.Tensor:
    root = torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed), dtype=F64)
    return root @ root.mT + 0.1 * torch.eye(dim, dtype=F64)


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_the_symmetric_matrices_are_those_of_torch(dim: int):
    matrix = positive_definite(dim, 0)
    lower, work, vectors = matrix.numpy().copy(), matrix.numpy().copy(), np.zeros((dim, dim))
    assert cholesky(lower, lower)
    expected = torch.linalg.cholesky(matrix)
    np.testing.assert_allclose(np.tril(lower), expected)
    eigen(work, vectors)
    np.testing.assert_allclose(np.sort(work.diagonal()), torch.linalg.eigvalsh(matrix))
    np.testing.assert_allclose(vectors * work.diagonal() @ vectors.T, matrix, atol=1e-12)
    columns, square = positive_definite(dim, 1).numpy(), np.zeros((dim, dim))
    solved, middle = columns.copy(), columns.copy()
    solve_transposed(lower, solved)
    np.testing.assert_allclose(expected.numpy().T @ solved, columns, atol=1e-10)
    congruent(middle, lower)
    np.testing.assert_allclose(middle, expected.numpy().T @ columns @ expected.numpy(), atol=1e-10)
    outer_square(columns, square)
    np.testing.assert_allclose(square, columns @ columns.T)


def test_what_is_not_positive_definite_has_no_factor():
    matrix = np.array([[1.0, 2.0], [2.0, 1.0]])
    assert not cholesky(matrix, np.zeros((2, 2)))
    assert not native_metric.geometric_mean(np.stack([np.eye(2), matrix, np.zeros((2, 2))]))


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_the_mean_carries_the_one_covariance_into_the_other(dim: int):
    """Of a normal posterior the gradients have the inverse of its covariance, and the mean is the covariance."""
    draws, gradients = positive_definite(dim, 2), positive_definite(dim, 3)
    (mean,), (largest,) = batched_metric.geometric_mean(draws[None], gradients[None])
    torch.testing.assert_close(mean @ gradients @ mean, draws)
    room = np.stack([draws.numpy(), gradients.numpy(), np.zeros((dim, dim))])
    assert native_metric.geometric_mean(room) == pytest.approx(largest.item(), rel=1e-9)
    assert torch.linalg.eigvals(mean @ gradients).real.max().item() == pytest.approx(largest.item(), rel=1e-9)
    np.testing.assert_allclose(room[0], mean)
    (covariance,), _ = batched_metric.geometric_mean(draws[None], draws.inverse()[None])
    torch.testing.assert_close(covariance, draws)


def test_without_correlations_the_metric_is_diagonal_and_exact():
    chains = run(Program(nuts, NORMAL, num_warmup=100, num_draws=10, metric="auto"), seed=0)
    assert (chains.machine.counts[:, KEPT] == 0).all()
    np.testing.assert_allclose(chains.machine.dense, [np.diag(scale) for scale in chains.machine.scale])
    np.testing.assert_allclose(chains.machine.scale, np.broadcast_to(100.0 ** (np.arange(5) - 2), (4, 5)))


def test_a_correlation_is_found_and_makes_trajectories_short():
    chains = {metric: run(Program(nuts, CORRELATED, num_draws=200, metric=metric), seed=0) for metric in ("auto", "diagonal")}
    assert (chains["auto"].machine.counts[:, KEPT] == 2).all()
    steps = {metric: float(one.statistics["n_steps"].mean()) for metric, one in chains.items()}
    assert 2.0 * steps["auto"] < steps["diagonal"]


def test_auto_is_dense_in_few_dimensions():
    kinds = [Options(metric="auto").resolved(dim).is_dense for dim in (1, 2, MOST_DENSE, MOST_DENSE + 1)]
    assert kinds == [False, True, True, False]
    assert not Options(metric="diagonal").resolved(2).is_dense


def groups(y: torch.Tensor, sizes: torch.Tensor):
    """Non-centred, though the data says much of each group: ``tau`` times ``z`` is known, and neither of them."""
    mu = yield Sample("mu", Normal, 0.0, 5.0)
    tau = yield Sample("tau", HalfCauchy, 2.0)
    z = yield Sample("z", Normal(torch.zeros(len(y), dtype=torch.float64), 1.0))
    yield Observe("y", Normal(mu + tau * z, 1.0 / sizes.sqrt()), y)


@pytest.mark.slow
def test_where_the_curvature_varies_auto_is_diagonal():
    """The dense metric's long steps diverge there, and what is behind is missed."""
    y = torch.tensor([1.3, 0.2, 2.4, 1.1, 0.7, 1.9, 1.4], dtype=F64)
    kernel = compile_density(density(Program(groups, y, torch.full((7,), 400.0, dtype=F64))))
    found = {metric: run(Program(nuts, kernel, 4, 400, 500, metric=metric), seed=0) for metric in ("auto", "dense")}
    assert (found["auto"].machine.counts[:, KEPT] == 0).all()
    assert (found["dense"].machine.counts[:, KEPT] > 0).all()
    diverged = {metric: int(each.statistics["diverging"].sum()) for metric, each in found.items()}
    assert 4 * diverged["auto"] < diverged["dense"]


@pytest.mark.parametrize(("stretch", "kept"), [(1.0, 2), (1.5, 2), (4.0, 0)])
def test_a_metric_is_kept_if_gradients_are_not_much_larger_than_it_has_it(stretch: float, kept: int):
    """Compiled and in torch; of a hundred draws of two correlated numbers, whose gradients are ``stretch`` times those of a normal posterior."""
    covariance = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=F64)
    machine = Machine.empty(1, 2, dense=True)
    machine.counts[:, ELDER] = 100
    machine.products[0, 0, DRAWS], machine.products[0, 0, GRADIENTS] = 99.0 * stretch * covariance, 99.0 * stretch * covariance.inverse()
    batched = machine.tensors(torch.device("cpu"))
    native_metric.renew(machine.of(0), np.zeros((3, 2, 2)), MOST_UNEVEN)
    batched_metric.renew(batched, torch.tensor([0]), MOST_UNEVEN)
    assert machine.counts[0, KEPT] == batched.counts[0, KEPT] == kept
    np.testing.assert_allclose(machine.dense, batched.dense, rtol=1e-9)
    native_metric.renew(machine.of(0), np.zeros((3, 2, 2)), math.inf)
    assert machine.counts[0, KEPT] == 2
