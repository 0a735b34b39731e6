"""Scan: the part of a loop in which each step needs the step before; and its derivative, a loop from the last step to the first.

A scan gives the history of each of its results: the values ahead of the first step, and those of all steps, in one tensor of
shape [ahead + steps, ...]. An operand of ``lag`` steps before is then the history, shifted. Both are operations of a graph, and
also run in Python, a step at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import attrs
import torch

from interpreters.kernels.graphs import Captured


@attrs.frozen
class Past:
    """The result number ``result`` of ``lag`` steps before."""

    result: int
    lag: int


@attrs.frozen(eq=False)
class Scan:
    """``body(*pasts, *each, *same)`` gives the results of a step. Called with ``(firsts, each, same, constants)``, the last those of ``body``.

    ahead:  of each result, how many values stand ahead of the first step; they are ``firsts``, of shape [ahead, ...], or None.
    each:   inputs of shape [steps, ...], one entry for each step.
    same:   inputs that are the same in each step.
    """

    steps: int
    ahead: tuple[int, ...]
    pasts: tuple[Past, ...]
    body: Captured

    @property
    def __name__(self) -> str:
        return "scan_" + _digest(self.steps, self.ahead, self.pasts, self.body.digest())

    def __call__(self, firsts: Sequence[Any], each: Sequence[Any], same: Sequence[Any], constants: Sequence[Any]) -> list[torch.Tensor]:
        histories = [[] if first is None else list(first) for first in firsts]
        for t in range(self.steps):
            pasts = [histories[past.result][self.ahead[past.result] + t - past.lag] for past in self.pasts]
            for history, result in zip(histories, self.body.module(*pasts, *(x[t] for x in each), *same, *constants), strict=True):
                history.append(result)
        return [torch.stack(history) for history in histories]


@attrs.frozen(eq=False)
class Pullback:
    """The derivative of ``scan``. Called with ``(histories, each, same, gradients, constants)``: those of the histories, and of ``body``.

    ``body(*pasts, *each, *same, *gradients)`` gives the gradients of a step's pasts, then those of the ``each`` and ``same``
    that are wanted, by number. What is given: the gradients of the histories ahead of the first step, of ``each``, of ``same``.
    """

    scan: Scan
    each: tuple[int, ...]
    same: tuple[int, ...]
    body: Captured

    @property
    def __name__(self) -> str:
        return "pullback_" + _digest(self.scan.__name__, self.each, self.same, self.body.digest())

    def __call__(
        self, histories: Sequence[Any], each: Sequence[Any], same: Sequence[Any], gradients: Sequence[Any], constants: Sequence[Any]
    ) -> list[torch.Tensor]:
        scan, adjoints = self.scan, [gradient.clone() for gradient in gradients]
        of_each = [torch.zeros_like(each[i]) for i in self.each]
        of_same = [torch.zeros_like(same[i]) for i in self.same]
        for t in reversed(range(scan.steps)):
            places = [(past.result, scan.ahead[past.result] + t - past.lag) for past in scan.pasts]
            now = [adjoint[ahead + t] for adjoint, ahead in zip(adjoints, scan.ahead, strict=True)]
            found = list(self.body.module(*(histories[r][i] for r, i in places), *(x[t] for x in each), *same, *now, *constants))
            for (r, i), gradient in zip(places, found, strict=False):
                adjoints[r][i] += gradient
            for target, gradient in zip([x[t] for x in of_each] + of_same, found[len(places) :], strict=True):
                target += gradient
        return [*(adjoint[:ahead] for adjoint, ahead in zip(adjoints, scan.ahead, strict=True)), *of_each, *of_same]


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
