"""Finds the loops that a graph was recorded from: the same operations again and again, in the same places.

1. The kinds of the operations, in order, are compared with themselves shifted: of all shifts, the one with the longest run of
   equals is the number of operations of a step.
2. Each operand of an operation must then be the same thing in every step: a result of this step or of one before; one and
   the same thing from outside; or another one from outside each time. Steps for which it is not are left outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs
import numpy as np
import torch
from torch.fx import Node

from interpreters.kernels.graphs import mapped

LEAST: Final = 8  # steps
_FARTHEST: Final = 16  # steps back to an operand
_LONGEST: Final = 1000  # operations of a step

Item = Node | int | float


@attrs.frozen
class Inside:
    """The result of the body's operation ``at``, ``lag`` steps before; ``before`` is what stands for it ahead of the first step, last first."""

    at: int
    lag: int
    before: tuple[Node, ...]


@attrs.frozen
class Same:
    """The same node in each step."""

    node: Node


@attrs.frozen
class Each:
    """Another node, or number, in each step."""

    items: tuple[Item, ...]


@attrs.frozen
class Operation:
    """One operation of the body. Its arguments are ``args``, with operands in the places of nodes and of numbers that vary."""

    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def operands(self) -> list[Inside | Same | Each]:
        found: list[Any] = []
        mapped((self.args, self.kwargs), found.append)
        return [leaf for leaf in found if isinstance(leaf, Inside | Same | Each)]


@attrs.frozen(eq=False)
class Loop:
    """``steps[t][i]`` is the node of the operation ``body[i]`` in step ``t``; ``before[i]`` what stands for it ahead of the first step, last first."""

    steps: tuple[tuple[Node, ...], ...]
    body: tuple[Operation, ...]
    before: tuple[tuple[Node, ...], ...]


def loops(nodes: Sequence[Node]) -> Iterator[Node | Loop]:
    """The same nodes in order, with loops in the place of those that repeat."""
    loop, start, stop = _longest(nodes)
    if loop is None:
        yield from nodes
        return
    yield from loops(nodes[:start])
    yield loop
    yield from loops(nodes[stop:])


def _longest(nodes: Sequence[Node]) -> tuple[Loop | None, int, int]:
    kinds: dict[Any, int] = {}
    numbers = np.array([kinds.setdefault(_kind(node), len(kinds)) for node in nodes])
    run, start, period = max((_run(numbers, period) for period in range(1, min(len(nodes) // LEAST, _LONGEST) + 1)), default=(0, 0, 1))
    period = abs(period)
    while (count := (run + period) // period) >= LEAST:
        steps = [tuple(nodes[start + t * period : start + (t + 1) * period]) for t in range(count)]
        loop, odd = _loop(steps)
        if loop is not None:
            return loop, start, start + count * period
        start, run = start + (odd + 1) * period, run - (odd + 1) * period
    return None, 0, 0


def _run(kinds: Any, period: int) -> tuple[int, int, int]:
    """The length and start of the longest run in which each operation is of the kind of that ``period`` later; the shorter period wins."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kinds[:-period] == kinds[period:], [False]]).astype(int)))
    starts, stops = edges[::2], edges[1::2]
    if not len(starts):
        return 0, 0, -period
    best = int(np.argmax(stops - starts))
    return int(stops[best] - starts[best]), int(starts[best]), -period


def _kind(node: Node) -> Any:
    """What must be equal in each step: the operation, and everything about its arguments but which node or number they are."""
    return node.target, _pattern(node.args), _pattern(tuple(node.kwargs.items())), _layout(node.meta["val"])


def _pattern(args: Any) -> Any:
    return tuple(_shape_of_argument(arg) for arg in args)


def _shape_of_argument(arg: Any) -> Any:
    if isinstance(arg, Node):
        return _layout(arg.meta["val"])
    if isinstance(arg, list | tuple):
        return tuple(_shape_of_argument(part) if isinstance(part, Node | list | tuple) else (type(part), part) for part in arg)
    return type(arg) if _varies(arg) else (type(arg), arg)


def _layout(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(map(_layout, value))
    return (value.dtype, tuple(value.shape)) if isinstance(value, torch.Tensor) else type(value)


def _varies(arg: Any) -> bool:
    return isinstance(arg, int | float) and not isinstance(arg, bool)


class _Odd(Exception):
    """The step that is unlike the later ones."""


def _loop(steps: Sequence[tuple[Node, ...]]) -> tuple[Loop | None, int]:
    """The loop; or none, and the last of the steps that are unlike the later ones."""
    places = {node: (t, i) for t, step in enumerate(steps) for i, node in enumerate(step)}
    try:
        body = tuple(_operation(nodes, places) for nodes in zip(*steps, strict=True))
        return Loop(tuple(steps), body, _before(body)), 0
    except _Odd as odd:
        return None, int(odd.args[0])


def _before(body: Sequence[Operation]) -> tuple[tuple[Node, ...], ...]:
    """Operands of several steps before must agree on what there was."""
    longest: list[tuple[Node, ...]] = [()] * len(body)
    for leaf in (leaf for operation in body for leaf in operation.operands if isinstance(leaf, Inside)):
        short, long = sorted((leaf.before, longest[leaf.at]), key=len)
        if long[: len(short)] != short:
            raise _Odd(len(long))
        longest[leaf.at] = long
    return tuple(longest)


def _operation(nodes: tuple[Node, ...], places: dict[Node, tuple[int, int]]) -> Operation:
    kwargs = {key: _argument([node.kwargs[key] for node in nodes], places) for key in nodes[0].kwargs}
    return Operation(nodes[0].target, tuple(_argument(args, places) for args in zip(*(node.args for node in nodes), strict=True)), kwargs)


def _argument(args: Sequence[Any], places: dict[Node, tuple[int, int]]) -> Any:
    last = args[-1]
    if isinstance(last, list | tuple):
        return [_argument(parts, places) for parts in zip(*args, strict=True)]
    if not isinstance(last, Node):
        return last if all(arg == last or (arg != arg and last != last) for arg in args) else Each(tuple(args))  # nan is itself
    return _inside(args, places) if last in places else _outside(args, places)


def _inside(args: Sequence[Node], places: dict[Node, tuple[int, int]]) -> Inside:
    t, at = places[args[-1]]
    lag = len(args) - 1 - t
    for t in range(len(args) - 1, -1, -1):
        if (places.get(args[t]) != (t - lag, at)) if t >= lag else args[t] in places:
            raise _Odd(t)
    if lag > _FARTHEST:
        raise _Odd(len(args) - 1)
    return Inside(at, lag, tuple(args[:lag][::-1]))


def _outside(args: Sequence[Node], places: dict[Node, tuple[int, int]]) -> Same | Each:
    odd = max((t for t, arg in enumerate(args) if arg in places), default=-1)
    other = max((t for t, arg in enumerate(args) if arg is not args[-1]), default=-1)
    if odd >= 0 or 0 <= other < LEAST // 2:  # the first steps are often special
        raise _Odd(max(odd, other if other < LEAST // 2 else -1))
    return Same(args[-1]) if other < 0 else Each(tuple(args))
