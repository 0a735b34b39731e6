"""Scans and their pullbacks in C++: a loop around the operations of the body, which read and write the histories in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import attrs

from interpreters.kernels.arrays import Array
from interpreters.kernels.graphs import Captured
from interpreters.kernels.nests import Line
from interpreters.kernels.scans import Pullback, Scan

_ZERO: Final = Array("0.0", (), is_number=True)


class Writer(Protocol):
    """What writes operations outside of the loop, and makes such a one for the inside."""

    lines: list[Line]

    def new(self, name: str, size: Sequence[int]) -> Array: ...

    def assign(self, target: Array, source: Array) -> None: ...

    def gather(self, target: Array, part: Array) -> None: ...

    def inner(self, body: Captured, inputs: Sequence[Array], prefix: str) -> Writer: ...

    def write(self) -> list[Array]: ...


class WrittenLoop:
    """A scan, or its pullback, as a loop around its body."""

    def __init__(self, writer: Writer, name: str) -> None:
        self.writer, self.name = writer, name
        self.step = f"t_{name}"

    def scan(
        self, scan: Scan, firsts: Sequence[Array | None], each: Sequence[Array], same: Sequence[Array], constants: Sequence[Array]
    ) -> list[Array]:
        histories = []
        for i, (first, shape) in enumerate(zip(firsts, _shapes(scan.body), strict=True)):
            histories.append(self.writer.new(f"{self.name}_{i}", (scan.ahead[i] + scan.steps, *shape)))
            if first is not None:
                self.writer.assign(_part(histories[i], 0, scan.ahead[i]), first)
        body = self._body(scan.body, [*self._pasts(scan, histories), *map(self._now, each), *same, *constants])
        for history, ahead, result in zip(histories, scan.ahead, body.write(), strict=True):
            body.assign(self._now(history, ahead), result)
        self._close(f"int {self.step} = 0; {self.step} < {scan.steps}; ++{self.step}", body)
        return histories

    def pullback(
        self,
        back: Pullback,
        histories: Sequence[Array],
        each: Sequence[Array],
        same: Sequence[Array],
        gradients: Sequence[Array],
        constants: Sequence[Array],
    ) -> list[Array]:
        scan = back.scan
        adjoints = [self._copy(f"adjoint_{i}", array, array.size) for i, array in enumerate(gradients)]
        of_each = [self._copy(f"each_{i}", _ZERO, each[i].size) for i in back.each]
        of_same = [self._copy(f"same_{i}", _ZERO, same[i].size) for i in back.same]
        now = [self._now(adjoint, ahead) for adjoint, ahead in zip(adjoints, scan.ahead, strict=True)]
        body = self._body(back.body, [*self._pasts(scan, histories), *map(self._now, each), *same, *now, *constants])
        targets = [*self._pasts(scan, adjoints), *map(self._now, of_each), *of_same]
        for target, gradient in zip(targets, body.write(), strict=True):
            body.gather(target, gradient)
        self._close(f"int {self.step} = {scan.steps - 1}; {self.step} >= 0; --{self.step}", body)
        return [*(_part(adjoint, 0, ahead) for adjoint, ahead in zip(adjoints, scan.ahead, strict=True)), *of_each, *of_same]

    def _body(self, body: Captured, inputs: Sequence[Array]) -> Writer:
        return self.writer.inner(body, inputs, f"{self.name}_")

    def _close(self, head: str, body: Writer) -> None:
        self.writer.lines += [f"for ({head}) {{", *body.lines, "}"]

    def _pasts(self, scan: Scan, histories: Sequence[Array]) -> list[Array]:
        return [self._now(histories[past.result], scan.ahead[past.result] - past.lag) for past in scan.pasts]

    def _now(self, array: Array, shift: int = 0) -> Array:
        """The entry of this step, and ``shift``."""
        if array.is_number:
            return attrs.evolve(array, size=array.size[1:], stride=array.stride[1:])
        name = f"({array.name} + {array.stride[0]} * {self.step})"
        return Array(name, array.size[1:], array.stride[1:], array.offset + shift * array.stride[0])

    def _copy(self, name: str, source: Array, size: tuple[int, ...]) -> Array:
        array = self.writer.new(f"{self.name}_{name}", size)
        self.writer.assign(array, source)
        return array


def _shapes(body: Captured) -> list[tuple[int, ...]]:
    *_, output = body.graph.nodes
    return [tuple(node.meta["val"].shape) for node in output.args[0]]


def _part(array: Array, start: int, count: int) -> Array:
    return attrs.evolve(array, size=(count, *array.size[1:]), offset=array.offset + start * array.stride[0])
