"""What an algorithm's output is in expectation over its own draws, by exact enumeration."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, TypeVar

from interpreters.enumeration import Enumeration
from poutine import Program, TracePoutine

T = TypeVar("T")


def runs(program: Program[T]) -> Iterator[tuple[T, float]]:
    """The value of every run of ``program``, with its probability."""
    for leaf in Enumeration(program):
        yield leaf.value, math.exp(leaf.log_prob)


def expectation(program: Program[T], measure: Callable[[T], Iterable[tuple[Hashable, float]]]) -> Counter[Hashable]:
    """The expectation of a weighted output: ``measure(value)`` are the points that a run puts weight on, and how much."""
    total: Counter[Hashable] = Counter()
    for value, probability in runs(program):
        for point, weight in measure(value):
            total[point] += probability * weight
    return total


def unnormalized(program: Program[Any], point: Callable[[Any], Hashable]) -> Counter[Hashable]:
    """The measure of a model: ``exp(log_pdf)`` of each of its traces, at ``point(trace)``."""
    total: Counter[Hashable] = Counter()
    for trace, _ in runs(TracePoutine(program.fn).traced(*program.args, **program.kwargs)):
        total[point(trace)] += trace.log_pdf().exp().item()
    return total
