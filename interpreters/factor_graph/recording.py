"""Recording: a function of tensors as the list of torch's operations that it does, with products along chains between them.

1. Operations are recorded once, with the values of then; run again with other values, they do the same without the program, and
   gradients pass.
2. A product along a chain (``scans.fast_product``) asks for values, which a tracer cannot answer. So its result is an input while
   operations are recorded, and its argument an output; then the call is put between them.
3. What is made of numbers alone is computed once. Tensors that the program refers to stay the same objects: a parameter that is
   changed in place, by an optimiser say, is read anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch.fx import Graph, GraphModule, Node

from interpreters.factor_graph.scans import fast_product
from interpreters.kernels.graphs import mapped
from interpreters.kernels.recording import Recorder, mark_failures

aten: Final = torch.ops.aten
Scan = Callable[[torch.Tensor], torch.Tensor]
_SHORTENED: Final = frozenset((aten.view.default, aten.expand.default, aten.permute.default, aten.index.Tensor))  # of one tensor, to one
_MADE: Final = frozenset((aten.zeros.default, aten.ones.default, aten.full.default, aten.arange.default, aten.arange.start,
                          aten.arange.start_step, aten.scalar_tensor.default, aten.eye.default))  # fmt: skip


def recorded(function: Callable[[Sequence[torch.Tensor], Scan], torch.Tensor], inputs: Sequence[torch.Tensor]) -> GraphModule:
    """``function(inputs, fast_product)`` as a module of ``inputs``; its operations are simplified. Raises what a tracer raises."""
    products: list[torch.Tensor] = []

    def noting(matrices: torch.Tensor) -> torch.Tensor:
        products.append(fast_product(matrices))
        return products[-1]

    def traced(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        arguments: list[torch.Tensor] = []

        def scan(matrices: torch.Tensor) -> torch.Tensor:
            arguments.append(matrices)
            return given[len(inputs) + len(arguments) - 1]

        return (function(given[: len(inputs)], scan), *arguments)

    with torch.no_grad():
        plain = [value.detach() for value in inputs]
        function(plain, noting)
        module = _module(traced, [*plain, *products])
    _put_products_between(module, len(inputs))
    _simplify(module)
    return module


class _Anew(Recorder):  # type: ignore[no-untyped-call]  # torch's own
    """Tensors that the program refers to are read anew by each call, so what depends on them varies; numbers that it writes are fixed.

    Whole numbers that it refers to are read anew, too, but by an operation alone: a look at one is a look at that of then.
    """

    def __init__(self, inputs: Sequence[torch.Tensor]) -> None:
        super().__init__(inputs, len(inputs), {})
        self.referred: dict[Node, torch.Tensor] = {}
        self._numbers: list[torch.Tensor] = []
        self._written: set[Node] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        if func is aten.lift_fresh.default:  # torch.tensor(0.5)
            self._numbers.append(func(*args))
            return self._numbers[-1]
        return super().__torch_dispatch__(func, types, args, kwargs)

    def _constant(self, value: torch.Tensor) -> Node:
        node = super()._constant(value)
        self.referred[node] = value
        if any(value is number for number in self._numbers):
            self._written.add(node)
        elif value.is_floating_point():  # a program may look at the whole numbers that it refers to: xs[i] does, and nobody trains them
            self.depending.add(node)
        return node

    def is_number(self, node: Node) -> bool:
        return node in self._written


def _module(function: Callable[..., Any], inputs: Sequence[torch.Tensor]) -> GraphModule:
    """``function`` as a module of ``inputs``, which refers to the same tensors as it."""
    recorder = _Anew(inputs)
    with recorder:
        result = function(*inputs)
    graph, root = recorder.graph, torch.nn.Module()
    graph.output(mapped(result, recorder.node_of))
    mark_failures(graph)
    for i, node in enumerate(recorder.constants):
        number = recorder.is_number(node)
        name = f"{'written' if number else 'tensor'}_{i}"
        setattr(root, name, node.meta["val"] if number else recorder.referred[node])  # the program may have written into its number
        with graph.inserting_before(node):
            read = graph.get_attr(name)
        read.meta = dict(node.meta)
        node.replace_all_uses_with(read)
        graph.erase_node(node)
    return GraphModule(root, graph)


def _put_products_between(module: GraphModule, inputs: int) -> None:
    """Calls ``fast_product`` where its argument is known, in place of the input that stood for its result."""
    graph = module.graph
    results = [node for node in graph.nodes if node.op == "placeholder"][inputs:]
    (output,) = (node for node in graph.nodes if node.op == "output")
    total, *arguments = output.args[0]
    for result, argument in zip(results, arguments, strict=True):
        with graph.inserting_after(argument):
            call = graph.call_function(fast_product, (argument,))
        call.meta = dict(result.meta)
        result.replace_all_uses_with(call)
        graph.erase_node(result)
    output.args = (total,)


def _simplify(module: GraphModule) -> None:
    _fold(module)
    for node in module.graph.nodes:
        if node.op == "call_function":
            _shorten(module, node)
    module.graph.eliminate_dead_code()
    module.recompile()


def _fold(module: GraphModule) -> None:
    """Computes what is made of numbers alone."""
    known = {
        node: getattr(module, node.target) for node in module.graph.nodes if node.op == "get_attr" and node.target.startswith("written_")
    }
    for node in [node for node in module.graph.nodes if node.op == "call_function"]:
        if not _is_fixed(node, known):
            continue
        args, kwargs = torch.fx.node.map_arg(
            (node.args, node.kwargs), lambda at: known[at] if at in known else getattr(module, str(at.target))
        )
        known[node] = node.target(*args, **kwargs)
    for i, (node, value) in enumerate(known.items()):
        if any(user not in known for user in node.users):
            module.register_buffer(f"number_{i}", value)
            with module.graph.inserting_before(node):
                constant = module.graph.get_attr(f"number_{i}")
            constant.meta["val"] = value
            node.replace_all_uses_with(constant, delete_user_cb=lambda user: user not in known)


def _is_fixed(node: Node, known: dict[Node, torch.Tensor]) -> bool:
    return bool(node.target in _MADE or node.all_input_nodes) and all(at in known for at in node.all_input_nodes)


def _shorten(module: GraphModule, node: Any) -> None:
    """Leaves out what changes nothing, and reads what lies one after the other as a slice, whose gradient is none of scattered parts."""
    before: Any = node.args[0] if node.args and isinstance(node.args[0], Node) else None
    if before is None or node.target not in _SHORTENED:
        return
    graph, shape = module.graph, _value(node).shape
    if node.target is aten.view.default and before.target is aten.view.default:
        node.args = (before := before.args[0], node.args[1])
    same = _value(before).shape == shape
    if (node.target in (aten.view.default, aten.expand.default) and same) or (
        node.target is aten.permute.default and list(node.args[1]) == list(range(len(shape)))
    ):
        node.replace_all_uses_with(before)
    elif node.target is aten.index.Tensor and len(node.args[1]) == 1 and isinstance(index := node.args[1][0], Node):
        first = _first_of_range(module, index)
        if first is not None:
            node.replace_all_uses_with(_slice(graph, node, before, first, _value(index).numel()))


def _slice(graph: Graph, node: Node, whole: Node, first: int, count: int) -> Node:
    """``node``, which takes ``count`` rows of ``whole`` from the first on."""
    with graph.inserting_before(node):
        part = whole if _value(whole).shape[0] == count else graph.call_function(aten.slice.Tensor, (whole, 0, first, first + count))
        short: Node = graph.call_function(aten.reshape.default, (part, list(_value(node).shape)))
    part.meta.setdefault("val", _value(whole)[first : first + count])
    short.meta["val"] = _value(node)
    return short


def _first_of_range(module: GraphModule, index: Node) -> int | None:
    """The first of consecutive numbers, if an index is a constant of those."""
    if index.op != "get_attr" or not str(index.target).startswith("number_"):
        return None
    value = getattr(module, str(index.target)).reshape(-1)
    if not len(value) or value.dtype not in (torch.int64, torch.int32) or value[0] < 0:
        return None
    return int(value[0]) if torch.equal(value, torch.arange(int(value[0]), int(value[0]) + len(value), dtype=value.dtype)) else None


def _value(node: Node) -> Any:
    return node.meta["val"]
