"""Long chains: the product of many matrices (in nats) along a dimension, by halves, so that it takes few operations on large tensors.

``product`` is exact at any scale. ``fast_product`` multiplies numbers, each matrix scaled by its largest entry, and has a gradient of
its own: some five times as fast. Where an entry is too small beside another for that, it leaves the work to ``product``.

Source: Särkkä and García-Fernández, "Temporal parallelization of Bayesian smoothers", IEEE TAC 66 (2021).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from interpreters.factor_graph.contraction import Reduce, log_sum

Array = np.ndarray[Any, Any]

_IMPOSSIBLE: Final = -1e30  # below, a log density is that of what is impossible (``layout.floored``)


def levels(matrices: torch.Tensor, reduce: Reduce = log_sum) -> list[torch.Tensor]:
    """``matrices``, [n, ..., k, k], then the products of each two neighbours (an odd one out stays), and so on: the last has n = 1."""
    found = [matrices]
    while (n := len(found[-1])) > 1:
        a, b, rest = _pairs(found[-1])
        pairs = reduce(a.unsqueeze(-1) + b.unsqueeze(-3), [-2])
        found.append(torch.cat([pairs, rest]) if n % 2 else pairs)
    return found


def product(matrices: torch.Tensor, reduce: Reduce = log_sum) -> torch.Tensor:
    """The product of [n, ..., k, k] along the first dimension: [..., k, k]."""
    return levels(matrices, reduce)[-1][0]


def fast_product(matrices: torch.Tensor) -> torch.Tensor:
    """``product`` of sums. It has a first derivative only, and asks for values, which a tracer cannot answer. Not on a GPU: see ``product``."""
    if not matrices.is_cpu:
        return product(matrices)
    result: torch.Tensor = _FastProduct.apply(matrices)  # type: ignore[no-untyped-call]  # torch's own
    return result


def _pairs(matrices: Any) -> tuple[Any, Any, Any]:
    even = matrices.shape[0] // 2 * 2
    return matrices[0:even:2], matrices[1:even:2], matrices[even:]


class _FastProduct(torch.autograd.Function):
    """Forward, numbers between 0 and 1; backward, the derivatives with respect to those, level for level.

    In numpy: the matrices of a level are small, and there a call takes a third of the time.
    """

    @staticmethod
    def forward(ctx: Any, matrices: torch.Tensor) -> torch.Tensor:
        found = _numbers(matrices.detach().contiguous().numpy())
        if found is None:
            with torch.enable_grad():
                ctx.input = matrices.detach().requires_grad_()
                ctx.exact = product(ctx.input)
            return ctx.exact.detach()  # type: ignore[no-any-return]
        ctx.exact, (ctx.numbers, ctx.divisors, log_scale) = None, found
        with np.errstate(divide="ignore"):  # what is impossible
            return torch.from_numpy(np.log(ctx.numbers[-1][0]) + log_scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        if ctx.exact is not None:
            (below,) = torch.autograd.grad(ctx.exact, ctx.input, gradient)
            return below  # type: ignore[no-any-return]
        return torch.from_numpy(_derivative(ctx.numbers, ctx.divisors, gradient.numpy()))


def _numbers(matrices: Array) -> tuple[list[Array], list[Array], Array] | None:
    """The levels as numbers, what the products of each were divided by, and the log of all of that; None if numbers do not reach."""
    limits = np.finfo(matrices.dtype)
    largest = matrices.max((-1, -2), keepdims=True)
    logs = matrices - largest
    least = float(limits.tiny) ** 0.49  # the product of two such numbers is a number
    if not _reaches(logs, math.log(least), _IMPOSSIBLE, 0.0):
        return None
    numbers, divisors = [torch.from_numpy(logs).exp_().numpy()], []  # numpy's exp takes five times as long
    while (n := len(numbers[-1])) > 1:
        a, b, rest = _pairs(numbers[-1])
        pairs = a @ b
        divisors.append(pairs.max((-1, -2), keepdims=True))
        pairs /= divisors[-1]
        if not _reaches(pairs, least, 0.0, 1.0):
            return None
        numbers.append(np.concatenate([pairs, rest]) if n % 2 else pairs)
    log_scale = largest.sum(0) if not divisors else largest.sum(0) + np.log(np.concatenate(divisors)).sum(0)
    return numbers, divisors, log_scale


def _reaches(numbers: Array, least: float, impossible: float, otherwise: float) -> bool:
    """Whether all of them are above ``least``, but for what is ``impossible`` or below."""
    return bool(numbers.min() > least) or bool(np.where(numbers > impossible, numbers, otherwise).min() > least)


def _derivative(numbers: list[Array], divisors: list[Array], gradient: Array) -> Array:
    """With respect to the logs of the first level. What a level was divided by is taken out again, and so counts as constant."""
    top = numbers[-1]
    slope = np.divide(gradient, top, out=np.zeros_like(top), where=top > 0.0)
    for level, divisor in zip(numbers[-2::-1], reversed(divisors), strict=True):
        a, b, rest = _pairs(level)
        count = len(a)
        pairs = slope[:count] / divisor
        below = np.empty_like(level)
        np.matmul(pairs, b.swapaxes(-1, -2), out=below[0 : 2 * count : 2])
        np.matmul(a.swapaxes(-1, -2), pairs, out=below[1 : 2 * count : 2])
        if len(rest):
            below[-1] = slope[-1]
        slope = below
    slope *= numbers[0]
    return slope
