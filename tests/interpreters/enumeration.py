"""A tiny exact enumerator: all runs of a program whose draws have finite supports, by replay of a growing prefix of choices."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import product
from typing import Any, TypeVar

import torch

from poutine import Message, Program, Runtime, Sample, TracePoutine, answer

T = TypeVar("T")


def runs(program: Program[T]) -> Iterator[tuple[T, float]]:
    """The value of every run of ``program``, with its probability."""
    pending: list[tuple[int, ...]] = [()]
    while pending:
        path = _Path(pending.pop())
        yield answer(program, path), math.exp(path.log_prob)
        pending.extend(path.forks)


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


class _Path(Runtime):
    """Takes the choices of ``prefix``, then the first of each; ``forks`` are the paths that it did not take."""

    def __init__(self, prefix: tuple[int, ...]) -> None:
        super().__init__()
        self.taken, self.prefix = (), prefix
        self.forks: list[tuple[int, ...]] = []
        self.log_prob = 0.0
        self[Sample] = self.choose

    def choose(self, site: Sample) -> Message:
        if site.is_decided:
            return site
        values = _support(site.dist)
        if len(self.taken) < len(self.prefix):
            choice = self.prefix[len(self.taken)]
        else:
            choice = 0
            self.forks += [(*self.taken, other) for other in range(1, len(values))]
        self.taken = (*self.taken, choice)
        self.log_prob += site.dist.log_prob(values[choice]).sum().item()
        return site.evolve(value=values[choice])


def _support(dist: Any) -> list[torch.Tensor]:
    """All values: for a batch, every combination."""
    one = dist.enumerate_support(expand=False).reshape(-1, *dist.event_shape)
    shape = (*dist.batch_shape, *dist.event_shape)
    return [torch.stack(combination).reshape(shape) for combination in product(one, repeat=math.prod(dist.batch_shape))]
