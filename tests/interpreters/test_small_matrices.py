"""Factors, solves, inverses and products of small matrices in kernels, and of the first sizes that go to LAPACK."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributions as td

from interpreters.compiled import Kernel, compile_density
from interpreters.density import Density, density
from interpreters.kernels.small_matrices import SMALL
from poutine import Program, Sample, factor

F64 = torch.float64


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=F64)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(sum(shape)))


def every_kind(root: torch.Tensor, three: torch.Tensor, two: torch.Tensor):
    """Of a matrix that is positive definite where the last number of ``u`` is large, as it is not where that is very negative."""
    n = len(root)
    u = yield Sample("u", td.Normal(torch.zeros(n + 1, dtype=F64), 1.0))
    matrix = root @ root.mT / n + 0.3 * torch.outer(u[:n], u[:n]) + (2.0 + u[n]) * torch.eye(n, dtype=F64)
    lower = torch.linalg.cholesky(matrix)
    column = torch.linalg.solve_triangular(lower, u[:n, None] + 1.0, upper=False)
    columns = torch.linalg.solve_triangular(lower.mT, three * u[n], upper=True)
    rows = torch.linalg.solve_triangular(lower, two + u[:n], upper=False, left=False)
    unit = torch.linalg.solve_triangular(matrix / matrix.sum(), two.mT, upper=False, unitriangular=True)
    pair = torch.linalg.cholesky(torch.stack([matrix, matrix.mT + root.mT @ root]))
    # Rows are exchanged in these, the first one's columns being in reverse order.
    general = (root + u[n] * root.sin() + 3.0 * torch.eye(n, dtype=F64)).flip(1)
    solved = (
        torch.linalg.solve(general, three * u[n]).sum()
        + torch.linalg.solve(torch.stack([general, matrix]), two.expand(2, 2, n), left=False).cos().sum()
    )
    inverse = torch.linalg.inv(general) + torch.cholesky_inverse(lower) @ matrix.mT.inverse()
    yield factor(
        "general", torch.linalg.solve(general.mT, u[:n]).sin().sum() + solved.sin() + inverse.sin().sum() + (general / n).det().sin()
    )
    yield factor("determinants", matrix.logdet() + torch.linalg.slogdet(general)[1] * torch.linalg.slogdet(general)[0])
    yield factor("factors", lower.diagonal().log().sum() + (lower @ root).sin().sum() / n + pair.sin().sum())
    yield factor("solves", -(column**2).sum() + columns.sin().sum() + (rows @ columns).cos().sum() + unit.sin().sum())


@pytest.fixture(scope="module", params=[1, 2, 3, 7, 8, 9, 11, 17, SMALL, SMALL + 1])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Density, Kernel]:
    n: int = request.param
    exact = density(Program(every_kind, noise(n, n), noise(n, 3), noise(2, n)))
    return exact, compile_density(exact, cache_dir=tmp_path_factory.mktemp("kernels"))


def at(d: Density, seed: int, last: float) -> torch.Tensor:
    point = 0.6 * torch.randn(d.dim, dtype=F64, generator=torch.Generator().manual_seed(seed))
    point[-1] = last
    return point


def agrees(d: Density, kernel: Kernel, point: torch.Tensor) -> bool:
    value, gradient = kernel.value_and_grad(point)
    expected, expected_gradient = d.value_and_grad(point)
    return torch.isclose(value, expected, rtol=1e-11) and torch.allclose(gradient, expected_gradient, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
def test_the_numbers_and_gradients_are_torchs(both: tuple[Density, Kernel]):
    d, kernel = both
    assert kernel.tier == "native"
    points = [at(d, seed, 0.5 * seed) for seed in range(3)]
    assert all(agrees(d, kernel, point) for _ in range(2) for point in points)


@pytest.mark.slow
def test_what_is_not_positive_definite_is_nan_and_the_next_call_is_right(both: tuple[Density, Kernel]):
    d, kernel = both
    value, _ = kernel.value_and_grad(at(d, 0, -30.0))
    assert value.isnan()
    value, _ = kernel.value_and_grad(at(d, 0, float("nan")))
    assert value.isnan()
    assert agrees(d, kernel, at(d, 0, 0.0))


def singular(matrix: torch.Tensor):
    u = yield Sample("u", td.Normal(number(0.0), 1.0))
    changed = matrix + (1.0 - u) * torch.eye(len(matrix), dtype=F64)
    yield factor("inverse", torch.linalg.inv(changed).sum() + torch.linalg.solve(changed, matrix[:, 0]).sum())


def test_a_singular_matrix_has_no_inverse_and_the_density_is_nan(tmp_path: Path):
    kernel = compile_density(density(Program(singular, torch.ones(2, 2, dtype=F64))), cache_dir=tmp_path)
    assert kernel.tier == "native"
    assert kernel.value_and_grad(number(1.0)[None])[0].isnan()
    assert kernel.value_and_grad(number(1.5)[None])[0].isfinite()
