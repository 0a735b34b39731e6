"""Reads the module that Inductor writes: which kernels, which buffers, what is launched in which order on what.

Only what is understood is accepted: an unknown statement is ``NotStraight``, and the next tier is taken.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Any, Final

import attrs
import torch

from interpreters.kernels.graphs import NotStraight

_IGNORED: Final = frozenset({"assert_size_stride", "assert_alignment", "clear"})

# The library calls that an adapter can make, and what is known of their results beyond the first.
_INTO: Final = frozenset({"extern_kernels.mm", "extern_kernels.bmm"})
_RETURNING: Final[Mapping[str, tuple[torch.dtype, ...]]] = MappingProxyType(
    {"torch.ops.aten.linalg_solve_triangular.default": (), "torch.ops.aten.linalg_cholesky_ex.default": (torch.int32,)}
)


@attrs.frozen
class View:
    """A tensor at ``offset`` bytes into the memory called ``base``."""

    base: str
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    offset: int = 0

    @property
    def nbytes(self) -> int:
        """How far it reaches from where it begins."""
        span = 1 + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True)) if prod(self.size) else 0
        return span * self.dtype.itemsize


@attrs.frozen
class Kernel:
    """A C++ function named ``kernel`` and the C types of its pointer arguments."""

    types: tuple[str, ...]
    cpp: str


@attrs.frozen
class Step:
    """``target`` applied to views, results last: the name of a kernel, or that of a library call with its options."""

    target: str
    args: tuple[View, ...]
    options: Mapping[str, bool] = attrs.field(factory=dict)


@attrs.frozen
class Launches:
    """A whole module: inputs by name, kernels by name, buffers, steps, outputs."""

    inputs: tuple[str, ...]
    kernels: Mapping[str, Kernel]
    buffers: tuple[View, ...]
    steps: tuple[Step, ...]
    outputs: tuple[View, ...]

    @property
    def calls(self) -> int:
        """How many of the steps are library calls."""
        return sum(step.target not in self.kernels for step in self.steps)


def read(source: str, dtypes: tuple[torch.dtype, ...]) -> Launches:
    """``dtypes`` are those of the inputs; their layout stands in the source."""
    tree = ast.parse(source)
    kernels = {name: kernel for node in tree.body if (found := _kernel(node)) for name, kernel in [found]}
    (call,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "call")
    reader = _Reader(kernels, dtypes, _layouts(call))
    for statement in call.body:
        reader.read(statement)
    return Launches(tuple(reader.inputs), kernels, tuple(reader.buffers), tuple(reader.steps), tuple(reader.outputs))


def _layouts(call: ast.FunctionDef) -> dict[str, tuple[Any, Any]]:
    """Sizes and strides by name, as asserted: of inputs, and of what library calls return (perhaps under a second name)."""
    found = {}
    for node in reversed(call.body):
        match node:
            case ast.Expr(value=ast.Call(func=ast.Name(id="assert_size_stride"), args=[ast.Name(id=name), size, stride, *_])):
                found[name] = (ast.literal_eval(size), ast.literal_eval(stride))
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name() | ast.Subscript() as value) if name in found:
                found.setdefault(ast.unparse(value), found[name])
    return found


def _kernel(node: ast.stmt) -> tuple[str, Kernel] | None:
    """``cpp_fused_0 = async_compile.cpp_pybinding([types], source)``."""
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _name(node.value.func) == "cpp_pybinding":
        types, cpp = map(ast.literal_eval, node.value.args)
        return _name(node.targets[0]), Kernel(tuple(types), cpp)
    return None


class _Reader:
    """The statements of ``call``, one after the other."""

    def __init__(self, kernels: Mapping[str, Kernel], dtypes: tuple[torch.dtype, ...], layouts: Mapping[str, tuple[Any, Any]]) -> None:
        self.kernels, self.dtypes, self.layouts = kernels, dtypes, layouts
        self.inputs: list[str] = []
        self.views: dict[str, View] = {}
        self.results: dict[str, list[View]] = {}  # of library calls that return several
        self.buffers: list[View] = []
        self.steps: list[Step] = []
        self.outputs: list[View] = []

    def read(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Delete():
                pass
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Name(id="args")):
                self._take_inputs([_name(name) for name in names])
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call) if ast.unparse(call.func) in _RETURNING:
                self._return(name, call)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.views[name] = self._assigned(name, value)
            case ast.Expr(value=ast.Call() as call):
                self._launch(call)
            case ast.Return(value=ast.Tuple(elts=values)):
                self.outputs = [self._view(value) for value in values]
            case _:
                raise _unknown(statement)

    def _take_inputs(self, names: list[str]) -> None:
        self.inputs = names
        self.views = {name: self._laid_out(name, dtype) for name, dtype in zip(names, self.dtypes, strict=True)}

    def _laid_out(self, name: str, dtype: torch.dtype) -> View:
        return View(name, *self.layouts.get(name, ((), ())), dtype)

    def _return(self, name: str, call: ast.Call) -> None:
        """A library call that allocates what it returns: here, buffers like any other."""
        target = ast.unparse(call.func)
        args = [self._view(arg) for arg in call.args]
        options = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
        dtypes = (args[0].dtype, *_RETURNING[target])
        if len(dtypes) == 1:
            results = [self._laid_out(name, dtypes[0])]
            self.views[name] = results[0]
        else:
            views = [self._laid_out(f"{name}[{i}]", dtype) for i, dtype in enumerate(dtypes)]
            results = [attrs.evolve(view, base=f"{name}_{i}") for i, view in enumerate(views)]
            self.results[name] = results
        if any(not isinstance(option, bool) for option in options.values()):
            raise _unknown(call)
        self.buffers += results
        self.steps.append(Step(target, (*args, *results), options))

    def _assigned(self, name: str, value: ast.expr) -> View:
        match value:
            case ast.Call(func=ast.Name(id="empty_strided_cpu"), args=[size, stride, dtype]):
                view = View(name, ast.literal_eval(size), ast.literal_eval(stride), getattr(torch, _name(dtype)))
                self.buffers.append(view)
                return view
            case _:
                return self._view(value)

    def _view(self, value: ast.expr) -> View:
        match value:
            case ast.Name(id=name) if name in self.views:
                return self.views[name]
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=int(i))) if name in self.results:
                return self.results[name][i]
            case ast.Call(func=ast.Name(id="reinterpret_tensor"), args=[tensor, size, stride, offset]):
                base = self._view(tensor)
                skipped = ast.literal_eval(offset) * base.dtype.itemsize
                return attrs.evolve(base, size=ast.literal_eval(size), stride=ast.literal_eval(stride), offset=base.offset + skipped)
            case _:
                raise _unknown(value)

    def _launch(self, call: ast.Call) -> None:
        target = ast.unparse(call.func)
        if target in self.kernels and not call.keywords:
            self.steps.append(Step(target, tuple(map(self._view, call.args))))
        elif target in _INTO and [keyword.arg for keyword in call.keywords] == ["out"]:
            self.steps.append(Step(target, tuple(map(self._view, [*call.args, call.keywords[0].value]))))
        elif _name(call.func) not in _IGNORED:
            raise _unknown(call)


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _unknown(node: ast.AST) -> NotStraight:
    return NotStraight(f"Inductor calls a library where a kernel would be: {ast.unparse(node)}")
