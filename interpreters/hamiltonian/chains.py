"""Chains: the result of a sampler over unconstrained space, and the state that it goes on from."""

from __future__ import annotations

import attrs
import numpy as np
import torch

from interpreters.counts import so_many
from interpreters.hamiltonian.expected import whole
from interpreters.hamiltonian.machine import STATISTICS, Machine, Options


@attrs.frozen
class Plan:
    """What a sampler was asked for. ``chunk`` is the number of draws that are handed over at a time."""

    seed: int
    num_chains: int = attrs.field(validator=whole(1))
    num_warmup: int = attrs.field(validator=whole(0))
    num_draws: int = attrs.field(validator=whole(0))
    options: Options
    chunk: int = attrs.field(validator=whole(1))
    keep: bool = True

    @property
    def total(self) -> int:
        """Draws of one chain, warmup included."""
        return self.num_warmup + self.num_draws


@attrs.frozen(eq=False)
class Part:
    """Draws number ``start`` and on, counted from 0 with warmup, of one chain.

    positions [n, dim], unconstrained; statistics [n, 8], see ``STATISTICS``; ``machine``: the chain after them.
    """

    chain: int
    start: int
    positions: torch.Tensor
    statistics: torch.Tensor
    machine: Machine | None

    def after(self, num_warmup: int) -> Part:
        """Without the draws of warmup."""
        skip = max(0, num_warmup - self.start)
        return attrs.evolve(self, start=self.start + skip, positions=self.positions[skip:], statistics=self.statistics[skip:])


@attrs.frozen(eq=False, repr=False)
class Chains:
    """Draws of several chains, without warmup. Can be pickled; ``resumed`` goes on from it, bit for bit.

    machines:  the memory of each chain.
    parts:     its draws, in order; empty if the plan says not to keep them.
    """

    plan: Plan
    machines: tuple[Machine, ...]
    parts: tuple[tuple[Part, ...], ...]

    def adding(self, part: Part) -> Chains:
        """With the next part of one chain."""
        c, kept = part.chain, part.after(self.plan.num_warmup)
        # The parts do not carry machines of their own: only the last one is needed.
        more = (attrs.evolve(kept, machine=None),) if self.plan.keep and len(kept.positions) else ()
        machines, parts = list(self.machines), list(self.parts)
        machines[c], parts[c] = part.machine or machines[c], parts[c] + more
        return attrs.evolve(self, machines=tuple(machines), parts=tuple(parts))

    @property
    def num_draws(self) -> int:
        """How many draws every chain has. Less than planned if the sampler was stopped."""
        return min(sum(len(part.positions) for part in parts) for parts in self.parts)

    @property
    def positions(self) -> torch.Tensor:
        """[chains, draws, dim], unconstrained, as many draws as the shortest chain has."""
        dim = self.machines[0].position.shape[-1]
        empty = torch.zeros(0, dim, dtype=torch.float64)
        return torch.stack([torch.cat([empty, *(part.positions for part in parts)])[: self.num_draws] for parts in self.parts])

    @property
    def statistics(self) -> dict[str, torch.Tensor]:
        """By name, each [chains, draws]."""
        empty = torch.zeros(0, len(STATISTICS), dtype=torch.float64)
        table = torch.stack([torch.cat([empty, *(part.statistics for part in parts)])[: self.num_draws] for parts in self.parts])
        return self.plan.options.named(table)

    @property
    def machine(self) -> Machine:
        """The memory of all chains."""
        return Machine(*(np.stack(rows) for rows in zip(*self.machines, strict=True)))

    def __repr__(self) -> str:
        dim = self.machines[0].position.shape[-1]
        return f"<Chains: {so_many(len(self.machines), 'chain')} of {so_many(self.num_draws, 'draw')} of {so_many(dim, 'number')}>"
