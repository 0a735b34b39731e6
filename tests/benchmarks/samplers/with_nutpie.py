"""nutpie: the sampler nuts-rs, on a density by its address: on Stan's, as with its Stan backend, or on this library's."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import attrs
import numba
import numpy as np
import nutpie
import torch
from numba import types
from nutpie import _lib
from nutpie.sample import CompiledModel

from interpreters.compiled import compile_density
from tests.benchmarks.samplers.by_address import time_of
from tests.benchmarks.samplers.contestants import TARGET, Drawn, Size
from tests.benchmarks.samplers.with_poutine import constrained, density_of
from tests.benchmarks.samplers.with_stan import StanModel

_DOUBLES = types.CPointer(types.float64)


@numba.cfunc(types.int64(types.uintp, types.uintp, _DOUBLES, _DOUBLES, types.voidptr))
def _as_it_is(dim, expanded, position, out, user):
    """nutpie hands each draw to a function that makes constrained values of it; here that comes later, in nobody's time."""
    for i in range(dim):
        out[i] = position[i]
    return 0


class _Model(CompiledModel):
    def __init__(self, dim: int, address: int, user: int) -> None:
        super().__init__({"x": ("i",)})
        self._numbers = dim, address, user

    @property
    def n_dim(self) -> int:
        return self._numbers[0]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"x": (self.n_dim,)}

    @property
    def coords(self) -> dict[str, Any]:
        return {"i": np.arange(self.n_dim)}

    def _make_sampler(self, settings: Any, init_mean: Any, cores: int, progress: Any, store: Any) -> Any:
        dim, address, user = self._numbers
        variables = _lib.PyVariable.new_variables(["x"], ["float64"], [(dim,)], {"i": dim}, {"x": ("i",)})
        functions = _lib.LogpFunc(address, user, self), _lib.ExpandFunc(dim, dim, _as_it_is.address, 0, self)
        model = _lib.PyMcModel(*functions, variables, dim, {"i": dim}, {}, lambda seed: _start(seed, dim), None)
        return _lib.PySampler.from_pymc(settings, cores, model, progress, store)


def _start(seed: int, dim: int) -> Any:
    return np.random.default_rng(seed).uniform(-2.0, 2.0, dim)


@attrs.frozen(eq=False)
class _WithNutpie:
    model: _Model
    constrain: Callable[[Any], dict[str, Any]]
    own: float
    size: Size
    alive: Any

    def run(self, seed: int, num_chains: int) -> Callable[[], Drawn]:
        cores = min(num_chains, len(os.sched_getaffinity(0)))
        draws = {"draws": self.size.draws, "tune": self.size.warmup, "chains": num_chains, "cores": cores, "target_accept": TARGET}
        trace = nutpie.sample(self.model, seed=seed, progress_bar=False, blocking=False, **draws)
        trace._sampler.wait(None)

        def drawn() -> Drawn:
            done = trace.wait()
            steps = done.sample_stats.n_steps.sum() + done.warmup_sample_stats.n_steps.sum()
            return Drawn(self.constrain(done.posterior.x.values), int(steps))

        return drawn


def with_stan_density(problem: str, size: Size) -> _WithNutpie:
    stan = StanModel(problem)
    numbers = stan.address, stan.user.value or 0, stan.dim
    return _WithNutpie(_Model(stan.dim, *numbers[:2]), stan.constrain, time_of(*numbers), size, stan)


def with_our_density(problem: str, size: Size) -> _WithNutpie:
    density = density_of(problem)
    kernel = compile_density(density)
    own = time_of(kernel.address, kernel.user, kernel.dim)
    return _WithNutpie(
        _Model(kernel.dim, kernel.address, kernel.user),
        lambda positions: constrained(density, torch.from_numpy(positions)),
        own,
        size,
        kernel,
    )
