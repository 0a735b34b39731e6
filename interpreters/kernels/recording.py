"""A function of tensors as a graph: the operations of one run on numbers, in order.

A mode below autograd sees each operation once, and the tensors are what the program would hold anyway: that costs microseconds
an operation, and a recursion over time has thousands. Tensors that the program met on the way are copied: they are constants
of the graph. Which operations there are must not depend on what varies, and nothing may be drawn. What is written in place is found
again where it is read (``buffers``): the graph is functional.

The mode is that of the thread that it runs on, and nothing else is changed: torch's ``make_fx`` patches modules and its table of
decompositions for all threads, so that only one could compile at a time, and none could call a module meanwhile.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import torch
from torch.fx import Graph, Node
from torch.utils._python_dispatch import TorchDispatchMode

from interpreters.kernels.buffers import Buffer, memory_of
from interpreters.kernels.decompositions import decompositions_before_derivatives
from interpreters.kernels.graphs import Captured, NotStraight, Table, has_dynamic_shape, is_mutable, is_random, mapped, remove_dead_code

# Which of the results tells of a failure, of operations that raise at one where they are not recorded.
_INFO: Final[Mapping[Any, int]] = MappingProxyType(
    {torch.ops.aten.linalg_cholesky_ex.default: 1, torch.ops.aten.linalg_inv_ex.default: 1, torch.ops.aten._linalg_solve_ex.default: 3}
)


def record(function: Callable[[torch.Tensor], torch.Tensor], example: torch.Tensor) -> Captured:
    """The graph of ``function``, as it runs at ``example``; each node's ``meta["val"]`` is what it was there."""
    graph, constants = recorded(function, [example], 1, decompositions_before_derivatives())
    mark_failures(graph)
    return Captured(graph, constants)


