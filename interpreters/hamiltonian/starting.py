"""Where chains start: positions of finite density, and a step size to begin with. On tensors, for either sampler."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import torch

from interpreters.adaptation import HIGHEST, LOWEST, SHRINKAGE
from interpreters.counts import so_many
from interpreters.errors import NoStart
from interpreters.hamiltonian.climbing import Places, climbed
from interpreters.hamiltonian.integrator import energy_tensor, leapfrog_tensor, momentum_tensor, point_tensor
from interpreters.hamiltonian.machine import CENTRE, LOG_AVERAGE, LOG_STEP, BatchedDensity, Machine, Options
from interpreters.hamiltonian.philox import INITIAL, normal_tensor, uniform_tensor
from interpreters.hamiltonian.philox import MOMENTUM as FOR_MOMENTUM

TRIES: Final = 100
BEFORE: Final = 0xFFFFFFFF  # the number of the draw, for the momenta with which a step size is tried: no draw has it
DOUBLINGS: Final = 100


def started(
    density: BatchedDensity, chains: int, dim: int, seed: int, options: Options, names: Sequence[str] = (), device: str = "cpu"
) -> Machine:
    """A machine before its first draw. Raises ``NoStart``.

    Positions are uniform on (-2, 2), and tried until the density and its gradient are finite, as Stan does it, then ``climbed``. The
    metric is as in nuts-rs, of coordinate i the inverse of the gradient's size; the step size is that of ``first_step``.
    """
    machine = Machine.empty(chains, dim, options.is_dense).tensors(torch.device(device))
    places = climbed(density, find_places(density, chains, dim, seed, names, device))
    machine.position[:], machine.log_density[:, 0], machine.gradient[:] = places.position, places.value, places.gradient
    machine.scale[:] = places.gradient.abs().clamp(LOWEST, HIGHEST).reciprocal()
    if options.is_dense:
        machine.dense[:], machine.factor[:] = torch.diag_embed(machine.scale), torch.diag_embed(machine.scale.sqrt())
    step = torch.full((chains,), options.step_size or math.nan, dtype=torch.float64)
    log_step = first_step(density, machine, seed, options.target_accept).log() if options.step_size is None else step.log()
    machine.averaging[:, LOG_STEP] = machine.averaging[:, LOG_AVERAGE] = log_step
    machine.averaging[:, CENTRE] = log_step + math.log(SHRINKAGE)
    return machine.arrays()


def find_places(density: BatchedDensity, chains: int, dim: int, seed: int, names: Sequence[str] = (), device: str = "cpu") -> Places:
    """One place a chain, where the log density and its gradient are finite."""
    chain = torch.arange(chains, device=device).unsqueeze(-1)
    coordinate = torch.arange(dim, device=device)
    problems: Counter[str] = Counter()
    places: Places | None = None
    for attempt in range(TRIES):
        tried = Places.at(density, 4.0 * uniform_tensor(seed, chain, attempt, INITIAL, coordinate) - 2.0)
        places = tried if places is None else places.replaced(~places.are_finite, tried)
        missing = ~places.are_finite
        if not bool(missing.any()):
            return places
        problems.update(_problems(places.value[missing], places.gradient[missing], names))
    raise NoStart(
        f"{int(missing.sum())} of {so_many(chains, 'chain')} found no place to start in {TRIES} tries in (-2, 2) of unconstrained space, where "
        + "; ".join(f"{problem} ({times} times)" for problem, times in problems.most_common(3))
        + ". Check the data against the model's supports, or give the scales of flat priors a proper prior."
    )


def _problems(values: torch.Tensor, gradients: torch.Tensor, names: Sequence[str]) -> list[str]:
    """What is not finite, in words, of each chain where something is not."""
    found = []
    for value, gradient in zip(values.tolist(), gradients, strict=True):
        bad = (~gradient.isfinite()).nonzero().flatten().tolist()
        if not math.isfinite(value):
            found.append(f"the log density was {value}")
        elif bad:
            found.append(
                f"the gradient was not finite in {', '.join(dict.fromkeys(names[i] if names else f'coordinate {i}' for i in bad))}"
            )
    return found


def first_step(density: BatchedDensity, machine: Machine, seed: int, target: float) -> torch.Tensor:
    """For each chain a step size whose first leapfrog is accepted with about probability ``target``, to a factor of two.

    Source: Hoffman and Gelman 2014, algorithm 4, with Stan's 0.8 as the threshold by default.
    """
    chains, dim = machine.position.shape
    chain = torch.arange(chains, device=machine.position.device)
    normals = normal_tensor(seed, chain, torch.full_like(chain, BEFORE), FOR_MOMENTUM, dim)
    momentum = momentum_tensor(machine.scale, machine.factor, normals)
    start = point_tensor(machine.position, machine.gradient, momentum, machine.scale, machine.dense)
    energy = energy_tensor(start, machine.log_density[:, 0])
    step = torch.ones_like(energy)
    grows = _gain(density, machine, start, energy, step) > math.log(target)
    going = torch.ones_like(grows)
    for _ in range(DOUBLINGS):
        step = torch.where(going, torch.where(grows, 2.0 * step, 0.5 * step), step)
        going = going & ((_gain(density, machine, start, energy, step) > math.log(target)) == grows)
        if not bool(going.any()):
            break
    return step


def _gain(density: BatchedDensity, machine: Machine, start: torch.Tensor, energy: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """The log acceptance of one leapfrog, -inf where it is nan."""
    point, value = leapfrog_tensor(density, machine.scale, machine.dense, start, step)
    return (energy - energy_tensor(point, value)).nan_to_num(nan=-math.inf, posinf=-math.inf)
