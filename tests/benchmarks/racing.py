"""How the benchmarks measure: every contestant of a race in turn, round after round, so that a machine that slows down hits all."""

from __future__ import annotations

import gc
import platform
import timeit
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

Contestant = Callable[[], object]


def race(contestants: Mapping[str, Contestant], rounds: int = 40, seconds: float = 0.01) -> dict[str, float]:
    """The best time of one call of each contestant, in microseconds.

    The minimum, since whatever disturbs a run makes it longer. Each turn takes about ``seconds``.
    """
    numbers = {name: _calls_in(seconds, contestant) for name, contestant in contestants.items()}
    best = dict.fromkeys(contestants, float("inf"))
    with _no_garbage_collection():
        for _ in range(rounds):
            for name, contestant in contestants.items():
                taken = timeit.timeit(contestant, number=numbers[name]) / numbers[name]
                best[name] = min(best[name], taken * 1e6)
            gc.collect()  # between the turns, and so in nobody's time
    return best


def _calls_in(seconds: float, contestant: Contestant) -> int:
    contestant()  # what is done once only, such as compiling, is not what is measured
    return max(1, int(seconds / timeit.timeit(contestant, number=1)))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def setting(*packages: str) -> str:
    """What was measured on: the machine and the versions, for the head of a table."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{_processor()}, Python {platform.python_version()}, {versions}"


def _processor() -> str:
    """The processor's name; ``platform.processor`` is empty on most Linux systems."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} cores)" if names else platform.processor() or platform.machine()
