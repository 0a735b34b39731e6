"""Microseconds a leapfrog, and effective draws a second, of the native sampler. Run: python -m tests.benchmarks.nuts

Each density is a C function called by its address. A leapfrog's time is that of a long run after warmup, on one chain, by the
clock of the process; the density's own is measured by the same kind of call. ESS/s counts warmup, and not compilation: the
smallest bulk ESS of all coordinates and their squares.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch

from interpreters.compiled import compile_density
from interpreters.density import density
from interpreters.examples.eight_schools import model
from interpreters.hamiltonian.jit import call_density, entry
from interpreters.hamiltonian.targets import NativeKernel as Kernel
from interpreters.nuts import nuts
from interpreters.results.extras import extra
from poutine import Program, run
from tests.interpreters.gaussians import CORRELATED, FUNNEL, NORMAL

CALLS: Final = 1_000_000


@entry
def call_often(address, user, calls, position, gradient, value):
    for _ in range(calls):
        call_density(address, len(position), position.ctypes.data, gradient.ctypes.data, value.ctypes.data, user)


@contextmanager
def timed(seconds: list[float], clock=time.perf_counter) -> Iterator[None]:
    begun = clock()
    yield
    seconds.append(clock() - begun)


def density_time(kernel: Kernel) -> float:
    """Microseconds of one call."""
    vectors = np.full(kernel.dim, 0.1), np.zeros(kernel.dim), np.zeros(1)
    call_often(kernel.address, kernel.user, 1, *vectors)
    seconds: list[float] = []
    for _ in range(3):
        with timed(seconds, time.process_time):
            call_often(kernel.address, kernel.user, CALLS, *vectors)
    return min(seconds) / CALLS * 1e6


def leapfrog_time(kernel: Kernel, num_draws: int = 50_000) -> float:
    """Microseconds of one leapfrog with all that belongs to a draw."""
    seconds: list[float] = []
    for _ in range(3):
        with timed(seconds, time.process_time):
            chains = run(Program(nuts, kernel, num_chains=1, num_warmup=300, num_draws=num_draws, threads=1), seed=1)
    return min(seconds) / float(chains.statistics["n_steps"].sum()) * 1e6


def smallest_ess(draws: torch.Tensor) -> float:
    ess = extra("arviz").ess
    return min(float(ess(x.numpy())) for column in draws.unbind(dim=-1) for x in (column, column**2))


def rate(kernel: Kernel, num_chains: int) -> float:
    """ESS a second; the median of runs with different seeds, which take milliseconds each."""
    rates = []
    for seed in range(7):
        seconds: list[float] = []
        with timed(seconds):
            chains = run(Program(nuts, kernel, num_chains=num_chains), seed=seed)
        rates.append(smallest_ess(chains.positions) / seconds[0])
    return statistics.median(rates)


def kernels() -> dict[str, Kernel]:
    y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], dtype=torch.float64)
    sigma = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], dtype=torch.float64)
    schools = compile_density(density(Program(model, y, sigma)))
    return {"five normals": NORMAL, "two correlated": CORRELATED, "funnel of four": FUNNEL, "eight schools": schools}


def main() -> None:
    run(Program(nuts, CORRELATED, num_warmup=1, num_draws=1), seed=0)  # compiles, or reads from the disk
    print(f"{'':20} {'us/call':>8} {'us/leapfrog':>12} {'overhead':>9} {'ESS/s, 1 chain':>15} {'ESS/s, 4 chains':>16}")
    for name, kernel in kernels().items():
        own, whole = density_time(kernel), leapfrog_time(kernel)
        print(f"{name:20} {own:8.3f} {whole:12.3f} {whole - own:9.3f} {rate(kernel, 1):15,.0f} {rate(kernel, 4):16,.0f}", flush=True)


if __name__ == "__main__":
    main()