def recorded(
    function: Callable[..., Any], inputs: Sequence[torch.Tensor], varying: int, table: Table
) -> tuple[Graph, tuple[torch.Tensor, ...]]:
    """The graph of ``function(*inputs)``, decomposed by ``table``, and the constants that are its inputs, too, after those.

    The first ``varying`` of the inputs are those that vary.
    """
    recorder = Recorder(inputs, varying, table)
    with torch.no_grad(), recorder:
        result = function(*inputs)
    recorder.graph.output(mapped(result, recorder.node_of))
    remove_dead_code(recorder.graph)
    return recorder.graph, tuple(node.meta["val"] for node in recorder.constants)


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Tensors are known by their ``id``, and so kept alive."""

    def __init__(self, inputs: Sequence[torch.Tensor], varying: int, table: Table) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.table = table
        self.graph = Graph()
        self.nodes: dict[int, Node] = {}
        self.alive: list[torch.Tensor] = []
        self.of_alive: list[Node] = []
        self.constants: list[Node] = []
        self.seen: dict[int, list[tuple[torch.Tensor, Node]]] = {}  # those of the first ``looked_at`` that are alive, by their memory
        self.looked_at = 0
        self.buffers: dict[int, Buffer] = {}
        self.inputs = [self._note(tensor, self.graph.placeholder(f"input_{i}")) for i, tensor in enumerate(inputs)]
        self.depending = set(self.inputs[:varying])

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """What would keep Dynamo away from the mode imports it, which takes a second."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        with self:
            for simpler in (self.table.get(func), func.decompose):  # the latter of what torch itself knows as made of others
                if simpler is not None and (found := simpler(*args, **(kwargs or {}))) is not NotImplemented:
                    return found
        if is_random(func):
            raise NotStraight(f"{func} in the log density")
        if is_mutable(func):
            return self._write(func, *args, **(kwargs or {}))
        if args and self._is_buffer(args[0]) and _is_view(func):
            return func(*args, **(kwargs or {}))
        node = self.graph.call_function(func, *mapped((args, dict(kwargs or {})), self.node_of))
        depends = not self.depending.isdisjoint(node.all_input_nodes)
        if depends and has_dynamic_shape(func) and self._decides_shape(node):
            raise NotStraight(f"{func} in the log density: how many there are depends on the values")
        try:
            result = func(*args, **(kwargs or {}))
        except Exception:
            self.graph.erase_node(node)  # whoever catches it goes on without
            raise
        if depends and not isinstance(result, torch.Tensor | tuple | list | None):
            raise NotStraight(f"data-dependent control flow: the program asks for {func} of what depends on a latent site")
        self._keep(node, result, depends)
        return result

    def node_of(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if self._is_buffer(value):
            return self._read(value)
        node = self.nodes.get(id(value))
        return self._constant(value) if node is None else node

    def _is_buffer(self, value: Any) -> bool:
        return bool(self.buffers) and isinstance(value, torch.Tensor) and memory_of(value) in self.buffers

    def _read(self, view: torch.Tensor) -> Node:
        buffer = self.buffers[memory_of(view)]
        if view.dtype != buffer.dtype or not buffer.covers(view):
            raise NotStraight("a tensor that was written to in place is read as another one")
        return buffer.read(view, self._emit, lambda index: self._constant(index))

    def _emit(self, target: Any, *args: Any) -> Node:
        node = self.graph.call_function(target, args)
        if not self.depending.isdisjoint(node.all_input_nodes):
            self.depending.add(node)
        return self._note(target(*mapped(args, lambda arg: arg.meta["val"] if isinstance(arg, Node) else arg)), node)

    def _write(self, func: Any, view: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """What an operation in place would make anew, written into ``view``."""
        if not isinstance(view, torch.Tensor) or "out" in kwargs:
            raise NotStraight(f"{func} in the log density")
        with self:
            made = _made(func, view, *args, **kwargs)
        if torch.Tag.inplace_view in func.tags:
            return self._reshape(func, view, made, *args, **kwargs)
        node = self.node_of(made)
        self._buffer(view).write(view, node)
        return view.copy_(made)

    def _reshape(self, func: Any, view: torch.Tensor, made: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The same numbers in another shape: ``made`` is what the tensor is now, as others know it."""
        memory, before = memory_of(view), view.detach()
        if memory not in self.buffers:
            if (old := self.nodes.get(id(view))) is not None:
                old.meta["val"] = before  # the writer of C++ takes its shape
            node = self.node_of(made)
            self.seen[memory] = [(before if tensor is view else tensor, node) for tensor, node in self._seen(memory)]
            self.nodes[id(view)] = node
        result: torch.Tensor = func(view, *args, **kwargs)
        return result

    def _seen(self, memory: int) -> list[tuple[torch.Tensor, Node]]:
        """The tensors that share this memory, first come first, and what they are. Few programs ask."""
        for tensor, node in zip(self.alive[self.looked_at :], self.of_alive[self.looked_at :], strict=True):
            self.seen.setdefault(memory_of(tensor), []).append((tensor, node))
        self.looked_at = len(self.alive)
        return self.seen.get(memory, [])

    def _buffer(self, view: torch.Tensor) -> Buffer:
        """The memory of ``view``; what it was before, nodes remember in memory of their own."""
        memory = memory_of(view)
        if memory not in self.buffers:
            if not self._seen(memory):
                self._constant(view)
            seen = self._seen(memory)
            for _, node in seen:
                node.meta["val"] = node.meta["val"].clone()
            self.buffers[memory] = Buffer(*seen[0])
        return self.buffers[memory]

    def _constant(self, value: torch.Tensor) -> Node:
        before = self.constants or self.inputs
        with self.graph.inserting_after(before[-1]) if before else self.graph.inserting_before(None):  # None: at the beginning
            node = self.graph.placeholder(f"constant_{len(self.constants)}")
        self.constants.append(node)
        self._note(value, node)
        node.meta["val"] = value.detach().clone()
        return node

    def _keep(self, node: Node, result: Any, depends: bool) -> None:
        found = [node]
        if isinstance(result, torch.Tensor):
            self._note(result, node)
        elif isinstance(result, tuple | list):
            node.meta["val"] = result
            found += [self._note(part, self.graph.call_function(operator.getitem, (node, i))) for i, part in enumerate(result)]
        else:
            self.graph.erase_node(node)
        if depends:
            self.depending.update(found)

    def _note(self, value: torch.Tensor, node: Node) -> Node:
        self.nodes[id(value)] = node
        self.alive.append(value)
        self.of_alive.append(node)
        node.meta["val"] = value
        return node

    def _decides_shape(self, node: Node) -> bool:
        if node.target is not torch.ops.aten.index.Tensor:
            return True
        indices: Any = node.args[1]
        return any(index in self.depending and index.meta["val"].dtype == torch.bool for index in indices if index is not None)


def _is_view(operation: Any) -> bool:
    return any(result.alias_info is not None for result in operation._schema.returns)


def _made(operation: Any, view: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """What ``view`` is after an operation in place, made by one that is not."""
    name = operation._schema.name.partition("::")[2].removesuffix("_")
    if name in ("copy", "fill", "zero"):
        value = torch.as_tensor(args[0] if args else 0, dtype=view.dtype)
        return value if value.shape == view.shape else value.expand(view.shape)
    functional = getattr(getattr(torch.ops.aten, name, None), operation._overloadname, None)
    if functional is None or functional is operation:
        raise NotStraight(f"{operation} in the log density")
    made: torch.Tensor = functional(view, *args, **kwargs)
    return made.to(view.dtype)


def mark_failures(graph: Graph) -> None:
    """A Cholesky factor of what is not positive definite is nan, and so is the density; the error that eager code raises is no value.

    So is the inverse of a singular matrix, and the solution of its equations.
    """
    aten = torch.ops.aten
    for node in list(graph.nodes):
        if node.target is not operator.getitem or node.args[1] != 0 or (which := _INFO.get(node.args[0].target)) is None:
            continue
        info = _after(node, operator.getitem, node.args[0], which)
        failed = _after(info, aten.ne.Scalar, info, 0)
        for _ in range(node.meta["val"].dim() - info.meta["val"].dim()):
            failed = _after(failed, aten.unsqueeze.default, failed, -1)
        marked = _after(failed, aten.masked_fill.Scalar, node, failed, math.nan)
        node.replace_all_uses_with(marked, delete_user_cb=lambda user, marked=marked: user is not marked)


def _after(place: Node, target: Any, *args: Any) -> Node:
    with place.graph.inserting_after(place):
        node = place.graph.call_function(target, args)
    node.meta["val"] = target(*mapped(args, lambda arg: arg.meta["val"] if isinstance(arg, Node) else arg))
    return node
