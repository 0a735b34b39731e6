"""The gradient of a recorded function, as a graph: loops over time stay loops.

The function is run with the results of its scans as inputs, and the inputs of its scans as results (``rolling``). Torch takes
the derivative of that, given the gradients of the inputs of scans. Then each scan is put where its results are asked for, and
its derivative where the gradients of its inputs are: what they need comes before them, since a program runs in some order.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch.fx import Graph, Node

from interpreters.kernels.batching import Recurrence
from interpreters.kernels.decompositions import decompositions_before_derivatives
from interpreters.kernels.graphs import Captured, NotStraight, Table, is_mutable
from interpreters.kernels.recurrences import Traced
from interpreters.kernels.repetition import Loop, loops
from interpreters.kernels.rolling import Rolled
from interpreters.kernels.scans import Pullback, Scan
from interpreters.kernels.tracing import constant_values, trace

ROLLED: Final = 300  # operations from which on a graph is searched for loops


def grad_and_value(captured: Captured, example: torch.Tensor, table: Table) -> Captured:
    """The graph of ``(gradient, value)`` of a function that gives one number."""
    if any(is_mutable(node.target) for node in captured.graph.nodes):
        captured = trace(captured.module, [example], captured.constants, decompositions_before_derivatives())
    known = constant_values(captured.graph, 1, captured.constants, captured.numbers)
    nodes = [node for node in captured.graph.nodes if node.op == "call_function" and node not in known]
    if len(nodes) > ROLLED:
        try:
            return _Function(captured, known, list(loops(nodes))).gradient(example, table)
        except (NotStraight, RuntimeError):  # of vmap, where it has no rule
            pass
    return _Function(captured, known, nodes).gradient(example, table)


class _Function:
    """A function of a vector, as ``items`` to be run in order."""

    def __init__(self, captured: Captured, known: dict[Node, torch.Tensor], items: Sequence[Node | Loop]) -> None:
        graph = captured.graph
        self.known, self.items = known, items
        self.vector = next(iter(graph.nodes))
        (self.result,) = next(iter(reversed(graph.nodes))).all_input_nodes

    def gradient(self, example: torch.Tensor, table: Table) -> Captured:
        constants: list[torch.Tensor] = []
        scans: list[Traced] = []

        def constant(make: Callable[[], torch.Tensor]) -> torch.Tensor:
            constants.append(make())
            return constants[-1]

        def histories(recurrence: Recurrence) -> Sequence[torch.Tensor]:
            scans.append(Traced(recurrence, _recorded(recurrence)))
            return scans[-1].histories

        self._run(example, constant, histories)
        given = [history for scan in scans for history in scan.histories]
        gradients = [torch.zeros_like(tensor) for scan in scans for tensor in scan.inputs if tensor.is_floating_point()]
        straight = trace(self._straight(len(given), len(gradients)), [example, *given, *gradients], constants, table)
        return _Wiring(straight, scans, table).finished() if scans else straight

    def _straight(self, given: int, gradients: int) -> Callable[..., Any]:
        """``(vector, *histories, *gradients of inputs, *constants)`` to gradient, value, gradients of histories, and inputs, of scans."""

        def forward(constants: Sequence[torch.Tensor], vector: torch.Tensor, *histories: torch.Tensor) -> Any:
            left, unread, inputs = iter(constants), iter(histories), list[torch.Tensor]()

            def read(recurrence: Recurrence) -> Sequence[torch.Tensor]:
                found = Traced(recurrence, tuple(next(unread) for _ in recurrence.kept))
                inputs.extend(found.inputs)
                return found.histories

            value = self._run(vector, lambda make: next(left), read)
            return (value, *(tensor for tensor in inputs if tensor.is_floating_point())), inputs

        def straight(vector: torch.Tensor, *rest: torch.Tensor) -> Any:
            constants = rest[given + gradients :]
            pulled: Any = torch.func.vjp(partial(forward, constants), vector, *rest[:given], has_aux=True)
            (value, *_), back, inputs = pulled
            gradient, *of_histories = back((torch.ones_like(value), *rest[given : given + gradients]))
            return (gradient, value, *of_histories, *inputs)

        return straight

    def _run(self, vector: torch.Tensor, constant: Callable[..., torch.Tensor], histories: Callable[..., Sequence[torch.Tensor]]) -> Any:
        rolled = Rolled(self.known, constant, histories)
        rolled.values[self.vector] = vector
        rolled.run(self.items)
        return rolled.value(self.result)


def _recorded(recurrence: Recurrence) -> tuple[torch.Tensor, ...]:
    """The histories as they were when the graph was recorded."""
    loop = recurrence.loop
    return tuple(
        torch.stack([node.meta["val"] for node in (*loop.before[at][::-1], *(step[at] for step in loop.steps))]) for at in recurrence.kept
    )


class _Wiring:
    """The straight graph with scans in the place of their results, and pullbacks in that of the gradients of their inputs."""

    def __init__(self, straight: Captured, scans: Sequence[Traced], table: Table) -> None:
        self.straight, self.scans, self.table = straight, scans, table
        self.graph = Graph()
        nodes = iter(straight.graph.nodes)
        self.vector = next(nodes)
        (results,) = next(iter(reversed(straight.graph.nodes))).args
        found = iter(results)
        self.gradient, self.value = next(found), next(found)
        self.histories = [[next(nodes) for _ in scan.histories] for scan in scans]
        self.adjoints = [[next(nodes) if tensor.is_floating_point() else None for tensor in scan.inputs] for scan in scans]
        self.of_histories = [[next(found) for _ in scan.histories] for scan in scans]
        self.inputs = [[next(found) for _ in scan.inputs] for scan in scans]
        self.origin = {node: (k, True) for k, group in enumerate(self.histories) for node in group}
        self.origin |= {node: (k, False) for k, group in enumerate(self.adjoints) for node in group if node is not None}
        self.constants = list(straight.constants)
        self.forward: dict[int, Scan] = {}
        self.new: dict[Node, Node] = {}

    def finished(self) -> Captured:
        for node in self.straight.graph.nodes:
            if node.op == "placeholder" and node not in self.origin:
                self.new[node] = self.graph.node_copy(node)
        for node in self._in_order([self.gradient, self.value]):
            if node in self.new:
                continue
            if node in self.origin:
                k, is_forward = self.origin[node]
                self._scan(k) if is_forward else self._pullback(k)
            else:
                self.new[node] = self.graph.node_copy(node, self.new.__getitem__)
        self.graph.output((self.new[self.gradient], self.new[self.value]))
        return Captured(self.graph, tuple(self.constants), self.straight.numbers)

    def _in_order(self, wanted: Sequence[Node]) -> Iterator[Node]:
        """What is needed for ``wanted``, each after what it needs itself."""
        done, stack = set[Node](), list(wanted[::-1])
        while stack:
            needs = [node for node in self._needs(stack[-1]) if node not in done]
            if needs:
                stack += needs
                continue
            node = stack.pop()
            if node not in done:
                done.add(node)
                yield node

    def _needs(self, node: Node) -> Sequence[Node]:
        if node not in self.origin:
            return node.all_input_nodes
        k, is_forward = self.origin[node]
        return self.inputs[k] if is_forward else [*self.inputs[k], *self.histories[k], *self.of_histories[k]]

    def _scan(self, k: int) -> None:
        scan = self.forward[k] = self.scans[k].scan(self.table)
        self._place(scan, self._split(k), self.histories[k])

    def _pullback(self, k: int) -> None:
        wanted = [node is not None and bool(node.users) for node in self.adjoints[k]]
        pullback: Pullback = self.scans[k].pullback(self.forward[k], wanted, self.table)
        histories = [self.new[node] for node in self.histories[k]]
        gradients = [self.new[node] for node in self.of_histories[k]]
        firsts = [first is not None for first in self.scans[k].recurrence.firsts]
        ahead = iter(self.adjoints[k])
        results = [next(ahead) if has_first else None for has_first in firsts]
        rest = [node for node, is_wanted in zip(self.adjoints[k], wanted, strict=True) if is_wanted and node not in results]
        self._place(pullback, (histories, *self._split(k)[1:], gradients), [*results, *rest])

    def _constant(self, value: torch.Tensor) -> Node:
        """One that was made inside of a loop, such as the identity that a matrix is inverted with, is one of the whole graph."""
        with self.graph.inserting_after([node for node in self.graph.nodes if node.op == "placeholder"][-1]):
            node = self.graph.placeholder(f"constant_of_loops_{len(self.constants)}")
        node.meta["val"] = value
        self.constants.append(value)
        return node

    def _split(self, k: int) -> tuple[list[Any], list[Node], list[Node]]:
        """The inputs of a scan, as it takes them."""
        r = self.scans[k].recurrence
        inputs = iter([self.new[node] for node in self.inputs[k]])
        firsts = [None if first is None else next(inputs) for first in r.firsts]
        return firsts, [next(inputs) for _ in r.each], list(inputs)

    def _place(self, target: Scan | Pullback, args: tuple[Any, ...], results: Sequence[Node | None]) -> None:
        node = self.graph.call_function(target, (*args, [self._constant(value) for value in target.body.constants]))
        for i, result in enumerate(results):
            if result is not None:
                self.new[result] = self.graph.call_function(operator.getitem, (node, i))
                self.new[result].meta = result.meta
