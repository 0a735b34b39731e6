"""The leapfrog integrator, twice: of one chain in a compiled loop, and of tensors over chains.

A leapfrog is half a kick by the gradient of the log density, a drift along the velocity, half a kick. The energy is
H = p·v / 2 - log density, where the velocity v is the inverse metric times the momentum p.

**Laws**: reversible (a step with -step undoes it), preserves volume, and over a fixed time the energy error is O(step ** 2).

Source: Neal, "MCMC using Hamiltonian dynamics", in the Handbook of Markov Chain Monte Carlo (2011), section 5.2.3.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch

from interpreters.hamiltonian.jit import call_density, inlined, jitable, reducing
from interpreters.hamiltonian.machine import BatchedDensity

# The rows of a point in phase space, [5, dim].
POSITION: Final = 0
GRADIENT: Final = 1
ACCELERATION: Final = 2  # the inverse metric times the gradient, so that a leapfrog has one such product
MOMENTUM: Final = 3
VELOCITY: Final = 4


@inlined
def leapfrog(density: Any, scale: Any, dense: Any, point: Any, value: Any, step: float) -> float:
    """One step of ``point``, in place; returns the log density there. ``density`` is the address of a C function and its data."""
    position, gradient, acceleration, momentum, velocity = point[0], point[1], point[2], point[3], point[4]
    dim = len(position)
    for i in range(dim):
        momentum[i] += 0.5 * step * gradient[i]
        velocity[i] += 0.5 * step * acceleration[i]
        position[i] += step * velocity[i]
    call_density(density[0], dim, position.ctypes.data, gradient.ctypes.data, value.ctypes.data, density[1])
    times_inverse_metric(scale, dense, gradient, acceleration)
    for i in range(dim):
        momentum[i] += 0.5 * step * gradient[i]
        velocity[i] += 0.5 * step * acceleration[i]
    return value[0]  # type: ignore[no-any-return]  # arrays of numba are untyped


@jitable
def times_inverse_metric(scale: Any, dense: Any, covector: Any, vector: Any) -> None:
    """The inverse metric times a momentum or a gradient. Of a diagonal metric ``dense`` is empty."""
    for i in range(len(scale)):
        vector[i] = 0.0 if len(dense) else scale[i] * covector[i]
    for j in range(len(dense)):
        for i in range(len(dense)):  # over a row of the symmetric matrix: several at once
            vector[i] += dense[j, i] * covector[j]


@jitable
def to_momentum(scale: Any, factor: Any, normals: Any) -> None:
    """Turns standard normals into a momentum, in place: p = M^(1/2) z, or L' p = z where the inverse of M is L L'."""
    for i in range(len(scale)):
        normals[i] /= 1.0 if len(factor) else math.sqrt(scale[i])
    for i in range(len(factor) - 1, -1, -1):
        for j in range(i + 1, len(factor)):
            normals[i] -= factor[j, i] * normals[j]
        normals[i] /= factor[i, i]


@jitable
def copy(vector: Any, to: Any) -> None:
    """Without the temporary copy that an assignment of slices makes."""
    for i in range(len(vector)):
        to[i] = vector[i]


@reducing
def kinetic(point: Any) -> float:
    total = 0.0
    for i in range(point.shape[1]):
        total += point[3, i] * point[4, i]
    return 0.5 * total


def leapfrog_tensor(
    density: BatchedDensity, scale: torch.Tensor, dense: torch.Tensor, point: torch.Tensor, step: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of ``point`` [chains, 5, dim] by ``step`` [chains]: the new point, and the log density there [chains]."""
    position, gradient, acceleration, momentum, velocity = point.unbind(dim=1)
    step = step.unsqueeze(-1)
    momentum, velocity = momentum + 0.5 * step * gradient, velocity + 0.5 * step * acceleration
    position = position + step * velocity
    value, gradient = density(position)
    acceleration = vector_tensor(scale, dense, gradient)
    momentum, velocity = momentum + 0.5 * step * gradient, velocity + 0.5 * step * acceleration
    return torch.stack([position, gradient, acceleration, momentum, velocity], dim=1), value


def point_tensor(
    position: torch.Tensor, gradient: torch.Tensor, momentum: torch.Tensor, scale: torch.Tensor, dense: torch.Tensor
) -> torch.Tensor:
    """Points [chains, 5, dim]."""
    acceleration, velocity = vector_tensor(scale, dense, gradient), vector_tensor(scale, dense, momentum)
    return torch.stack([position, gradient, acceleration, momentum, velocity], dim=1)


def vector_tensor(scale: torch.Tensor, dense: torch.Tensor, covector: torch.Tensor) -> torch.Tensor:
    """``times_inverse_metric`` over chains: all are [chains, dim], and dense is [chains, dim, dim] or [chains, 0, 0]."""
    return (dense @ covector.unsqueeze(-1)).squeeze(-1) if dense.shape[-1] else scale * covector


def momentum_tensor(scale: torch.Tensor, factor: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
    """``to_momentum`` over chains."""
    if factor.shape[-1]:
        solved: torch.Tensor = torch.linalg.solve_triangular(factor.mT, normals.unsqueeze(-1), upper=True)
        return solved.squeeze(-1)
    return normals / scale.sqrt()


def energy_tensor(point: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """H, in nats, of points [chains, 5, dim] with log densities ``value``."""
    return 0.5 * (point[:, MOMENTUM] * point[:, VELOCITY]).sum(dim=-1) - value
