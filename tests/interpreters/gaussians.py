"""Densities with known answers, each as a C function for the native loop and as a batched one in torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
import numba
import torch
from numba import types

from interpreters.hamiltonian.machine import BatchedDensity
from interpreters.hamiltonian.targets import Target

F64 = torch.float64
DIM = 5
_DOUBLES = types.CPointer(types.float64)
SIGNATURE = types.int64(types.uint64, _DOUBLES, _DOUBLES, _DOUBLES, types.voidptr)
CORRELATION = 0.9


@attrs.frozen(eq=False)
class CKernel:
    """A kernel like those of ``compiled``, from a numba function."""

    dim: int
    batched: BatchedDensity
    function: Any
    tier: str = "native"
    user: int = 0

    @property
    def address(self) -> int:
        return self.function.address

    def value_and_grad(self, position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, gradients = self.batched(position.unsqueeze(0))
        return values[0], gradients[0]

    @property
    def target(self) -> Target:
        """For the batched sampler."""
        return Target(self.dim, self.batched)


@numba.cfunc(SIGNATURE)
def c_normal(dim, x, g, value, user):
    total = 0.0
    for i in range(dim):
        sd = 10.0 ** (i - 2)
        g[i] = -x[i] / sd / sd
        total += 0.5 * x[i] * g[i]
    value[0] = total
    return 0


def normal(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    gradients = -positions / (10.0 ** (torch.arange(DIM, dtype=F64) - 2)) ** 2
    return 0.5 * (positions * gradients).sum(dim=-1), gradients


@numba.cfunc(SIGNATURE)
def c_steep(dim, x, g, value, user):
    """Normals of standard deviation 1e-5."""
    value[0] = 0.0
    for i in range(dim):
        g[i] = -1e10 * x[i]
        value[0] += 0.5 * x[i] * g[i]
    return 0


def steep(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return -0.5e10 * (positions**2).sum(dim=-1), -1e10 * positions


@numba.cfunc(SIGNATURE)
def c_correlated(dim, x, g, value, user):
    g[0] = -(x[0] - 0.9 * x[1]) / (1.0 - 0.81)
    g[1] = -(x[1] - 0.9 * x[0]) / (1.0 - 0.81)
    value[0] = 0.5 * (x[0] * g[0] + x[1] * g[1])
    return 0


def correlated(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    gradients = -(positions - CORRELATION * positions.flip(-1)) / (1.0 - CORRELATION**2)
    return 0.5 * (positions * gradients).sum(dim=-1), gradients


@numba.cfunc(SIGNATURE)
def c_funnel(dim, x, g, value, user):
    """Neal's: x0 ~ Normal(0, 1.5), the others Normal(0, exp(x0 / 2))."""
    total, g[0] = -x[0] * x[0] / 4.5, -x[0] / 2.25
    for i in range(1, dim):
        precision = math.exp(-x[0])
        g[i] = -x[i] * precision
        total += 0.5 * x[i] * g[i] - 0.5 * x[0]
        g[0] += -0.5 * x[i] * g[i] - 0.5
    value[0] = total
    return 0


def funnel(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    v, x = positions[:, :1], positions[:, 1:]
    rest = -x * (-v).exp()
    values = -(v**2).squeeze(-1) / 4.5 + (0.5 * x * rest - 0.5 * v).sum(dim=-1)
    return values, torch.cat([-v / 2.25 + (-0.5 * x * rest - 0.5).sum(dim=-1, keepdim=True), rest], dim=-1)


@numba.cfunc(SIGNATURE)
def c_cliff(dim, x, g, value, user):
    """Normals of sd 0.1, beyond 1 in a cliff: nearly all of (-2, 2) is as unlikely as places where a time series explodes."""
    total = 0.0
    for i in range(dim):
        steep = abs(x[i]) ** 299
        g[i] = -100.0 * x[i] - 300.0 * math.copysign(steep, x[i])
        total -= 50.0 * x[i] * x[i] + steep * abs(x[i])
    value[0] = total
    return 0


def cliff(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    steep = positions.abs() ** 299
    return -(50.0 * positions**2 + steep * positions.abs()).sum(dim=-1), -100.0 * positions - 300.0 * steep.copysign(positions)


NORMAL = CKernel(DIM, normal, c_normal)
CORRELATED = CKernel(2, correlated, c_correlated)
STEEP = CKernel(DIM, steep, c_steep)
FUNNEL = CKernel(4, funnel, c_funnel)
CLIFF = CKernel(3, cliff, c_cliff)


def check_means(draws: torch.Tensor, expected: float, sigmas: float, ess: Callable[..., Any], name: str = "") -> None:
    """The mean of ``draws`` [chains, draws] is within so many Monte Carlo standard errors of what is expected."""
    error = float(draws.std()) / float(ess(draws.numpy())) ** 0.5
    assert abs(float(draws.mean()) - expected) < sigmas * error, (name, float(draws.mean()), expected, error)
