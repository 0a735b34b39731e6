"""What a race needs of a sampler."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import attrs
import numpy as np
import numpy.typing as npt

TARGET: Final = 0.8


@attrs.frozen
class Size:
    """Draws of one chain."""

    warmup: int
    draws: int


@attrs.frozen(eq=False)
class Drawn:
    """values: by site, each [chains, draws, *shape], constrained; leapfrogs: of all chains, those of warmup too."""

    values: Mapping[str, Any]
    leapfrogs: int

    @property
    def columns(self) -> tuple[list[str], npt.NDArray[np.float64]]:
        """The parameters' names, and their draws [chains, draws, parameters]; in the order of the sites' names, for all samplers."""
        names: list[str] = []
        arrays = []
        for site in sorted(self.values):
            value = np.asarray(self.values[site], dtype=float)
            arrays.append(value.reshape(*value.shape[:2], -1))
            names += [f"{site}{i}" for i in range(arrays[-1].shape[-1])]
        return names, np.concatenate(arrays, axis=-1)


class Sampler(Protocol):
    """Compiled for one posterior; ``own``: microseconds of its density with its gradient, where it has an address."""

    own: float | None

    def run(self, seed: int, num_chains: int) -> Callable[[], Drawn]:
        """Samples, and returns what hands out the draws: what comes after sampling is in nobody's time."""


Make = Callable[[str, Size], Sampler]


def on_threads(chain: Callable[[int], Any], num_chains: int) -> list[Any]:
    """The results of the chains, as many at once as there are processors."""
    if num_chains == 1:
        return [chain(0)]
    with ThreadPoolExecutor(min(num_chains, len(os.sched_getaffinity(0)))) as pool:
        return list(pool.map(chain, range(num_chains)))
