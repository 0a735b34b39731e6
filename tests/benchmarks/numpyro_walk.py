"""The geometric random walk of the lockstep benchmark in NumPyro, traced and weighed one at a time.

``python -m tests.benchmarks.numpyro_walk`` prints the best of some turns, in microseconds a program.
"""

from __future__ import annotations

import time
from typing import Any, Final

import jax
import numpyro
import numpyro.distributions as dist

STOP: Final = 0.5
NUMBER: Final = 20  # programs a turn


def walk() -> Any:
    x, i = 0.0, 0
    while True:
        x = numpyro.sample(f"x_{i}", dist.Normal(x, 1.0))
        if numpyro.sample(f"stop_{i}", dist.Bernoulli(STOP)):
            numpyro.sample("y", dist.Normal(x, 1.0), obs=0.5)
            return x
        i += 1


def turn(seed: int) -> int:
    for i in range(NUMBER):
        trace = numpyro.handlers.trace(numpyro.handlers.seed(walk, rng_seed=seed * NUMBER + i)).get_trace()
        log_density = sum(site["fn"].log_prob(site["value"]) for site in trace.values() if site["type"] == "sample")
        jax.block_until_ready(log_density)
    return NUMBER


def main() -> None:
    best = float("inf")
    for seed in range(7):
        begun = time.process_time()
        number = turn(seed)
        best = min(best, (time.process_time() - begun) / number * 1e6)
    print(f"NumPyro {numpyro.__version__}, one at a time, with weights: {best:.2f}")


if __name__ == "__main__":
    main()
