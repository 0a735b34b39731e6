"""Summing variables out of a product of factors, two factors at a time, in an order that ``opt_einsum`` finds.

All of it in nats: a product is a sum, and a sum (or, for the most probable values, a maximum) is taken over an axis. What was done
is kept as steps, from whose last to the first the variables can be drawn, or the best ones be found: see ``decoding``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from math import prod
from typing import Any, Final

import attrs
import opt_einsum
import torch

from interpreters.errors import NotVectorizable
from interpreters.factor_graph.factors import Axis, Factor, Plate, Variable, ordered

_MOST: Final = 2**25  # combinations of values at once, in each element of the plates

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
    """One factor for several, without all variables that are not ``kept``. Notes what it does in ``steps``.

    Raises ``NotVectorizable`` where variables depend on one another so much that even the best order is too long.
    """
    operands = list(factors)
    uses = Counter(axis for factor in operands for axis in factor.axes)
    path = _path(operands, kept)
    _check_path(operands, path, kept)
    for group in path:
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


def _check_path(factors: Sequence[Factor], path: Iterable[tuple[int, ...]], kept: Collection[Variable]) -> None:
    """Raises ``NotVectorizable`` before the first of the sums, if one of them is of too many terms."""
    operands = [set(factor.variables) for factor in factors]
    uses = Counter(variable for operand in operands for variable in operand)
    for group in path:
        chosen = [operands.pop(i) for i in sorted(group, reverse=True)]
        joined = set[Variable]().union(*chosen)
        check_joined(joined)
        uses.subtract(variable for operand in chosen for variable in operand)
        operands.append({variable for variable in joined if uses[variable] or variable in kept})
        uses.update(operands[-1])


def check_joined(variables: Collection[Variable]) -> None:
    """Raises ``NotVectorizable`` if there are too many combinations of the values of ``variables``."""
    number = prod(variable.size for variable in variables)
    if number > _MOST:
        names = sorted(variable.name for variable in variables)
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise NotVectorizable(
            f"sites {shown} depend on one another: the best order of summation that was found takes sums over {number:.3g} combinations of their "
            f"values at once, and more than {_MOST:.3g} are too many; condition some of them, or use a method that samples"
        )


def _union(factors: Iterable[Factor]) -> list[Axis]:
    return list(dict.fromkeys(axis for factor in factors for axis in factor.axes))
