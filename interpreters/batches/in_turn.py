"""Operations that torch's vmap has no rule for, done for one run after the other.

Torch would do so itself, with a warning that tells neither who asked for it nor where. Here, it is told in words, once for each line.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from interpreters.callers import is_ours, module_of

T = TypeVar("T")
_functorch: Any = torch._C._functorch
_dispatcher: Any = torch._C


def _names(operations: Iterable[str]) -> frozenset[str]:
    return frozenset(name.removeprefix("aten::").partition(".")[0] for name in operations if name.startswith("aten::"))


def _gives_tensors(name: str) -> bool:
    """Whether all results of all forms of an operation are tensors."""
    return all(str(result.type) == "Tensor" for form in torch._C._jit_get_schemas_for_operator(f"aten::{name}") for result in form.returns)


# Where the dispatcher keeps the rules for vmap, and its refusals of what draws.
_RULES: Final = ("FuncTorchBatched", "FuncTorchBatchedDecomposition", "FuncTorchVmapMode")
_RULED: Final = frozenset[str]().union(*(_names(_dispatcher._dispatch_get_registrations_for_dispatch_key(key)) for key in _RULES))
_WITHOUT: Final = frozenset(filter(_gives_tensors, _names(_dispatcher._dispatch_get_all_op_names()) - _RULED))


def at_once(function: Callable[..., T]) -> Callable[..., T]:
    """``torch.func.vmap(function)``, in which such operations are done without a word.

    To look at each operation takes time. Where a call had none, later ones are not looked at: under vmap, what a function does depends on no value.
    """
    batched = torch.func.vmap(function)
    looking: InTurn | None = InTurn()

    def looked_at(*args: Any) -> T:
        nonlocal looking
        if looking is None:
            return batched(*args)
        with looking:
            result = batched(*args)
        looking = looking if looking.found else None
        return result

    return looked_at


class InTurn(TorchFunctionMode):
    """Finds such operations, and does them; while it is entered, in this thread, it does all.

    told:   is called with one sentence for each line that asks for one, and each operation.
    found:  these sentences.
    """

    def __init__(self, told: Callable[[str], object] | None = None) -> None:
        super().__init__()
        self._told, self.found = told, set[str]()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return self.done(func, args, kwargs or {}) if self.applies(func, args, kwargs or {}) else func(*args, **(kwargs or {}))

    def applies(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether vmap is innermost, over plain tensors, and has no rule for ``func`` of these arguments."""
        if getattr(func, "__name__", "") not in _WITHOUT:
            return False
        innermost = _functorch.peek_interpreter_stack()
        if innermost is None:
            return False
        wrapped = [leaf for leaf in tree_flatten((args, dict(kwargs)))[0] if _is_wrapped(leaf)]
        return bool(wrapped) and all(_is_of(leaf, innermost.level()) for leaf in wrapped)

    def done(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """``func(*args, **kwargs)``, once for each run. What it writes in place, it writes into the first argument."""
        name = func.__name__
        self._tell(name)
        leaves, spec = tree_flatten((args, dict(kwargs)))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        kinds: set[type] = set()

        def one(*tensors: torch.Tensor) -> Any:
            own = list(leaves)
            for i, tensor in zip(places, tensors, strict=True):
                own[i] = tensor.clone() if name.endswith("_") else tensor
            row_args, row_kwargs = tree_unflatten(own, spec)
            result = func(*row_args, **row_kwargs)
            kinds.add(type(result))
            return result

        found = _Each.apply(one, *(leaves[i] for i in places))  # type: ignore[no-untyped-call]  # torch's own
        (kind,) = kinds
        if name.endswith("_"):
            return args[0].copy_(found)
        return kind(found) if issubclass(kind, tuple) else found  # one with names, of several results

    def _tell(self, name: str) -> None:
        text = f"{_line()}torch has no batched {name}: it is done for one run after the other, which takes longer"
        if self._told is not None and text not in self.found:
            self._told(text)
        self.found.add(text)


class _Each(torch.autograd.Function):
    """A function of tensors, for each run alone: all of it is its rule under vmap."""

    @staticmethod
    def forward(one: Callable[..., Any], *tensors: torch.Tensor) -> Any:
        raise RuntimeError("not inside of vmap")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: the rule is made of operations that have gradients of their own."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, one: Callable[..., Any], *tensors: torch.Tensor) -> Any:
        parts = [
            [tensor] * info.batch_size if dim is None else tensor.unbind(dim) for tensor, dim in zip(tensors, in_dims[1:], strict=True)
        ]
        rows = [one(*row) for row in zip(*parts, strict=True)]
        if isinstance(rows[0], torch.Tensor):
            return torch.stack(rows), 0
        columns = tuple(map(torch.stack, zip(*rows, strict=True)))
        return columns, (0,) * len(columns)


def _is_wrapped(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and bool(_functorch.is_functorch_wrapped_tensor(leaf))


def _is_of(leaf: torch.Tensor, level: int) -> bool:
    """Whether a tensor is one of plain tensors, in runs at this depth of vmap."""
    is_batched = _functorch.is_batchedtensor(leaf) and _functorch.maybe_get_level(leaf) == level
    return is_batched and not _is_wrapped(_functorch.get_unwrapped(leaf))


def _line() -> str:
    """The line of the program that asks, if it is one of the program's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and is_ours(module_of(frame)):
        frame = frame.f_back
    if is_ours(module_of(frame)) or not frame.f_code.co_filename.endswith(".py"):
        return ""
    code = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return f"`{code}` ({Path(frame.f_code.co_filename).name}:{frame.f_lineno}): "
