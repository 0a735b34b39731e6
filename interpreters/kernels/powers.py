"""Powers, quotients, bounds and polygamma functions of numbers: elementwise operations whose C++ depends on their operands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Any, Final

from torch.fx import Node

from interpreters.kernels.arithmetic import rounded
from interpreters.kernels.arrays import Array, Inlined, literal, operand
from interpreters.kernels.graphs import NotStraight
from interpreters.kernels.writer import COLUMNS, MANY, Operation, Writer, size_of


def power(writer: Writer, node: Node, base: Any, exponent: Any) -> Array:
    """Of an array by a number that is known, as torch computes the usual ones."""
    if exponent == 1 and isinstance(base, Array):
        return base
    if exponent in (2, 3):
        return writer.fill(node, lambda index: " * ".join([operand(base, index)] * int(exponent)))
    if exponent == 0.5:
        return writer.fill(node, lambda index: f"std::sqrt({operand(base, index)})")
    return writer.fill(node, lambda index: f"std::pow({operand(base, index)}, {operand(exponent, index)})")


def quotient(writer: Writer, node: Node, left: Any, right: Any, *, rounding_mode: str | None = None) -> Array:
    """Many numbers by one or a few are multiplied by reciprocals, which is much faster and off by one unit in the last place."""
    if rounding_mode == "trunc":
        return writer.fill(node, lambda index: f"std::trunc({operand(left, index)} / {operand(right, index)})")
    if rounding_mode is not None:
        raise NotStraight(f"no C++ for {node.target} {rounding_mode}")
    if isinstance(right, Array) and not right.is_number and prod(right.size) <= COLUMNS and prod(size_of(node)) >= MANY:
        inverse = writer.reciprocals.get(right) or _reciprocals(writer, node, right)
        return writer.fill(node, lambda index: f"{operand(left, index)} * {inverse.at(index)}")
    if not isinstance(right, Inlined) and isinstance(right, Array) and right.is_number and not writer.is_uniform(node):
        name = writer.number(f"{node.name}_reciprocal", f"1.0 / {right.name}")
        return writer.fill(node, lambda index: f"{operand(left, index)} * {name}")
    return writer.fill(node, lambda index: f"{operand(left, index)} / {operand(right, index)}")


def _reciprocals(writer: Writer, node: Node, right: Array) -> Array:
    """Kept for other quotients: loops over many numbers may then be one."""
    inverse = writer.reciprocals[right] = writer.new(f"{node.name}_reciprocals", right.size)
    element = rounded(node, lambda index: f"1.0 / {right.at(index)}")
    writer.assign(inverse, Inlined(name=inverse.name, size=right.size, is_number=True, element=element), is_new=True)
    return inverse


def clamp(writer: Writer, node: Node, array: Array, low: Any = None, high: Any = None) -> Array:
    def element(index: Sequence[str]) -> str:
        text = array.at(index)
        if low is not None:
            text = f"poutine_larger({text}, {operand(low, index)})"
        return text if high is None else f"poutine_smaller({text}, {operand(high, index)})"

    return writer.fill(node, element)


def polygamma(writer: Writer, node: Node, order: int, array: Array) -> Array:
    """The derivatives of the digamma function: by Hurwitz' zeta function (Abramowitz and Stegun 6.4.10)."""
    if order == 0:
        return writer.fill(node, lambda index: f"poutine_digamma({array.at(index)})")
    if order == 1:
        return writer.fill(node, lambda index: f"poutine_trigamma({array.at(index)})")
    scale = literal((-1) ** (order + 1) * math.gamma(order + 1.0))
    return writer.fill(node, lambda index: f"{scale} * poutine_zeta({literal(order + 1)}, {array.at(index)})")


OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType({"pow": power, "div": quotient, "clamp": clamp, "polygamma": polygamma})
