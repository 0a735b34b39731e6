"""A recorded graph, run with its loops all steps at once.

The results of scans are inputs here, and the inputs of scans are results: what is between them is then an ordinary graph
without loops, of which torch can take the derivative, and which is short, however many steps there are.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.fx import Node

from interpreters.kernels.batching import Batch, Recurrence
from interpreters.kernels.repetition import Loop


class Rolled:
    """One run over ``items``; ``known`` are the constants, and ``values`` what was computed.

    constant:   makes a constant, or gives what stands for it.
    histories:  gives what a scan would.
    """

    def __init__(
        self,
        known: Mapping[Node, torch.Tensor],
        constant: Callable[[Callable[[], torch.Tensor]], torch.Tensor],
        histories: Callable[[Recurrence], Sequence[torch.Tensor]],
    ) -> None:
        self.known, self.constant, self.histories = known, constant, histories
        self.values: dict[Node, Any] = {}
        self.places: dict[Node, tuple[Batch, int, int]] = {}

    def run(self, items: Sequence[Node | Loop]) -> None:
        for item in items:
            if isinstance(item, Loop):
                batch = Batch(item, self)
                self.places.update((node, (batch, at, t)) for t, step in enumerate(item.steps) for at, node in enumerate(step))
            elif item.target is torch.ops.aten.stack.default:
                self.values[item] = self.stacked(item.args[0]).movedim(0, item.args[1] if len(item.args) > 1 else 0)  # type: ignore[arg-type]
            else:
                args, kwargs = torch.fx.node.map_arg((item.args, dict(item.kwargs)), self.value)
                self.values[item] = _of_any_strides(item.target)(*args, **kwargs)

    def value(self, node: Node) -> Any:
        if node in self.places:
            batch, at, t = self.places[node]
            return batch.step(at, t)
        if node not in self.values:
            self.values[node] = self.constant(lambda: self.known[node])
        return self.values[node]

    def stacked(self, nodes: Sequence[Node]) -> torch.Tensor:
        """The values of ``nodes`` in one tensor, one after the other; those of successive steps or entries are taken together."""
        unique = list(dict.fromkeys(nodes))
        if len(unique) < len(nodes):
            places = {node: i for i, node in enumerate(unique)}
            return self.stacked(unique).index_select(0, self.constant(lambda: torch.tensor([places[node] for node in nodes])))
        runs: list[list[Node]] = []
        for node in nodes:
            if runs and self._follows(runs[-1][-1], node):
                runs[-1].append(node)
            else:
                runs.append([node])
        parts = [self._together(run) for run in runs]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _follows(self, before: Node, after: Node) -> bool:
        if before in self.known or after in self.known:
            return before in self.known and after in self.known
        if before in self.places and after in self.places:
            (batch, at, t), (other, place, u) = self.places[before], self.places[after]
            return batch is other and at == place and u == t + 1
        first, second = _entry(before), _entry(after)
        return first is not None and second is not None and (*first[:2], first[2] + 1) == second

    def _together(self, nodes: Sequence[Node]) -> torch.Tensor:
        first = nodes[0]
        if first in self.known:
            return self.constant(lambda: torch.stack([self.known[node] for node in nodes]))
        if first in self.places and len(nodes) > 1:
            batch, at, t = self.places[first]
            found: torch.Tensor = batch.steps(at, t, len(nodes))
            return found
        if len(nodes) > 1 and (entry := _entry(first)) is not None:
            whole, dim, start = entry
            rows: torch.Tensor = self.value(whole).movedim(dim, 0)
            return rows[start : start + len(nodes)]
        one: torch.Tensor = self.value(first).unsqueeze(0)
        return one


def _entry(node: Node) -> tuple[Node, int, int] | None:
    """``(whole, dim, i)`` of which ``node`` is the entry ``i``."""
    args: Any = node.args
    if node.target is torch.ops.aten.select.int:
        return args[0], args[1], args[2] % args[0].meta["val"].shape[args[1]]
    if node.target is operator.getitem and args[0].target is torch.ops.aten.unbind.int:
        return args[0].args[0], (*args[0].args, 0)[1], args[1]
    return None


def _of_any_strides(operation: Any) -> Callable[..., Any]:
    """What was a view when it was recorded may be a copy here, where strides are others."""
    return torch.ops.aten.reshape.default if operation is torch.ops.aten.view.default else operation
