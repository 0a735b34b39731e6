"""Programs of random length: traced and weighed one at a time, and in lockstep, side by side with Pyro in one process.

``python -m tests.benchmarks.lockstep`` prints a table in microseconds a program; ``python -m tests.benchmarks.numpyro_walk`` tells the
same of NumPyro, where it is installed.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import pyro
import pyro.distributions
import torch
from torch.distributions import Bernoulli, Normal

import poutine
from interpreters.lockstep import lockstep
from poutine import Observe, Program, Sample, run
from tests.benchmarks.racing import setting

STOP: Final = 0.5  # two steps on average, of two sites each, and an observation: five sites
SCORED: Final = 200  # programs a turn, of those that run one at a time
SEEDS: Final = 5
MOST: Final = 30  # turns with each seed
LEAST: Final = 0.03  # seconds of a turn
ENOUGH: Final = 2.0  # of a contestant


def walk() -> Any:
    """A geometric random walk, whose end is seen."""
    x, i = 0.0, 0
    while True:
        x = yield Sample(f"x_{i}", Normal, x, 1.0)
        if (yield Sample(f"stop_{i}", Bernoulli, STOP)):
            yield Observe("y", Normal, 0.5, x, 1.0)
            return x
        i += 1


def pyro_walk() -> Any:
    x, i = 0.0, 0
    while True:
        x = pyro.sample(f"x_{i}", pyro.distributions.Normal(x, 1.0))
        if pyro.sample(f"stop_{i}", pyro.distributions.Bernoulli(STOP)):
            pyro.sample("y", pyro.distributions.Normal(x, 1.0), obs=torch.tensor(0.5))
            return x
        i += 1


Turn = Callable[[int], int]  # from a seed to how many programs were run


def ours_one_at_a_time(weighed: bool) -> Turn:
    def turn(seed: int) -> int:
        for i in range(SCORED):
            trace = run(poutine.trace(walk).traced(), seed * SCORED + i)
            if weighed:
                trace.log_pdf()
        return SCORED

    return turn


def pyro_one_at_a_time(weighed: bool, validated: bool) -> Turn:
    def turn(seed: int) -> int:
        pyro.set_rng_seed(seed)
        with pyro.validation_enabled(validated):
            for _ in range(SCORED):
                trace = pyro.poutine.trace(pyro_walk).get_trace()
                if weighed:
                    trace.log_prob_sum()
        return SCORED

    return turn


def in_lockstep(number: int, numbers: bool) -> Turn:
    def turn(seed: int) -> int:
        run(Program(lockstep, walk, number, numbers=numbers), seed)
        return number

    return turn


def race(turns: Mapping[str, Turn]) -> dict[str, float]:
    """The time of the processor for a program, in microseconds, of each contestant: the best for each of a few seeds, and their mean.

    Turn by turn, each as often as all get about the same time. The garbage collector runs as it does for users: thousands of
    programs in flight are work for it, too. Before a turn, it is called for what others have left; that empties the interpreter's store of
    memory as well, so that a turn is as many runs as take some time, and not the first alone.
    """
    best: dict[str, dict[int, float]] = {label: {} for label in turns}
    spent = dict.fromkeys(turns, 0.0)
    for i in range(MOST * SEEDS):
        seed = i % SEEDS
        for label, turn in turns.items():
            if spent[label] > ENOUGH and len(best[label]) == SEEDS:
                continue
            gc.collect()
            number, took, begun = 0, 0.0, time.process_time()
            while took < LEAST:
                number += turn(seed)
                took = time.process_time() - begun
            spent[label] += took
            best[label][seed] = min(best[label].get(seed, took / number), took / number)
    return {label: statistics.fmean(of.values()) * 1e6 for label, of in best.items()}


BASE: Final = "poutine, one at a time, with weights"


def main() -> None:
    turns: dict[str, Turn] = {
        "poutine, one at a time": ours_one_at_a_time(False),
        BASE: ours_one_at_a_time(True),
        "Pyro, one at a time, without validation": pyro_one_at_a_time(False, False),
        "Pyro, with weights, without validation": pyro_one_at_a_time(True, False),
        "Pyro, with weights": pyro_one_at_a_time(True, True),
        **{f"lockstep, tensors, with weights, N = {n:,}": in_lockstep(n, False) for n in (10, 100, 1000, 10_000)},
        **{f"lockstep, numbers, with weights, N = {n:,}": in_lockstep(n, True) for n in (10, 100, 1000, 10_000)},
    }
    print("Programs of five sites on average: microseconds a program, and how many times as fast as poutine one at a time, with weights.")
    print(f"{setting('torch', 'pyro-ppl')}, torch with {torch.get_num_threads()} thread(s)", flush=True)
    best = race(turns)
    for label, cost in best.items():
        print(f"  {label:46} {cost:9.2f} {best[BASE] / cost:8.1f}")


if __name__ == "__main__":
    main()
