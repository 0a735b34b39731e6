"""The program of a sampler: what it needs at random, its progress and its draws travel as messages."""

from __future__ import annotations

import os
from typing import Any, ClassVar, Final

import attrs
import torch
from torch.distributions import Distribution, constraints

from interpreters.adaptation import WARMUP
from interpreters.density import Density
from interpreters.hamiltonian.chains import Chains, Plan
from interpreters.hamiltonian.expected import require_whole
from interpreters.hamiltonian.machine import DRAW, STATISTICS, Options
from interpreters.hamiltonian.notices import Chunk, Progress
from interpreters.hamiltonian.runs import BatchedRun, NativeRun, Run, begun, step_sizes
from interpreters.hamiltonian.targets import Kernel, Target
from poutine import Coroutine, Sample, Sealed

_DIVERGING: Final = STATISTICS.index("diverging")
_NUMBERS: Final = 1 << 20  # in a chunk, unless it is asked for: 8 MiB


class Seeds(Distribution):
    """The uniform distribution over the integers from 0 to 2 ** 63 - 2."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support: ClassVar[constraints.Constraint] = constraints.nonnegative_integer
    highest: ClassVar[int] = 2**63 - 1

    def __init__(self) -> None:
        super().__init__(validate_args=False)

    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        return torch.randint(0, self.highest, tuple(sample_shape))

    def log_prob(self, value: Any) -> torch.Tensor:
        value = torch.as_tensor(value)
        log_count = torch.tensor(float(self.highest), dtype=torch.float64).log()
        return torch.where((value >= 0) & (value < self.highest), -log_count, -torch.inf)


def sampled(
    target: Target | Density | Kernel,
    options: Options,
    num_chains: int = 4,
    num_warmup: int = WARMUP,
    num_draws: int = 1000,
    *,
    threads: int | None = None,
    chunk: int | None = None,
    keep: bool = True,
    period: float = 0.1,
) -> Coroutine[Chains]:
    """Runs chains from new positions. All that is random about them comes from the site ``"seed"``.

    The remaining arguments are told in ``nuts.nuts``. Raises ``NoStart``.
    """
    target = Target.of(target)
    options = options.resolved(target.dim)
    _check_threads(threads)
    seed = int((yield Sample("seed", Seeds())))
    size = max(1, min(1000, _NUMBERS // max(1, target.dim))) if chunk is None else chunk
    plan = Plan(seed, num_chains, num_warmup, num_draws, options, size, keep)
    machine = begun(target, num_chains, seed, options)
    chains = Chains(plan, tuple(machine.of(chain) for chain in range(num_chains)), ((),) * num_chains)
    return (yield from resumed(target, chains, threads=threads, period=period))


def resumed(
    target: Target | Density | Kernel, chains: Chains, num_draws: int | None = None, *, threads: int | None = None, period: float = 0.1
) -> Coroutine[Chains]:
    """Goes on where ``chains`` stopped, to the end of its plan, or to ``num_draws`` draws of each chain. Draws nothing new.

    **Law**: stopped, saved and resumed is the same, bit for bit, as not stopped.
    """
    target = Target.of(target)
    _check_threads(threads)
    if num_draws is not None:
        drawn = max(int(machine.counts[DRAW]) for machine in chains.machines) - chains.plan.num_warmup
        if drawn > num_draws:
            raise ValueError(f"expected at least as many draws as there are, {drawn} of a chain, got num_draws={num_draws}")
        chains = attrs.evolve(chains, plan=attrs.evolve(chains.plan, num_draws=num_draws))
    divergences = [_divergences(parts) for parts in chains.parts]
    with _run(target, chains, threads, period) as run:
        while not run.is_done:
            go_on, parts = True, run.fetch()
            while True:
                for part in parts:
                    chains = chains.adding(part)
                    divergences[part.chain] += _divergences((part.after(chains.plan.num_warmup),))
                    yield Sealed(Chunk(part))
                if not go_on:
                    return chains
                draws = tuple(int(count) for count in run.machine.counts[:, DRAW])
                go_on = yield Sealed(Progress(draws, chains.plan.total, step_sizes(run), tuple(divergences), chains))
                if go_on:
                    break
                parts = run.stop()
    return chains


def _check_threads(threads: int | None) -> None:
    if threads is not None:
        require_whole("threads", threads, 1)


def _run(target: Target, chains: Chains, threads: int | None, period: float) -> Run:
    if target.kernel is None:
        return BatchedRun(target, chains)
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return NativeRun(target.kernel, chains, threads or min(chains.plan.num_chains, most), period)


def _divergences(parts: Any) -> int:
    return int(sum(part.statistics[:, _DIVERGING].sum() for part in parts))
