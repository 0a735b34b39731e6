"""From a function of tensors to a straight-line graph: functional, decomposed, without dead code, constants folded.

What does not depend on the inputs that vary is computed now. Equal numbers become one number, so that a kernel need not load them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.fx import Graph, Node

from interpreters.kernels.graphs import Captured, NotStraight, Table, has_dynamic_shape, is_mutable, is_random
from interpreters.kernels.recording import recorded


def lower(captured: Captured, example: torch.Tensor, table: Table) -> Captured:
    """The same function, functional and decomposed by ``table``, constants folded."""
    return trace(captured.module, [example], captured.constants, table)


def trace(function: Callable[..., Any], varying: Sequence[torch.Tensor], constants: Sequence[torch.Tensor], table: Table) -> Captured:
    """The graph of ``function(*varying, *constants)``, in which the constants are folded. Raises ``NotStraight``."""
    graph, found = recorded(function, [*varying, *constants], len(varying), table)
    with torch.no_grad():
        folded = _folded(graph, len(varying), [*constants, *found])
    _require_straight(folded)
    return folded


def constant_values(
    graph: Graph, varying: int, constants: Sequence[torch.Tensor], numbers: torch.nn.Module | None = None
) -> dict[Node, torch.Tensor]:
    """The nodes that do not depend on the first ``varying`` inputs, and their values; ``numbers`` are those that the graph names."""
    values: dict[Node, Any] = {}
    inputs = [node for node in graph.nodes if node.op == "placeholder"][varying:]
    values.update(zip(inputs, constants, strict=True))
    for node in graph.nodes:
        if node.op == "get_attr":
            values[node] = getattr(numbers, str(node.target))
        if node.op == "call_function" and not is_random(node.target) and all(argument in values for argument in node.all_input_nodes):
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = node.target(*args, **kwargs)
    return values


def _folded(old: Graph, varying: int, constants: Sequence[torch.Tensor]) -> Captured:
    """The graph whose inputs are those that vary, and those constants that are left when everything constant is computed."""
    values = constant_values(old, varying, constants)
    _count_from_the_front(old, values)
    needed = _needed(old, values)
    kept = [node for node in needed if not _is_uniform(values[node])]
    new, numbers = Graph(), torch.nn.Module()
    inputs = [node for node in old.nodes if node.op == "placeholder"][:varying]
    copied: dict[Node, Any] = {node: new.node_copy(node) for node in inputs}
    copied.update((node, _constant(new, i, values[node])) for i, node in enumerate(kept))
    copied.update((node, _uniform(new, numbers, values[node])) for node in needed if node not in copied)
    for node in old.nodes:
        if node not in copied and node not in values:
            copied[node] = new.node_copy(node, copied.__getitem__)
    return Captured(_without_repetition(new), tuple(values[node] for node in kept), numbers)


def _count_from_the_front(graph: Graph, values: dict[Node, Any]) -> None:
    """Indices that are constant and count from the back are made to count from the front, so that no kernel need look at their sign."""
    aten = torch.ops.aten
    for node in list(graph.nodes):
        if node in values or node.target not in (aten.index.Tensor, aten.index_put.default):
            continue
        array, indices, *rest = node.args
        shape = (values[array] if array in values else array.meta["val"]).shape
        node.args = (array, [_counted(graph, node, values, index, shape[dim]) for dim, index in enumerate(indices)], *rest)


def _counted(graph: Graph, before: Node, values: dict[Node, Any], index: Any, size: int) -> Any:
    if index not in values or values[index].dtype == torch.bool or not bool((values[index] < 0).any()):
        return index
    with graph.inserting_before(before):
        counted = graph.call_function(torch.ops.aten.remainder.Scalar, (index, size))
    values[counted] = values[index] % size
    return counted


def _without_repetition(graph: Graph) -> Graph:
    """The same operation on the same arguments, once. Torch's own pass imports Inductor for it."""
    new, copied, found = Graph(), dict[Node, Node](), dict[str, Node]()
    for node in graph.nodes:
        if node.op != "call_function":
            copied[node] = new.node_copy(node, copied.__getitem__)
            continue
        key = repr((node.target, *torch.fx.node.map_arg((node.args, node.kwargs), copied.__getitem__)))
        if key not in found or is_random(node.target) or is_mutable(node.target):
            found[key] = new.node_copy(node, copied.__getitem__)
        copied[node] = found[key]
    return new


def _needed(graph: Graph, values: Mapping[Node, Any]) -> list[Node]:
    """The constants that the rest of the graph reads."""
    rest = (node for node in graph.nodes if node not in values and node.op != "placeholder")
    return list(dict.fromkeys(argument for node in rest for argument in node.all_input_nodes if argument in values))


def _is_uniform(value: torch.Tensor) -> bool:
    return value.numel() > 0 and bool((value == value.reshape(-1)[0]).all())


def _constant(graph: Graph, i: int, value: torch.Tensor) -> Node:
    node = graph.placeholder(f"constant_{i}")
    node.meta["val"] = value
    return node


def _uniform(graph: Graph, numbers: torch.nn.Module, value: torch.Tensor) -> Node:
    """A tensor of one number: itself if it is a scalar (then it takes part in type promotion as one), else ``full``."""
    if value.dim() == 0:
        name = f"number_{len(list(numbers.buffers()))}"
        numbers.register_buffer(name, value)
        node = graph.get_attr(name)
    else:
        number = value.reshape(-1)[0].item()
        node = graph.call_function(torch.ops.aten.full.default, (list(value.shape), number), {"dtype": value.dtype, "device": value.device})
    node.meta["val"] = value
    return node


def _require_straight(captured: Captured) -> None:
    for node in captured.graph.nodes:
        if node.op == "call_function" and (is_random(node.target) or is_mutable(node.target)):
            raise NotStraight(f"{node.target} in the log density")
        if has_dynamic_shape(node.target) and node.target is not torch.ops.aten.index.Tensor:
            raise NotStraight(f"{node.target} in the log density: how many there are depends on the values")
    if any(constant.device.type != "cpu" for constant in captured.constants):
        raise NotStraight("its data are not on the CPU")
