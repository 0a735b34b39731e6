"""What a race needs of a sampler."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import attrs
import numpy as np
import numpy.typing as npt

WARMUP: Final = 1000
DRAWS: Final = 1000
TARGET: Final = 0.8


class NoModel(LookupError):
    """The peer has no model of this posterior."""


@attrs.frozen(eq=False)
class Drawn:
    """values: [chains, draws, parameters], constrained; leapfrogs: of all chains, those of warmup too."""

    values: npt.NDArray[np.float64]
    leapfrogs: int


class Sampler(Protocol):
    """Compiled for one posterior; ``own``: microseconds of its density with its gradient, where it has an address."""

    own: float | None

    def run(self, seed: int, num_chains: int) -> Callable[[], Drawn]:
        """Samples, and returns what hands out the draws: what comes after sampling is in nobody's time."""


Make = Callable[[str], Sampler]


def on_threads(chain: Callable[[int], Any], num_chains: int) -> list[Any]:
    """The results of the chains, as many at once as there are processors."""
    if num_chains == 1:
        return [chain(0)]
    with ThreadPoolExecutor(min(num_chains, len(os.sched_getaffinity(0)))) as pool:
        return list(pool.map(chain, range(num_chains)))


def columns(values: Iterable[Any]) -> npt.NDArray[np.float64]:
    """Values [chains, draws, *shape] side by side: [chains, draws, parameters]."""
    arrays = [np.asarray(value, dtype=float) for value in values]
    return np.concatenate([array.reshape(*array.shape[:2], -1) for array in arrays], axis=-1)
