"""Pyro: its NUTS in eager torch, with the models of ``in_pyro``. One chain takes seconds to minutes."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import torch
from pyro.infer import MCMC, NUTS

from tests.benchmarks.samplers.contestants import TARGET, Drawn, Size
from tests.benchmarks.samplers.in_pyro import MODELS, with_beta1
from tests.benchmarks.samplers.problems import PROBLEMS, model_of
from tests.benchmarks.samplers.with_poutine import tensors


class WithPyro:
    own = None

    def __init__(self, problem: str, size: Size) -> None:
        self.size = size
        self.model, self.data = MODELS[model_of(problem)], tensors(PROBLEMS[problem]())

    def run(self, seed: int, num_chains: int) -> Callable[[], Drawn]:
        """Chain after chain: its processes cost more than they give here. Leapfrogs are counted by the calls of the potential."""
        counts = [0]
        chains = [self._chain(100 * seed + number, counts) for number in range(num_chains)]
        values = {name: torch.stack([chain[name] for chain in chains]) for name in chains[0]}
        return lambda: Drawn(values, counts[0])

    def _chain(self, seed: int, counts: list[int]) -> dict[str, torch.Tensor]:
        pyro.set_rng_seed(seed)
        kernel = NUTS(self.model, target_accept_prob=TARGET)
        setup = kernel.setup

        def counted_setup(*args: object, **kwargs: object) -> None:
            setup(*args, **kwargs)
            potential = kernel.potential_fn

            def counted(position: dict[str, torch.Tensor]) -> torch.Tensor:
                counts[0] += 1
                return potential(position)

            kernel.potential_fn = counted

        kernel.setup = counted_setup
        mcmc = MCMC(kernel, num_samples=self.size.draws, warmup_steps=self.size.warmup, disable_progbar=True)
        mcmc.run(**self.data)
        return with_beta1(dict(mcmc.get_samples()))
