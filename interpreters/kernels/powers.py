"""Powers, quotients and bounds of numbers: elementwise operations whose C++ depends on their operands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from torch.fx import Node

from interpreters.kernels.arrays import Array, Inlined, operand
from interpreters.kernels.writer import Operation, Writer


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
    """Many numbers by one are multiplied by its reciprocal, which is much faster and off by one unit in the last place."""
    if not isinstance(right, Inlined) and isinstance(right, Array) and right.is_number and not writer.is_uniform(node):
        name = writer.number(f"{node.name}_reciprocal", f"1.0 / {right.name}")
        return writer.fill(node, lambda index: f"{operand(left, index)} * {name}")
    return writer.fill(node, lambda index: f"{operand(left, index)} / {operand(right, index)}")


def clamp(writer: Writer, node: Node, array: Array, low: Any = None, high: Any = None) -> Array:
    def element(index: Sequence[str]) -> str:
        text = array.at(index)
        if low is not None:
            text = f"poutine_larger({text}, {operand(low, index)})"
        return text if high is None else f"poutine_smaller({text}, {operand(high, index)})"

    return writer.fill(node, element)


OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType({"pow": power, "div": quotient, "clamp": clamp})
