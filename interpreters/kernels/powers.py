"""Powers, quotients and bounds of numbers: elementwise operations whose C++ depends on their operands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Any, Final

from torch.fx import Node

from interpreters.kernels.arithmetic import rounded
from interpreters.kernels.arrays import Array, Inlined, operand
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


def quotient(writer: Writer, node: Node, left: Any, right: Any) -> Array:
    """Many numbers by one or a few are multiplied by reciprocals, which is much faster and off by one unit in the last place."""
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


OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType({"pow": power, "div": quotient, "clamp": clamp})
