"""Kalman filters as people write them: a loop over the observations is a loop of a native kernel, with the numbers of autograd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributions as td

from interpreters.compiled import compile_density
from interpreters.density import density
from poutine import Observe, Program, Sample, factor

F64 = torch.float64
T = 100


def by_division(p: torch.Tensor, h: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    return p @ h.T / s


def by_inverse(p: torch.Tensor, h: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    return p @ h.T @ torch.linalg.inv(s)


def by_solving(p: torch.Tensor, h: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    return torch.linalg.solve(s, h @ p).T


def by_cholesky(p: torch.Tensor, h: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    return torch.cholesky_solve(h @ p, torch.linalg.cholesky(s)).T


def linear(
    y: torch.Tensor, states: int, gain: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor], determinant: bool = False
):
    """Linear and Gaussian; of ``states`` numbers the first few are observed. Innovations are observations, or a sum of their log densities."""
    q = yield Sample("q", td.HalfNormal(torch.ones(states, dtype=F64)))
    r = yield Sample("r", td.HalfNormal(torch.ones(y.shape[1], dtype=F64)))
    a = 0.9 * (torch.eye(states, dtype=F64) + 0.5 * torch.diag(torch.ones(states - 1, dtype=F64), 1))
    h = torch.eye(y.shape[1], states, dtype=F64)
    m, p, total = torch.zeros(states, dtype=F64), torch.eye(states, dtype=F64), torch.zeros((), dtype=F64)
    for t, now in enumerate(y):
        m, p = a @ m, a @ p @ a.T + torch.diag(q**2)
        s, error = h @ p @ h.T + torch.diag(r**2), now - h @ m
        if determinant:
            total = total - 0.5 * (error @ torch.linalg.solve(s, error) + torch.logdet(s))
        else:
            yield Observe(f"y{t}", td.MultivariateNormal(h @ m, s), now)
        k = gain(p, h, s)
        m, p = m + k @ error, p - k @ h @ p
    yield factor("total", total)


def tracked(y: torch.Tensor):
    """One number observed, and so vectors for matrices; a variance for all."""
    q = yield Sample("q", td.HalfNormal(torch.ones((), dtype=F64)))
    a, h = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=F64), torch.tensor([1.0, 0.0], dtype=F64)
    m, p = torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64) * q
    for t, now in enumerate(y):
        m, p = a @ m, a @ p @ a.T + q * torch.eye(2, dtype=F64)
        s = h @ p @ h + 1.0
        yield Observe(f"y{t}", td.Normal(h @ m, s.sqrt()), now)
        k = p @ h / s
        m, p = m + k * (now - h @ m), p - torch.outer(k, h @ p)


def data(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(len(shape)))


PROGRAMS = {
    "vectors": Program(tracked, data(T)),
    "vectors, short": Program(tracked, data(12)),
    "one state": Program(linear, data(T, 1), 1, by_division),
    "two states": Program(linear, data(T, 1), 2, by_inverse),
    "two observed": Program(linear, data(T, 2), 2, by_cholesky),
    "three states": Program(linear, data(T, 2), 3, by_solving),
    "determinant": Program(linear, data(T, 2), 3, by_inverse, determinant=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_filter_is_a_native_kernel_with_autograds_numbers(name: str, tmp_path: Path):
    d = density(PROGRAMS[name])
    kernel = compile_density(d, cache_dir=tmp_path)
    assert kernel.tier == "native"
    for u in torch.randn(2, 3, d.dim, dtype=F64, generator=torch.Generator().manual_seed(5)).reshape(-1, d.dim):
        (value, gradient), (expected, expected_gradient) = kernel.value_and_grad(u), d.value_and_grad(u)
        assert torch.isclose(value, expected, rtol=1e-11)
        assert torch.allclose(gradient, expected_gradient, rtol=1e-9, atol=1e-9)
