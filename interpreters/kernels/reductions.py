"""Sums, extremes and sums so far, in C++: a loop that writes into one number, into a few, or into an array."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial, reduce
from itertools import product
from math import prod
from types import MappingProxyType
from typing import Any, Final

import attrs
from torch.fx import Node

from interpreters.kernels.arithmetic import rounded
from interpreters.kernels.arrays import Array, contiguous, select, sliced
from interpreters.kernels.graphs import NotStraight
from interpreters.kernels.nests import Statement
from interpreters.kernels.writer import FEW, Operation, Writer, size_of


@attrs.frozen
class Reduction:
    """``both`` of two of its numbers, from ``start``."""

    start: str
    both: str

    @property
    def sums(self) -> bool:
        return self == SUM


SUM: Final = Reduction("0.0", "{0} + {1}")
PRODUCT: Final = Reduction("1.0", "{0} * {1}")
LARGEST: Final = Reduction("-INFINITY", "poutine_larger({0}, {1})")
SMALLEST: Final = Reduction("INFINITY", "poutine_smaller({0}, {1})")
ANY: Final = Reduction("0.0", "double({0} != 0.0 || {1} != 0.0)")
ALL: Final = Reduction("1.0", "double({0} != 0.0 && {1} != 0.0)")


def reduced(writer: Writer, node: Node, array: Array, dims: Any = None, *_: Any, kind: Reduction, **__: Any) -> Array:
    """``dims``, or all of them, of ``array`` by ``kind``."""
    dims = [dims] if isinstance(dims, int) else dims or range(len(array.size))
    over = sorted({dim % len(array.size) for dim in dims}) if array.size else []
    count = prod(array.size[d] for d in over)
    if kind.sums and writer.is_uniform(node):
        return writer.fill(node, lambda index: f"{array.name} * {count}")
    if count <= FEW:
        return _each_written_out(writer, node, array, over, kind)
    if prod(size_of(node)) == 1 or (kind.sums and prod(size_of(node)) <= FEW):
        return _into_numbers(writer, node, array, over, kind)
    return _into_array(writer, node, array, over, kind)


def _each_written_out(writer: Writer, node: Node, array: Array, over: Sequence[int], kind: Reduction) -> Array:
    """A number of few, each."""
    entries = list(product(*(range(array.size[d]) for d in over)))
    keepdim = len(size_of(node)) == len(array.size)

    def element(index: Sequence[str]) -> str:
        kept = [i for d, i in enumerate(index) if d not in over] if keepdim else index
        texts = [array.at(_interleaved(over, map(str, entry), kept)) for entry in entries]
        return reduce(lambda left, right: f"({kind.both.format(left, right)})", texts)

    return writer.fill(node, element) if entries else writer.fill(node, lambda index: kind.start)


def _into_numbers(writer: Writer, node: Node, array: Array, over: Sequence[int], kind: Reduction) -> Array:
    """Few numbers, each of many: variables, all in one loop."""
    names = []
    for k, entry in enumerate(product(*(range(n) for d, n in enumerate(array.size) if d not in over))):
        name = f"{writer.prefix}{node.name}_n{k}"
        names.append(name)

        def statement(index: Sequence[str], name: str = name, entry: tuple[int, ...] = entry) -> Statement:
            text = kind.both.format(name, array.at(_interleaved(over, index, list(map(str, entry)))))
            return Statement(name, name, f"{name} = {text};", sums=kind.sums)

        writer.loop(tuple(array.size[d] for d in over), statement, f"double {name} = {kind.start};")
    numbers = [rounded(node, lambda _, name=name: name)(()) for name in names]  # type: ignore[misc]
    size = size_of(node)
    if len(names) == 1:
        return Array(numbers[0], size, (0,) * len(size), is_number=True)
    total = writer.result(node)
    for k, number in enumerate(numbers):
        writer.assign(Array(total.name, (), (), k), Array(number, (), is_number=True))
    return total


def _into_array(writer: Writer, node: Node, array: Array, over: Sequence[int], kind: Reduction) -> Array:
    total = writer.copied(node, Array(kind.start, (), is_number=True))
    stride = iter(contiguous([n for d, n in enumerate(array.size) if d not in over]))
    spread = attrs.evolve(total, size=array.size, stride=tuple(0 if d in over else next(stride) for d in range(len(array.size))))

    def statement(index: Sequence[str]) -> Statement:
        place = spread.at(index)
        return Statement(total.name, place, f"{place} = {kind.both.format(place, array.at(index))};")

    writer.loop(array.size, statement)
    return total


def so_far(writer: Writer, node: Node, array: Array, dim: int, *, kind: Reduction, **options: Any) -> Array:
    """All sums, or products, of the first few."""
    if options:
        raise NotStraight(f"no C++ for {node.target} with {options}")
    total = writer.result(node)
    if not array.size:
        return array
    writer.assign(select(total, dim, 0), select(array, dim, 0))
    target, before, added = sliced(total, dim, 1), sliced(total, dim, 0, -1), sliced(array, dim, 1)

    def statement(index: Sequence[str]) -> Statement:
        place = target.at(index)
        return Statement(total.name, place, f"{place} = {kind.both.format(before.at(index), added.at(index))};")

    writer.loop(target.size, statement)
    return total


def _interleaved(over: Sequence[int], inside: Iterable[str], kept: Sequence[str]) -> list[str]:
    """An index of all dimensions, from that of those which are reduced and that of the others."""
    inner, outer = iter(inside), iter(kept)
    return [next(inner) if d in over else next(outer) for d in range(len(over) + len(kept))]


OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(
    {
        "sum": partial(reduced, kind=SUM), "prod": partial(reduced, kind=PRODUCT), "any": partial(reduced, kind=ANY),
        "all": partial(reduced, kind=ALL), "amax": partial(reduced, kind=LARGEST), "amin": partial(reduced, kind=SMALLEST),
        "cumsum": partial(so_far, kind=SUM), "cumprod": partial(so_far, kind=PRODUCT),
    }
)  # fmt: skip
