"""A run of a sampler, seen from the host: chains at work on threads, or in one batch, whose draws are fetched in parts."""

from __future__ import annotations

import math
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Final, Protocol

import numpy as np
import torch

from interpreters.hamiltonian.batched import Batch
from interpreters.hamiltonian.chains import Chains, Part
from interpreters.hamiltonian.machine import DRAW, LOG_STEP, STATISTICS, Machine, Options
from interpreters.hamiltonian.native_chain import sampler
from interpreters.hamiltonian.native_start import start
from interpreters.hamiltonian.native_tree import Work
from interpreters.hamiltonian.starting import started
from interpreters.hamiltonian.targets import NativeKernel, Target

_AHEAD: Final = 2  # parts of a chain that may wait for those of a slower one
_STEPS: Final = 16  # leapfrogs of the batch between two looks at the outside


class Run(Protocol):
    """``fetch`` waits a while and returns the draws that there are; ``stop`` what was left, after which the run is over."""

    machine: Machine

    @property
    def is_done(self) -> bool: ...
    def fetch(self) -> list[Part]: ...
    def stop(self) -> list[Part]: ...
    def __enter__(self) -> Run: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None: ...


def begun(target: Target, num_chains: int, seed: int, options: Options) -> Machine:
    """``starting.started``, by the native loop where there is one and it can tell. Raises ``NoStart``."""
    if target.kernel is not None:
        machine = Machine.empty(num_chains, target.dim, options.is_dense)
        work, settings = Work.empty(target.dim, options.max_depth, options.is_dense), options.settings(seed, 0)
        address, step = (target.kernel.address, target.kernel.user), options.step_size or 0.0
        if all(start(address, machine.of(chain), chain, work, settings, step) for chain in range(num_chains)):
            return machine
    return started(target.batched, num_chains, target.dim, seed, options, target.names, target.device)


class NativeRun:
    """Each chain in the native loop, at most ``threads`` at once. Parts come in rounds, one of each chain that has draws to make.

    So their order does not depend on the time that chains take, and no chain waits for another until it is two parts ahead.
    Leaving it stops the threads, at the next draw of each.
    """

    def __init__(self, kernel: NativeKernel, chains: Chains, threads: int, period: float) -> None:
        plan = chains.plan
        self.plan, self.period, self.settings = plan, period, plan.options.settings(plan.seed, plan.num_warmup)
        self.machine = chains.machine
        self._kernel = kernel
        self._work = [Work.empty(kernel.dim, plan.options.max_depth, plan.options.is_dense) for _ in range(plan.num_chains)]
        self._stop = np.zeros(1, np.int64)
        self._ready: list[deque[Part]] = [deque() for _ in range(plan.num_chains)]
        self._left = [plan.total - int(count) for count in self.machine.counts[:, DRAW]]  # not yet handed over
        self._pool = ThreadPoolExecutor(threads)
        self._running: dict[Future[Part], int] = {}
        self._submitted = list(self._left)  # draws for which no part was submitted

    @property
    def is_done(self) -> bool:
        return not any(self._left)

    def fetch(self) -> list[Part]:
        """Rounds of parts; empty if none is complete within the period."""
        deadline = time.monotonic() + self.period
        while True:
            self._submit()
            left = deadline - time.monotonic()
            self._collect(max(0.0, left))
            if (parts := self._rounds()) or left <= 0.0:
                return parts

    def stop(self) -> list[Part]:
        """What there is of each chain, up to the draw that it was at."""
        self._stop[0] = 1
        while self._running:
            self._collect(None)
        parts = [part for ready in self._ready for part in ready if len(part.positions)]
        self._left = [0] * len(self._left)
        return parts

    def __enter__(self) -> NativeRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop[0] = 1
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self) -> None:
        for chain in range(self.plan.num_chains):
            size = min(self.plan.chunk, self._submitted[chain])
            if size and chain not in self._running.values() and len(self._ready[chain]) < _AHEAD:
                self._submitted[chain] -= size
                self._running[self._pool.submit(self._part, chain, size)] = chain

    def _collect(self, timeout: float | None) -> None:
        done, _ = wait(self._running, timeout, return_when=FIRST_COMPLETED)
        for future in done:
            self._ready[self._running.pop(future)].append(future.result())

    def _rounds(self) -> list[Part]:
        waiting = [chain for chain, left in enumerate(self._left) if left]
        parts = []
        while waiting and all(self._ready[chain] for chain in waiting):
            for chain in waiting:
                part = self._ready[chain].popleft()
                self._left[chain] -= len(part.positions)
                parts.append(part)
            waiting = [chain for chain in waiting if self._left[chain]]
        return parts

    def _part(self, chain: int, size: int) -> Part:
        """On a thread: the next ``size`` draws of one chain, or fewer after a stop."""
        rows, kernel = self.machine.of(chain), self._kernel
        start = int(rows.counts[DRAW])
        positions, statistics = np.empty((size, kernel.dim)), np.empty((size, len(STATISTICS)))
        address = (kernel.address, kernel.user)
        done = sampler(self.settings)(address, rows, chain, self._work[chain], self.settings, self._stop, positions, statistics)
        drawn = torch.from_numpy(positions[:done]), torch.from_numpy(statistics[:done])
        return Part(chain, start, *drawn, rows.arrays())


class BatchedRun:
    """All chains in one batch of tensors."""

    def __init__(self, target: Target, chains: Chains) -> None:
        plan = chains.plan
        settings = plan.options.settings(plan.seed, plan.num_warmup)
        self.machine = chains.machine.tensors(torch.device(target.device))
        self._batch = Batch(target.batched, self.machine, settings, plan.total, plan.chunk)

    @property
    def is_done(self) -> bool:
        return len(self._batch.active) == 0 and not bool(self._batch.filled.any())

    def fetch(self) -> list[Part]:
        """A few leapfrogs of each chain; parts when the first chain has a full one, or the last is done."""
        for _ in range(_STEPS):
            if self._batch.is_full or not len(self._batch.active):
                return self.stop()
            self._batch.step()
        return []

    def stop(self) -> list[Part]:
        rows, parts = self.machine.arrays(), []
        for chain, (positions, statistics) in enumerate(self._batch.take()):
            if len(positions):
                start = int(rows.counts[chain, DRAW]) - len(positions)
                parts.append(Part(chain, start, positions, statistics, rows.of(chain)))
        return parts

    def __enter__(self) -> BatchedRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        pass


def step_sizes(run: Run) -> tuple[float, ...]:
    """Those in use."""
    return tuple(map(math.exp, run.machine.averaging[:, LOG_STEP].tolist()))  # to the last bit as in the loop, which numpy's is not
