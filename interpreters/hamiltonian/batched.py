"""Draws of many chains in plain torch: for GPUs, for thousands of chains, and for densities that do not compile."""

from __future__ import annotations

import math

import torch

from interpreters.hamiltonian.batched_adaptation import adapt
from interpreters.hamiltonian.batched_tree import Trees
from interpreters.hamiltonian.integrator import energy_tensor, leapfrog_tensor
from interpreters.hamiltonian.machine import DRAW, LOG_STEP, BatchedDensity, Machine, Settings
from interpreters.hamiltonian.philox import ACCEPTING, uniform_tensor


class Batch:
    """A state machine over all chains: one ``step`` is one leapfrog of each (of plain HMC, one trajectory).

    machine:  of tensors. A draw changes it only when it is complete, so at any time it is a state to go on from.
    target:   no chain makes more draws than this.
    positions [chains, room, dim], statistics [chains, room, 8]: the draws since ``take``, the first ``filled`` of each chain.
    """

    def __init__(self, density: BatchedDensity, machine: Machine, settings: Settings, target: int, room: int) -> None:
        chains, dim = machine.position.shape
        self.density, self.machine, self.settings, self.target, self.room = density, machine, settings, target, room
        self.trees = Trees(machine, settings)
        self.positions, self.statistics = machine.position.new_zeros(chains, room, dim), machine.position.new_zeros(chains, room, 8)
        self.filled = machine.counts.new_zeros(chains)
        self._begin(self.active)

    @property
    def active(self) -> torch.Tensor:
        """The numbers of the chains that have draws to make."""
        draws: torch.Tensor = self.machine.counts[:, DRAW]
        return (draws < self.target).nonzero().squeeze(-1)

    @property
    def is_full(self) -> bool:
        """Whether the draws must be taken before the next step."""
        return bool((self.filled == self.room).any())

    def take(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The new draws of each chain, [n, dim], and their statistics, [n, 8], on the CPU."""
        taken = [(self.positions[c, :n].cpu().clone(), self.statistics[c, :n].cpu().clone()) for c, n in enumerate(self.filled.tolist())]
        self.filled.zero_()
        return taken

    def step(self) -> None:
        which = self.active
        if self.settings.num_steps or self.settings.length:
            self._whole_trajectory(which)
            self._finish(which)
            return
        ended = self.trees.add_leaf(self.density, which).nonzero().squeeze(-1)
        if len(ended):
            self._finish(ended)

    def _begin(self, which: torch.Tensor) -> None:
        self.trees.refresh(which)
        self.trees.begin_half(which)

    def _finish(self, which: torch.Tensor) -> None:
        """Makes the samples of the trajectories the new positions, records them, adapts, and begins new ones."""
        trees, machine = self.trees, self.machine
        log_density, energy = trees.chosen_value[which, 0].unbind(dim=-1)
        acceptance = trees.acceptance[which] / trees.num_steps[which]
        step = machine.averaging[which, LOG_STEP].exp()
        whole = (trees.depth[which], trees.num_steps[which], trees.diverging[which], trees.place[which])
        row = torch.stack([log_density, energy, acceptance, step, *(column.to(torch.float64) for column in whole)], dim=-1)
        machine.position[which], machine.gradient[which] = trees.chosen[which, 0].unbind(dim=1)
        machine.log_density[which, 0] = log_density
        adapt(machine, self.settings, which, acceptance, trees.place[which], trees.diverging[which])
        machine.counts[which, DRAW] += 1
        place = self.filled[which]
        self.positions[which, place], self.statistics[which, place] = machine.position[which], row
        self.filled[which] += 1
        self._begin(which[machine.counts[which, DRAW] < self.target])

    def _whole_trajectory(self, which: torch.Tensor) -> None:
        """Plain HMC, see ``native_chain.fixed_transition``; leaves the draw where a tree would."""
        trees, settings, machine = self.trees, self.settings, self.machine
        step = machine.averaging[which, LOG_STEP].exp()
        most = torch.full_like(which, settings.num_steps)
        if settings.length:
            most = (settings.length / step).floor().clamp(1, 1 << settings.max_depth).long()
        point, value, error = trees.ends[which, 1], machine.log_density[which, 0], torch.zeros_like(step)
        taken = torch.zeros_like(which)
        while bool((going := (taken < most) & (error > -torch.inf) & (error <= settings.max_error)).any()):
            g = going.nonzero().squeeze(-1)
            point[g], value[g] = leapfrog_tensor(self.density, machine.scale[which[g]], machine.dense[which[g]], point[g], step[g])
            error[g] = energy_tensor(point[g], value[g]) - trees.start[which[g]]
            taken += going
        trees.diverging[which] = diverging = ~((error > -math.inf) & (error <= settings.max_error))
        acceptance = torch.where(diverging, 0.0, (-error).clamp(max=0.0).exp())
        moved = uniform_tensor(settings.seed, which, machine.counts[which, DRAW], ACCEPTING, 0) < acceptance
        trees.chosen[which[moved], 0] = point[moved, :2]
        trees.chosen_value[which[moved], 0] = torch.stack([value, trees.start[which] + error], dim=-1)[moved]
        trees.place[which] = taken * moved
        trees.num_steps[which] = taken
        trees.acceptance[which] = acceptance * taken
