"""Whether to compile: a model is compiled only where that is expected to save time.

The estimate: so many leapfrogs at what a few timed gradients cost, against what a compilation usually takes. A library that is on
disk from an earlier start costs only the trace, so it is looked for unless the whole job is shorter than that.
"""

from __future__ import annotations

import math
import time
from typing import Final

import attrs
import torch

from interpreters.compiled import Kernel, compile_density
from interpreters.density import Density
from interpreters.hamiltonian.targets import Target

_LEAPFROGS: Final = 20  # of a draw; more in early warmup, fewer in many an adapted chain
_STEP: Final = 3e-3  # seconds that a step of the batched sampler takes besides the gradient
_TRACE: Final = 1.0  # seconds that a trace takes, without which it is not known whether there is a library on disk
_TIMED: Final = 3


def worthwhile(density: Density, num_chains: int, num_draws: int) -> Target:
    """``density`` for a sampler that makes ``num_draws`` draws of each chain, warmup included: compiled if that pays."""
    target = Target.of(density)
    worth = num_draws * _LEAPFROGS * (_seconds(target, num_chains) + _STEP)
    return target if worth < _TRACE else compiled(density, target, worth)


def compiled(density: Density, otherwise: Target, worth: float = math.inf) -> Target:
    """``density`` compiled, if it can be and that takes less than ``worth`` seconds."""
    kernel: Kernel = compile_density(density, worth=worth)
    return otherwise if kernel.tier == "eager" else attrs.evolve(Target.of(kernel), names=otherwise.names)


def _seconds(target: Target, num_chains: int) -> float:
    """What a gradient of all chains takes, the least of a few."""
    positions = torch.zeros(num_chains, target.dim, dtype=torch.float64)
    times = []
    for _ in range(_TIMED):
        begun = time.perf_counter()
        target.batched(positions)
        times.append(time.perf_counter() - begun)
    return min(times)
