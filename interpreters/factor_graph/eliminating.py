"""Variables inside plates: each plate's own are summed out in all of its elements, and then the elements are multiplied.

The innermost plates come first. Steps of a markov loop are a plate, too, but their product is one of matrices, from the state before
a step to the state after it.

Source: Obermeyer, Bingham, Jankowiak, Chiu, Pradhan, Rush and Goodman, "Tensor variable elimination for plated factor graphs", ICML
2019, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any, Final

import attrs
import torch

from interpreters.errors import NotVectorizable
from interpreters.factor_graph.collecting import FactorGraph
from interpreters.factor_graph.contraction import Reduce, check_joined, contracted, log_sum
from interpreters.factor_graph.factors import Axis, Factor, Plate, Variable, ordered, weight
from interpreters.factor_graph.layout import possible
from interpreters.factor_graph.loops import Chain
from interpreters.factor_graph.scans import product

Scan = Callable[[torch.Tensor], torch.Tensor]  # [n, ..., k, k] to the product [..., k, k]


@attrs.frozen(eq=False)
class Scanning:
    """The steps of ``chain`` were multiplied, for those of its variables that are at ``states``.

    matrices:  [steps, *others, from, to], where from and to are the values of all of those variables together.
    """

    chain: Chain
    states: tuple[int, ...]
    matrices: torch.Tensor
    others: tuple[Axis, ...]


@attrs.frozen(eq=False)
class Algebra:
    """What is done instead of a sum: over variables, and along chains."""

    reduce: Reduce
    scan: Scan


def eliminated(
    factors: Iterable[Factor], chains: Sequence[Chain], algebra: Algebra, kept: frozenset[Plate] = frozenset()
) -> tuple[torch.Tensor, list[Any]]:
    """The log of the sum of the product of ``factors`` over all of their variables, and the steps that it took.

    A scalar; with plates that are ``kept``, to which all variables are local, one for each of their elements: [*sizes of ordered(kept)].
    Raises ``NotVectorizable`` where variables of two plates that cross are joined in both: no order is then less than exponential.
    """
    waiting: dict[frozenset[Plate], list[Factor]] = {}
    for factor in factors:
        waiting.setdefault(factor.plates, []).append(factor)
    steps: list[Any] = []
    total = torch.zeros([plate.size for plate in ordered(kept)])
    while waiting:
        inner = max(waiting, key=len)
        chain = next((chain for chain in chains if chain.before and chain.before[0].plates == inner), None)
        states = set() if chain is None else {*chain.before, *chain.after}
        for component in _components(waiting.pop(inner), inner, chain):
            factor = contracted(component, states | _from_outside(component, inner), algebra.reduce, steps)
            factor = _scanned(factor, chain, algebra.scan, steps) if chain and states & {*factor.axes} else _multiplied(factor, inner, kept)
            if factor.plates - kept or factor.variables:
                waiting.setdefault(factor.plates, []).append(factor)
            else:
                total = total + factor.over(ordered(kept))
    return total, steps


SUMS: Final = Algebra(log_sum, product)


def log_evidence(graph: FactorGraph, algebra: Algebra = SUMS) -> torch.Tensor:
    """The log of the sum of a graph's density over all of its variables, in nats; by default of operations that any tracer knows."""
    total, _ = eliminated(graph.factors, graph.chains, algebra)
    return possible(graph.constant + total)


def _from_outside(factors: Iterable[Factor], inner: frozenset[Plate]) -> set[Variable]:
    return {variable for factor in factors for variable in factor.variables if variable.plates != inner}


def _multiplied(factor: Factor, inner: frozenset[Plate], kept: frozenset[Plate]) -> Factor:
    """The product over the elements of those plates that no variable is local to, but for those that are ``kept``; each to its weight."""
    outer = frozenset[Plate]().union(*(variable.plates for variable in factor.variables))
    if factor.variables and outer == inner:
        names = ", ".join(repr(variable.name) for variable in factor.variables)
        raise NotVectorizable(
            f"sites {names} of different plates ({', '.join(plate.name for plate in inner)}) are joined where the plates cross: exact sums "
            "take exponential time; make one of the plates sequential (vectorized=False), or sample"
        )
    dims = [i for i, axis in enumerate(factor.axes) if isinstance(axis, Plate) and axis not in outer | kept]
    axes = tuple(axis for i, axis in enumerate(factor.axes) if i not in dims)
    times = weight(inner - outer - kept)
    product = factor.tensor.sum(dims) if dims else factor.tensor
    return Factor(product if times == 1.0 else product * times, axes)


def _scanned(factor: Factor, chain: Chain, scan: Scan, steps: list[Any]) -> Factor:
    """The product over the steps of the chain whose state, or a part of it, the factor has."""
    own = set(factor.axes)
    states = tuple(i for i, pair in enumerate(zip(chain.before, chain.after, strict=True)) if own & set(pair))
    before, after = [chain.before[i] for i in states], [chain.after[i] for i in states]
    others = tuple(axis for axis in factor.axes if axis not in {chain.plate, *before, *after})
    check_joined({*before, *after, *(axis for axis in others if isinstance(axis, Variable))})
    whole = factor.expanded([axis for axis in (*before, *after) if axis not in own]).over([chain.plate, *others, *before, *after])
    sizes, count = [axis.size for axis in others], prod(variable.size for variable in before)
    matrices = whole.reshape(chain.plate.size, *sizes, count, count)
    steps.append(Scanning(chain, states, matrices, others))
    ends = [*(chain.first[i] for i in states), *(chain.last[i] for i in states)]
    result = scan(matrices).reshape(*sizes, *(variable.size for variable in ends))
    return Factor(result, (*others, *ends))


def _components(factors: Sequence[Factor], inner: frozenset[Plate], chain: Chain | None) -> Iterable[list[Factor]]:
    """Factors that are connected by variables of these plates; a part of the state before a step and after it are connected."""
    parents: dict[Any, Any] = {}

    def root(node: Any) -> Any:
        while (parent := parents.setdefault(node, node)) is not node:
            parents[node] = node = parents[parent]
        return node

    for before, after in () if chain is None else zip(chain.before, chain.after, strict=True):
        parents[root(after)] = root(before)
    for factor in factors:
        for variable in factor.variables:
            if variable.plates == inner:
                parents[root(variable)] = root(factor)
    found: dict[Any, list[Factor]] = {}
    for factor in factors:
        found.setdefault(root(factor), []).append(factor)
    return found.values()
