"""This library: the compiled density, and NUTS by its address."""

from __future__ import annotations

from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from interpreters.compiled import Kernel, compile_density
from interpreters.density import Density, density
from interpreters.hamiltonian.machine import STATISTICS
from interpreters.hamiltonian.notices import NoticePoutine
from interpreters.nuts import nuts
from poutine import Program, run
from tests.benchmarks.samplers.by_address import time_of
from tests.benchmarks.samplers.contestants import TARGET, Drawn, Size
from tests.benchmarks.samplers.in_poutine import MODELS
from tests.benchmarks.samplers.problems import PROBLEMS, Data, model_of


def density_of(problem: str) -> Density:
    return density(Program(MODELS[model_of(problem)], **tensors(PROBLEMS[problem]())))


def tensors(data: Data) -> dict[str, Any]:
    return {name: torch.as_tensor(value) if isinstance(value, np.ndarray) else value for name, value in data.items()}


def constrained(density: Density, positions: torch.Tensor) -> dict[str, torch.Tensor]:
    """The samples, each [chains, draws, *shape]."""
    values = torch.func.vmap(density.constrain, chunk_size=100)(positions.flatten(end_dim=1))
    return {name: values[name].unflatten(0, positions.shape[:2]) for name in density.sites}


class WithPoutine:
    def __init__(self, problem: str, size: Size) -> None:
        self.size = size
        self.density = density_of(problem)
        with TemporaryDirectory() as empty:  # as if the model were new
            self.kernel: Kernel = compile_density(self.density, cache_dir=empty)
        run(Program(nuts, self.kernel, 1, 1, 1), seed=0)  # the loop, which is the same for all models, is compiled or read from the disk
        self.own = time_of(self.kernel.address, self.kernel.user, self.kernel.dim)

    def run(self, seed: int, num_chains: int) -> Callable[[], Drawn]:
        steps: list[float] = []
        counted = NoticePoutine(
            nuts,
            chunk=lambda chunk: steps.append(float(chunk.part.statistics[:, STATISTICS.index("n_steps")].sum())),
        )
        chains = run(counted(self.kernel, num_chains, self.size.warmup, self.size.draws, target_accept=TARGET), seed=seed)
        return lambda: Drawn(constrained(self.density, chains.positions), int(sum(steps)))
