"""NumPyro: a whole chain, warmup and draws, compiled by XLA once for all seeds; chains on threads. In double precision."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tests.benchmarks.samplers.contestants import TARGET, Drawn, Size, on_threads
from tests.benchmarks.samplers.problems import PROBLEMS, Data, model_of

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")  # read at jax's first import

import jax  # noqa: E402
import numpy as np  # noqa: E402
import numpyro  # noqa: E402
from numpyro.infer import MCMC, NUTS  # noqa: E402

from tests.benchmarks.samplers.in_numpyro import MODELS  # noqa: E402


class WithNumpyro:
    own = None  # it has no address

    def __init__(self, problem: str, size: Size) -> None:
        numpyro.enable_x64()
        data = {name: jax.numpy.asarray(value) if isinstance(value, np.ndarray) else value for name, value in PROBLEMS[problem]().items()}
        self._chain = jax.jit(lambda key: _chain(MODELS[model_of(problem)], data, key, size)).lower(jax.random.PRNGKey(0)).compile()
        for num_chains in (1, 4):
            _keys(0, num_chains)  # compiled as well

    def run(self, seed: int, num_chains: int) -> Callable[[], Drawn]:
        keys = _keys(seed, num_chains)
        chains = on_threads(lambda number: jax.block_until_ready(self._chain(keys[number])), num_chains)

        def drawn() -> Drawn:
            values = {name: np.stack([np.asarray(chain[0][name]) for chain in chains]) for name in chains[0][0]}
            return Drawn(values, int(sum(int(steps) for _, steps in chains)))

        return drawn


def _keys(seed: int, num_chains: int) -> Any:
    return np.asarray(jax.random.split(jax.random.PRNGKey(seed), num_chains))


def _chain(model: Callable[..., Any], data: Data, key: Any, size: Size) -> tuple[dict[str, Any], Any]:
    """One chain: its draws, and the number of its leapfrogs."""
    sampler = NUTS(model, target_accept_prob=TARGET)
    mcmc = MCMC(sampler, num_warmup=size.warmup, num_samples=size.draws, num_chains=1, progress_bar=False)
    mcmc.warmup(key, **data, extra_fields=("num_steps",), collect_warmup=True)
    warming = mcmc.get_extra_fields()["num_steps"].sum()
    mcmc.run(mcmc.post_warmup_state.rng_key, **data, extra_fields=("num_steps",))
    return mcmc.get_samples(), warming + mcmc.get_extra_fields()["num_steps"].sum()
