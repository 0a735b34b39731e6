"""Summing variables out of a product of factors, two factors at a time, in an order that ``opt_einsum`` finds.

All of it in nats: a product is a sum, and a sum (or, for the most probable values, a maximum) is taken over an axis. What was done
is kept as steps, from whose last to the first the variables can be drawn, or the best ones be found: see ``decoding``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import attrs
import opt_einsum
import torch

from interpreters.factor_graph.factors import Axis, Factor, Plate, Variable, ordered

Reduce = Callable[[torch.Tensor, list[int]], torch.Tensor]  # over dimensions: a log of a sum of exponentials, or a maximum


def log_sum(tensor: torch.Tensor, dims: list[int]) -> torch.Tensor:
    return tensor.logsumexp(dims)


def maximum(tensor: torch.Tensor, dims: list[int]) -> torch.Tensor:
    return tensor.amax(dims)


@attrs.frozen(eq=False)
class Contraction:
    """``factors`` were multiplied, and ``summed`` out of the product, in every element of ``plates``."""

    factors: tuple[Factor, ...]
    summed: tuple[Variable, ...]
    plates: tuple[Plate, ...]


def contracted(factors: Sequence[Factor], kept: Collection[Variable], reduce: Reduce, steps: list[Any]) -> Factor:
    """One factor for several, without all variables that are not ``kept``. Notes what it does in ``steps``."""
    operands = list(factors)
    uses = Counter(axis for factor in operands for axis in factor.axes)
    for group in _path(operands, kept):
        chosen = [operands.pop(i) for i in sorted(group, reverse=True)]
        uses.subtract(axis for factor in chosen for axis in factor.axes)
        done = {axis for factor in chosen for axis in factor.variables if not uses[axis] and axis not in kept}
        operands.append(_product(chosen, done, reduce, steps))
        uses.update(operands[-1].axes)
    (result,) = operands
    return result


def _product(factors: Sequence[Factor], done: Collection[Variable], reduce: Reduce, steps: list[Any]) -> Factor:
    """The product of factors, without those variables that nobody needs any more."""
    axes = _union(factors)
    summed = tuple(axis for axis in axes if isinstance(axis, Variable) and axis in done)
    order = [*(axis for axis in axes if axis not in summed), *summed]
    total = sum((factor.over(order) for factor in factors[1:]), start=factors[0].over(order))
    if not summed:
        return Factor(total.expand([axis.size for axis in order]), tuple(order))
    steps.append(Contraction(tuple(factors), summed, tuple(ordered(axis for axis in axes if isinstance(axis, Plate)))))
    return Factor(reduce(total, list(range(-len(summed), 0))), tuple(order[: -len(summed)]))


def _path(factors: Sequence[Factor], kept: Collection[Variable]) -> list[tuple[int, ...]]:
    if len(factors) <= 2:
        return [tuple(range(len(factors)))]
    number: dict[Axis, Any] = {axis: i for i, axis in enumerate(_union(factors))}
    sizes = {i: axis.size for axis, i in number.items()}
    inputs = [frozenset(number[axis] for axis in factor.axes) for factor in factors]
    output = frozenset(i for axis, i in number.items() if isinstance(axis, Plate) or axis in kept)
    path: list[tuple[int, ...]] = opt_einsum.paths.auto(inputs, output, sizes)
    return path


def _union(factors: Iterable[Factor]) -> list[Axis]:
    return list(dict.fromkeys(axis for factor in factors for axis in factor.axes))
