"""What a sampler remembers between draws, and what it is set to. Plain arrays, so that it can be saved and go on anywhere.

The randomness needs no memory: see ``philox``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt
import torch

from interpreters.adaptation import MOST_DENSE, MOST_UNEVEN, dense_schedule, diagonal_schedule
from interpreters.hamiltonian.expected import between, one_of, whole

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BatchedDensity = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""[chains, dim] positions to [chains] log densities and [chains, dim] gradients."""

METRICS: Final = ("auto", "diagonal", "dense")
DEEPEST: Final = 20  # tree: a trajectory of a million leapfrogs

# The columns of ``Machine.averaging``
LOG_STEP: Final = 0  # what is used
LOG_AVERAGE: Final = 1  # what will be used after warmup
ERROR: Final = 2
CENTRE: Final = 3
UPDATES: Final = 4

# The columns of ``Machine.counts``
DRAW: Final = 0  # how many draws were made, warmup included
ELDER: Final = 1  # how many draws the estimate in use has seen,
YOUNGER: Final = 2  # and the one that will replace it
KEPT: Final = 3  # how many directions of the dense metric were kept; 0 if it is a diagonal one

# The second axis of ``Machine.moments``
DRAW_MEAN, DRAW_SCATTER, GRADIENT_MEAN, GRADIENT_SCATTER = range(4)

STATISTICS: Final = (
    "lp", "energy", "acceptance_rate", "step_size", "tree_depth", "n_steps", "diverging", "index_in_trajectory",
)  # fmt: skip
"""What is recorded of each draw, by its name in ArviZ. ``energy`` and ``lp`` are in nats."""


class Machine(NamedTuple):
    """The memory of all chains. In each array the first axis is the chain; ``machine.of(c)`` are the rows of one.

    position, gradient:  [dim] each: the last draw, unconstrained, and the gradient of the log density there.
    log_density:  [1], in nats.
    scale:        [dim], the diagonal of the inverse metric.
    dense:        [dim, dim], the inverse metric, or [0, 0] if it is always diagonal.
    factor:       its lower Cholesky factor.
    products:     [2, 2, dim, dim], or [2, 2, 0, 0]: of the elder and of the younger estimate, the sums of products of deviations,
                  of draws and of gradients. Only the lower triangles count.
    moments:      [2, 4, dim]: of the elder and of the younger estimate, means and sums of squared deviations.
    averaging:    [5], counts: [4], see the columns above.
    """

    position: Any
    gradient: Any
    log_density: Any
    scale: Any
    dense: Any
    factor: Any
    products: Any
    moments: Any
    averaging: Any
    counts: Any

    def of(self, chain: int) -> Machine:
        """Views of one chain's rows."""
        return Machine(*(array[chain] for array in self))

    def tensors(self, device: torch.device) -> Machine:
        return Machine(*(torch.from_numpy(array).clone().to(device) for array in self))

    def arrays(self) -> Machine:
        """Copies, as numpy arrays."""
        return Machine(*((array.cpu().numpy() if isinstance(array, torch.Tensor) else array).copy() for array in self))

    @classmethod
    def empty(cls, chains: int, dim: int, dense: bool) -> Machine:
        """A machine at the origin with the identity as its metric."""
        n = dim if dense else 0
        eye = np.broadcast_to(np.eye(n), (chains, n, n))
        zeros = [np.zeros((chains, *shape)) for shape in ((dim,), (dim,), (1,))]
        rest = [eye.copy(), eye.copy(), np.zeros((chains, 2, 2, n, n)), np.zeros((chains, 2, 4, dim)), np.zeros((chains, 5))]
        return cls._make([*zeros, np.ones((chains, dim)), *rest, np.zeros((chains, 4), np.int64)])


class Settings(NamedTuple):
    """What does not change while a sampler runs.

    max_depth:   trees have at most 2 ** max_depth leaves.
    num_steps:   0 for NUTS; for plain HMC the number of leapfrogs in each trajectory, or
    length:      if positive, the trajectory's length, the number of leapfrogs being this over the step size.
    target:      the acceptance that the step size is adapted to.
    max_error:   an energy error above it, in nats, is a divergence.
    most_uneven: what ``adaptation.is_even`` asks a dense metric for.
    schedule:    [num_warmup], see ``adaptation``.
    """

    seed: int
    max_depth: int
    num_steps: int
    length: float
    target: float
    max_error: float
    most_uneven: float
    schedule: Integers


@attrs.frozen
class Options:
    """What a user may set. The metric must be ``resolved`` before it is used; all other defaults are Stan's."""

    target_accept: float = attrs.field(default=0.8, validator=between(0.0, 1.0))
    max_depth: int = attrs.field(default=10, validator=whole(1, DEEPEST))
    metric: str = attrs.field(default="auto", validator=one_of(*METRICS))
    num_steps: int = attrs.field(default=0, validator=whole(0))
    length: float = attrs.field(default=0.0, validator=between(0.0, including=True))
    step_size: float | None = attrs.field(default=None, validator=attrs.validators.optional(between(0.0)))
    max_energy_error: float = 1000.0

    def resolved(self, dim: int) -> Options:
        """With a diagonal metric in place of "auto" where ``dim`` dimensions are too many or too few for another."""
        return self if self.metric != "auto" or 1 < dim <= MOST_DENSE else attrs.evolve(self, metric="diagonal")

    @property
    def is_dense(self) -> bool:
        """Whether it may be."""
        return self.metric != "diagonal"

    def settings(self, seed: int, num_warmup: int) -> Settings:
        schedule = dense_schedule(num_warmup) if self.is_dense else diagonal_schedule(num_warmup)
        most_uneven = MOST_UNEVEN if self.metric == "auto" else math.inf
        return Settings(seed, self.max_depth, self.num_steps, self.length, self.target_accept, self.max_energy_error, most_uneven, schedule)

    def named(self, table: torch.Tensor) -> dict[str, torch.Tensor]:
        """A table [..., 8] of statistics by name, and of NUTS whether the tree was as deep as it may be."""
        statistics = dict(zip(STATISTICS, table.unbind(dim=-1), strict=True))
        if self.num_steps or self.length:
            return statistics
        return {**statistics, "reached_max_treedepth": (statistics["tree_depth"] >= self.max_depth).double()}
