"""NUTS in plain torch, for many chains: what ``native_tree`` does to one, leaf by leaf.

The trees of all chains grow at once, one leapfrog a step. Each is at a place of its own, and none waits for another. The
algorithm, its sources, and the names of things are those of ``native_tree``; the two are tested against each other.
"""

from __future__ import annotations

import torch

from interpreters.hamiltonian.integrator import MOMENTUM, VELOCITY, energy_tensor, leapfrog_tensor, momentum_tensor, point_tensor
from interpreters.hamiltonian.machine import DRAW, LOG_STEP, BatchedDensity, Machine, Settings
from interpreters.hamiltonian.philox import DOUBLING, LEAF, normal_tensor, uniform_tensor
from interpreters.hamiltonian.philox import MOMENTUM as FOR_MOMENTUM
from interpreters.hamiltonian.turning import FIRST_P, FIRST_V, LAST_P, LAST_V, RHO


class Trees:
    """The trajectories of all chains. The first axis is the chain; ``which`` in the methods are the chains that are meant.

    ends [2, 5, dim], near [2, dim], stack [max_depth + 1, 5, dim], rho [dim], chosen [2, 2, dim] are as in ``native_tree.Work``.
    chosen_value [2, 2]: the log density and the energy of the sample, and of the new half's; chosen_leaf: its place in the half.
    """

    def __init__(self, machine: Machine, settings: Settings) -> None:
        chains, dim = machine.position.shape
        zeros, integers = machine.position.new_zeros, machine.counts.new_zeros
        self.machine, self.settings = machine, settings
        self.ends, self.near, self.stack = zeros(chains, 2, 5, dim), zeros(chains, 2, dim), zeros(chains, settings.max_depth + 1, 5, dim)
        self.rho, self.chosen, self.chosen_value = zeros(chains, dim), zeros(chains, 2, 2, dim), zeros(chains, 2, 2)
        self.start, self.log_weight, self.half_weight, self.acceptance = zeros(chains), zeros(chains), zeros(chains), zeros(chains)
        self.depth, self.leaf, self.num_steps, self.forwards = (integers(chains) for _ in range(4))
        self.place, self.chosen_leaf, self.extent = integers(chains), integers(chains), integers(chains, 2)
        self.diverging = torch.zeros_like(self.depth, dtype=torch.bool)

    def refresh(self, which: torch.Tensor) -> None:
        """New momenta; trajectories of one point."""
        machine, scale, dense = self.machine, self.machine.scale[which], self.machine.dense[which]
        position, gradient = machine.position[which], machine.gradient[which]
        normals = normal_tensor(self.settings.seed, which, machine.counts[which, DRAW], FOR_MOMENTUM, position.shape[-1])
        momentum = momentum_tensor(scale, machine.factor[which], normals)
        point = point_tensor(position, gradient, momentum, scale, dense)
        self.start[which] = energy_tensor(point, machine.log_density[which, 0])
        self.ends[which, 0] = self.ends[which, 1] = point
        self.rho[which] = momentum
        self.chosen[which, 0] = point[:, :2]
        self.chosen_value[which, 0] = torch.stack([machine.log_density[which, 0], self.start[which]], dim=-1)
        for counter in (self.depth, self.num_steps, self.place, self.extent, self.log_weight, self.acceptance, self.diverging):
            counter[which] = 0

    def begin_half(self, which: torch.Tensor) -> None:
        """Chooses a direction, and begins the next half with no leaf."""
        self.forwards[which] = (self._uniform(which, DOUBLING, 2 * self.depth) > 0.5).long()
        self.near[which] = self.ends[which, self.forwards[which]][:, MOMENTUM:]
        self.half_weight[which] = -torch.inf
        self.leaf[which] = 0

    def add_leaf(self, density: BatchedDensity, which: torch.Tensor) -> torch.Tensor:
        """One leapfrog. Returns which trajectories have come to their end; to the others it begins a new half where one is due."""
        forwards, depth = self.forwards[which], self.depth[which]
        step = self.machine.averaging[which, LOG_STEP].exp() * (2 * forwards - 1)
        point, value = leapfrog_tensor(density, self.machine.scale[which], self.machine.dense[which], self.ends[which, forwards], step)
        self.ends[which, forwards] = point
        stops = self._weigh(which, point, value)
        going = which[~stops]
        turning = self._turns_somewhere(going, point[~stops])
        self.leaf[which] += 1
        stops[~stops] = turning
        full = which[~stops & (self.leaf[which] == (1 << depth))]
        ends = torch.zeros_like(self.diverging)
        ends[which[stops]] = True
        if len(full):
            ends[full] = self._merge(full) | (self.depth[full] == self.settings.max_depth)
            self.begin_half(full[~ends[full]])
        return ends

    def _weigh(self, which: torch.Tensor, point: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Weighs the new leaf, and perhaps chooses it; True where it diverges."""
        here = energy_tensor(point, value)
        error = here - self.start[which]
        diverging: torch.Tensor = ~((error > -torch.inf) & (error <= self.settings.max_error))
        self.acceptance[which] += torch.where(diverging & ~(error > 0), 0.0, (-error).clamp(max=0.0).exp())
        log_weight = torch.logaddexp(self.half_weight[which], -error)
        self.half_weight[which] = torch.where(diverging, self.half_weight[which], log_weight)
        chosen = ~diverging & (self._uniform(which, LEAF, self.num_steps + 1) < (-error - log_weight).exp())
        self.chosen[which[chosen], 1] = point[chosen, :2]
        self.chosen_value[which[chosen], 1] = torch.stack([value, here], dim=-1)[chosen]
        self.chosen_leaf[which[chosen]] = self.leaf[which[chosen]]
        self.diverging[which] = diverging
        self.num_steps[which] += 1
        return diverging

    def _turns_somewhere(self, which: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
        """Adds the leaf to the binary counter; True where a subtree that it completes turns."""
        leaf, rho = self.leaf[which], point[:, MOMENTUM]
        first, last_v = point[:, MOMENTUM:], point[:, VELOCITY]
        turning = torch.zeros_like(leaf, dtype=torch.bool)
        level, levels = 0, torch.zeros_like(leaf)
        carries = (leaf & 1).bool()
        while bool(carries.any()):
            left = self.stack[which, level]
            turned = turns(left[:, RHO], rho, left[:, FIRST_V], left[:, LAST_P], left[:, LAST_V], first[:, 0], first[:, 1], last_v)
            turning = turning | (carries & turned)
            rho = torch.where(carries[:, None], rho + left[:, RHO], rho)
            first = torch.where(carries[:, None, None], left[:, : FIRST_V + 1], first)
            levels += carries
            level += 1
            carries = carries & ~turned & ((leaf >> level) & 1).bool()
        self.stack[which, levels] = torch.cat([first, point[:, MOMENTUM:], rho.unsqueeze(1)], dim=1)
        return turning

    def _merge(self, which: torch.Tensor) -> torch.Tensor:
        """Joins the finished half to the trajectory; True where that turns."""
        depth, forwards = self.depth[which], self.forwards[which]
        accepted = (
            self._uniform(which, DOUBLING, 2 * self.depth + 1) < (self.half_weight[which] - self.log_weight[which]).clamp(max=0.0).exp()
        )
        taken = which[accepted]
        self.chosen[taken, 0] = self.chosen[taken, 1]
        self.chosen_value[taken, 0] = self.chosen_value[taken, 1]
        sign = 2 * forwards[accepted] - 1
        self.place[taken] = (self.extent[taken, forwards[accepted]] + self.chosen_leaf[taken] + 1) * sign
        self.extent[which, forwards] += self.leaf[which]
        self.log_weight[which] = torch.logaddexp(self.log_weight[which], self.half_weight[which])
        new, far, near = self.stack[which, depth], self.ends[which, 1 - forwards], self.near[which]
        rho = self.rho[which]
        turned = turns(rho, new[:, RHO], far[:, VELOCITY], near[:, 0], near[:, 1], new[:, FIRST_P], new[:, FIRST_V], new[:, LAST_V])
        self.rho[which] = rho + new[:, RHO]
        self.depth[which] += 1
        return turned

    def _uniform(self, which: torch.Tensor, purpose: int, index: torch.Tensor) -> torch.Tensor:
        return uniform_tensor(self.settings.seed, which, self.machine.counts[which, DRAW], purpose, index[which])


def turns(
    left: torch.Tensor,
    right: torch.Tensor,
    first_v: torch.Tensor,
    near_p: torch.Tensor,
    near_v: torch.Tensor,
    next_p: torch.Tensor,
    next_v: torch.Tensor,
    last_v: torch.Tensor,
) -> torch.Tensor:
    """``turning.turns`` over chains, [chains, dim] each."""
    spans = (left + right, first_v, last_v), (left + next_p, first_v, next_v), (right + near_p, near_v, last_v)
    products = [(rho * velocity).sum(dim=-1) for rho, *velocities in spans for velocity in velocities]
    return ~(torch.stack(products) > 0).all(dim=0)
