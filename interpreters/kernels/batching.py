"""A loop of a graph, all steps at once: what a step needs of the step before is left to scans.

1. An operation that does not need itself of a step before is one operation on a batch of all steps (``vmap``); one whose operands
   are the same in each step is done once. Operations that do need themselves, together, are a scan.
2. What is only added up, such as log densities, is a sum over the batch.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs
import numpy as np
import torch
from torch.fx import Node

from interpreters.kernels.graphs import NotStraight, mapped
from interpreters.kernels.repetition import Each, Inside, Loop, Operation, Same

_add: Final = torch.ops.aten.add.Tensor
_select: Final = torch.ops.aten.select.int
_slice: Final = torch.ops.aten.slice.Tensor


@attrs.frozen(eq=False)
class Recurrence:
    """The operations ``members`` of a loop, which need each other of steps before, and what they need from outside.

    kept:    members whose histories are asked for.
    firsts:  what is ahead of the first step, of each of the kept: [ahead, ...], or None.
    each:    operands with another value in each step, [steps, ...].
    same:    operands with one value.
    """

    loop: Loop
    members: tuple[int, ...]
    kept: tuple[int, ...]
    firsts: tuple[torch.Tensor | None, ...]
    each: Mapping[Any, torch.Tensor]
    same: Mapping[Any, torch.Tensor]

    @property
    def ahead(self) -> tuple[int, ...]:
        return tuple(len(self.loop.before[at]) for at in self.kept)


class Surroundings(Protocol):
    """What a loop asks of the graph that it is in."""

    def value(self, node: Node) -> Any: ...

    def stacked(self, nodes: Sequence[Node]) -> torch.Tensor: ...

    def constant(self, make: Callable[[], torch.Tensor]) -> torch.Tensor: ...

    def histories(self, recurrence: Recurrence) -> Sequence[torch.Tensor]:
        """The values of the kept operations, [ahead + steps, ...]."""


class Batch:
    """The values of a loop's operations: of all steps, or one that is the same in each."""

    def __init__(self, loop: Loop, around: Surroundings) -> None:
        self.loop, self.around, self.count = loop, around, len(loop.steps)
        self.reads = [{leaf.at for leaf in operation.operands if isinstance(leaf, Inside)} for operation in loop.body]
        self.inside = {node for step in loop.steps for node in step}
        self.all: dict[int, Any] = {}  # [ahead + steps, ...]
        self.once: dict[int, Any] = {}
        self.sums: dict[int, Any] = {}
        for group in _in_order(self.reads):
            self._run(group)

    # What others read

    def step(self, at: int, t: int) -> Any:
        """The value in step ``t``."""
        for found in (self.once, self.sums):
            if at in found:
                return found[at]
        return self.all[at][len(self.loop.before[at]) + t]

    def steps(self, at: int, first: int, count: int) -> Any:
        """The values of ``count`` steps from ``first`` on, which may be ahead of the first step."""
        if at in self.once and first >= 0:
            return self.once[at].expand(count, *self.once[at].shape)
        if at not in self.all:
            self._keep(at, self.once[at].expand(self.count, *self.once[at].shape))
        start = len(self.loop.before[at]) + first
        return self.all[at][start : start + count]

    # The three ways

    def _run(self, group: Sequence[int]) -> None:
        at = group[0]
        if len(group) == 1 and at not in self.reads[at]:
            self._apply(at, self.loop.body[at])
        elif not self._sum(group):
            self._scan(group)

    def _apply(self, at: int, operation: Operation) -> None:
        if operation.target is operator.getitem:
            self._take(at, operation)
        elif _is_entry(operation) and self._operand(operation.args[0], at)[1] is None:
            self._keep(at, self._entries(at, operation))
        else:
            self._call(at, _with_tensors(operation))

    def _call(self, at: int, operation: Operation) -> None:
        values, dims = zip(*(self._operand(leaf, at) for leaf in operation.operands), strict=True)

        def call(*operands: Any) -> Any:
            left = iter(operands)
            args, kwargs = mapped((operation.args, operation.kwargs), lambda leaf: next(left) if _is_operand(leaf) else leaf)
            return operation.target(*args, **kwargs)

        if any(dim == 0 for dim in dims):
            self._keep(at, torch.func.vmap(call, in_dims=dims)(*values))
        else:
            self.once[at] = call(*values)

    def _take(self, at: int, operation: Operation) -> None:
        """One of the several results of an operation."""
        whole, i = operation.args
        if not isinstance(whole, Inside) or whole.lag or self.loop.before[whole.at]:
            raise NotStraight("several results of a step before")
        if whole.at in self.once:
            self.once[at] = self.once[whole.at][i]
        else:
            self._keep(at, self.all[whole.at][i])

    def _entries(self, at: int, operation: Operation) -> Any:
        """``select(x, dim, i)`` or ``slice(x, dim, start, stop)``, all of one length, at another place in each step."""
        x, dim, *places = operation.args
        rows = self._operand(x, at)[0].movedim(dim, 0)
        if operation.target is _select:
            return self._windows(rows, [int(i) % rows.shape[0] for i in places[0].items], 1).squeeze(1)
        starts = [slice(*ends).indices(rows.shape[0])[0] for ends in zip(*(each.items for each in places), strict=True)]
        width = self.loop.steps[0][at].meta["val"].shape[dim]
        return self._windows(rows, starts, width).movedim(1, dim if dim < 0 else dim + 1)

    def _windows(self, rows: Any, starts: list[int], width: int) -> Any:
        """``rows[i : i + width]`` for each of ``starts``: a part of ``rows`` in another shape where they are evenly apart."""
        apart, count = starts[1] - starts[0], len(starts)
        if apart >= width and starts == list(range(starts[0], starts[0] + apart * count, apart)):
            for skipped in (0, apart - width):
                first = starts[0] - skipped
                if first >= 0 and first + apart * count <= rows.shape[0]:
                    return rows[first : first + apart * count].reshape(count, apart, *rows.shape[1:])[:, skipped : skipped + width]
        indices = [i + j for i in starts for j in range(width)]
        return rows.index_select(0, self.around.constant(lambda: torch.tensor(indices))).reshape(count, width, *rows.shape[1:])

    def _keep(self, at: int, value: Any) -> None:
        before = self.loop.before[at]
        self.all[at] = torch.cat([self.around.stacked(before[::-1]), value]) if before else value

    def _operand(self, leaf: Any, at: int) -> tuple[Any, int | None]:
        """Its value, and along which dimension the steps are."""
        if isinstance(leaf, Same):
            return self.around.value(leaf.node), None
        if isinstance(leaf, Inside):
            if leaf.at in self.once and not leaf.lag:
                return self.once[leaf.at], None
            return self.steps(leaf.at, -leaf.lag, self.count), 0
        if isinstance(leaf.items[0], Node):
            return self.around.stacked(leaf.items), 0
        dtype = self.loop.steps[0][at].meta["val"].dtype
        return self.around.constant(lambda: torch.tensor(leaf.items, dtype=torch.float64 if dtype == torch.bool else dtype)), 0

    def _sum(self, group: Sequence[int]) -> bool:
        """Whether it only adds up, one thing or several in each step, and nobody asks for less than the whole."""
        members, added, back = set(group), list[Any](), list[tuple[int, Inside]]()
        for at in group:
            operation = self.loop.body[at]
            own = [arg for arg in operation.args if isinstance(arg, Inside) and arg.at in members]
            others = [arg for arg in operation.args if arg not in own and _is_operand(arg)]
            if operation.target is not _add or operation.kwargs or len(own) != 1 or len(others) != 1:
                return False
            added.append((others[0], at))
            back += [(at, own[0])] if own[0].lag else []
        if len(back) != 1 or back[0][1].lag != 1:
            return False
        last, before = back[0][1].at, back[0][1].before[0]
        if any(self._is_read(at, members, self.loop.steps[: -1 if at == last else None]) for at in group):
            return False
        parts = [self._operand(*each) for each in added]
        self.sums[last] = sum((value * self.count if dim is None else value.sum(0) for value, dim in parts), self.around.value(before))
        return True

    def _scan(self, group: Sequence[int]) -> None:
        found: tuple[dict[Any, Any], dict[Any, Any]] = {}, {}
        for at in group:
            for leaf in self.loop.body[at].operands:
                if not (isinstance(leaf, Inside) and leaf.at in group):
                    value, dim = self._operand(leaf, at)
                    found[dim is None][leaf] = value
        kept = [at for at in group if self.loop.before[at] or self._is_read(at, set(group), self.loop.steps)]
        firsts = tuple(self.around.stacked(before[::-1]) if (before := self.loop.before[at]) else None for at in kept)
        histories = self.around.histories(Recurrence(self.loop, tuple(group), tuple(kept), firsts, *found))
        self.all.update(zip(kept, histories, strict=True))

    def _is_read(self, at: int, group: set[int], steps: Sequence[tuple[Node, ...]]) -> bool:
        """By operations outside of the group; in the case of those outside of the loop, of one of these ``steps``."""
        outside = any(user not in self.inside for step in steps for user in step[at].users)
        return outside or any(at in reads for other, reads in enumerate(self.reads) if other not in group)


