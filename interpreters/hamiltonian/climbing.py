"""Up the gradient to where a chain can start. On tensors, for either sampler.

A place drawn at random may be absurdly unlikely: of a time series that explodes there, 10 ** 80 nats below the rest. A chain that
starts in such a place walks down a cliff for hundreds of draws, each of which keeps a third of its energy; energies are too large for
their differences to be told, and what metric and step size learn there is of no use later. So from where a line search along
the gradient gains absurdly much, it is taken, and repeated until it does not. A place that a chain leaves in twenty draws by
itself is left as it is: the starts stay spread out, as r_hat wants them, no chain is led to a mode, and the energy it has is what
carries it past minor ones.

Source: the method of steepest descent, with a search by doubling and halving: Nocedal and Wright, "Numerical Optimization" (2006),
chapter 3. The purpose is that of Pathfinder: Zhang, Carpenter, Gelman and Vehtari, JMLR 23 (2022).
"""

from __future__ import annotations

from typing import Final

import attrs
import torch

from interpreters.hamiltonian.machine import BatchedDensity

ABSURD: Final = 1e8  # nats that a line search must gain. Measured on arma11: with 1e4 to 1e12 all of 120 chains arrive, with none half
_LINES: Final = 200
_DOUBLINGS: Final = 100


@attrs.frozen
class Places:
    """Of chains: position [n, dim], unconstrained; value [n], the log density there in nats; gradient [n, dim]."""

    position: torch.Tensor
    value: torch.Tensor
    gradient: torch.Tensor

    @classmethod
    def at(cls, density: BatchedDensity, position: torch.Tensor) -> Places:
        return cls(position, *density(position))

    @property
    def are_finite(self) -> torch.Tensor:
        """[n] of bool."""
        return self.value.isfinite() & self.gradient.isfinite().all(dim=-1)

    def __getitem__(self, which: torch.Tensor) -> Places:
        return Places(self.position[which], self.value[which], self.gradient[which])

    def put(self, rows: torch.Tensor, new: Places) -> Places:
        """With ``new`` ones in these rows."""
        pairs = zip(attrs.astuple(self, recurse=False), attrs.astuple(new, recurse=False), strict=True)
        return Places(*(column.index_put((rows,), values) for column, values in pairs))

    def replaced(self, which: torch.Tensor, by: Places) -> Places:
        """With those ``which`` [n] is true of replaced ``by`` theirs in [n] others."""
        rows = which.unsqueeze(-1)
        return Places(
            torch.where(rows, by.position, self.position),
            torch.where(which, by.value, self.value),
            torch.where(rows, by.gradient, self.gradient),
        )


def climbed(density: BatchedDensity, places: Places) -> Places:
    """The places from which no line search gains more than ``ABSURD``. **Law**: none is less likely than it was."""
    going = (places.gradient.abs().sum(dim=-1) > ABSURD).nonzero().squeeze(-1)  # the others gain less within a distance of 1
    for _ in range(_LINES):
        if not len(going):
            break
        here = places[going]
        best = best_along(density, here)
        far = best.value - here.value > ABSURD
        going, best = going[far], best[far]
        places = places.put(going, best)
    return places


def best_along(density: BatchedDensity, start: Places) -> Places:
    """The best places that a search along the gradients finds: by doubling a distance of 1 while that gains, else by halving.

    It halves until it gains and as long as it gains more, but not to where the gradient promises less than ``ABSURD``.
    """
    largest = start.gradient.abs().amax(dim=-1, keepdim=True).clamp_min(1e-300)
    length = (start.gradient / largest).norm(dim=-1, keepdim=True).clamp_min(1e-300)
    direction, slope = start.gradient / largest / length, (largest * length).squeeze(-1)
    best, distance = start, torch.ones_like(start.value)
    grows = found = torch.zeros_like(distance, dtype=torch.bool)
    going = ~grows
    for attempt in range(_DOUBLINGS):
        tried = Places.at(density, start.position + distance.unsqueeze(-1) * direction)
        better = going & tried.are_finite & (tried.value > best.value)
        best, found = best.replaced(better, tried), found | better
        grows = better if attempt == 0 else grows
        distance = distance * torch.where(grows, 2.0, 0.5)
        going = better | (going & ~found & (distance * slope > ABSURD))
        if not bool(going.any()):
            break
    return best