def _is_operand(leaf: Any) -> bool:
    return isinstance(leaf, Inside | Same | Each)


def _is_entry(operation: Operation) -> bool:
    """Whether it takes a part of something, at another place in each step."""
    if operation.target is _select:
        return isinstance(operation.args[2], Each)
    return operation.target is _slice and len(operation.args) == 4 and all(isinstance(arg, Each) for arg in operation.args[2:])


def _with_tensors(operation: Operation) -> Operation:
    """Where a number varies, a tensor is asked for."""
    aten = torch.ops.aten
    if not any(isinstance(leaf, Each) and not isinstance(leaf.items[0], Node) for leaf in operation.operands):
        return operation
    if operation.target is aten.rsub.Scalar and len(operation.args) == 2:
        return Operation(aten.sub.Tensor, operation.args[::-1], operation.kwargs)
    for arg, expected in zip(operation.args, operation.target._schema.arguments, strict=False):
        if isinstance(arg, Each) and not isinstance(arg.items[0], Node) and str(expected.type) != "Tensor":
            raise NotStraight(f"{operation.target} with another number in each step")
    return operation


def _in_order(reads: Sequence[set[int]]) -> list[list[int]]:
    """The operations in groups that need each other, each group after those that it needs."""
    needs = np.eye(len(reads), dtype=bool)
    for at, others in enumerate(reads):
        needs[at, list(others)] = True
    while (closed := needs @ needs).sum() > needs.sum():
        needs = closed
    groups: dict[bytes, list[int]] = {}
    for at in sorted(range(len(reads)), key=lambda at: (needs[at].sum(), at)):
        groups.setdefault(needs[at].tobytes(), []).append(at)
    return list(groups.values())
