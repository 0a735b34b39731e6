"""Looks of a program at what is enumerated: where it asks which value it is, as a number of Python's, there are many answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from interpreters.callers import asker, is_ours
from interpreters.errors import NotVectorizable

_NUMBERS: Final = frozenset(
    {torch.Tensor.__bool__, torch.Tensor.__int__, torch.Tensor.__float__, torch.Tensor.__index__, torch.Tensor.item, torch.is_nonzero}
)  # of a tensor of one element; torch itself refuses the others
_LOOKS: Final = frozenset({
    *_NUMBERS, torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.__contains__, torch.equal, torch.Tensor.equal,
    torch.allclose, torch.Tensor.allclose, torch.nonzero, torch.Tensor.nonzero, torch.argwhere, torch.Tensor.argwhere, torch.unique,
    torch.Tensor.unique, torch.unique_consecutive, torch.Tensor.unique_consecutive, torch.masked_select, torch.Tensor.masked_select,
})  # fmt: skip
_LIKE: Final = frozenset(
    {torch.Tensor.type_as, torch.Tensor.expand_as, torch.Tensor.view_as, torch.Tensor.reshape_as}
)  # the first argument
_BETWEEN: Final = frozenset({"torch.overrides", "torch._tensor", "torch.functional", "torch._jit_internal", __name__})
_MARK: Final = "_depends_on_what_is_enumerated"


class NoLooks(TorchFunctionMode):
    """While entered, in this thread, raises ``NotVectorizable`` where a program looks at what is computed from a marked tensor.

    What is computed from it is marked, too, however few dimensions are left: ``bool((z == 3).all())`` is one number, of all values of z.
    What only takes the shape or the type of one is not.
    A write through a view, and a function with a derivative of its own, are not followed.
    """

    def __init__(self, sites: Collection[str]) -> None:
        """``sites`` are the names of those that are enumerated, as it grows."""
        super().__init__()
        self._sites = sites

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if not (_is_any_marked(args) or (kwargs and _is_any_marked(kwargs.values()))):
            return func(*args, **(kwargs or {}))
        if (
            func in _LOOKS and not (func in _NUMBERS and args[0].numel() != 1) and not is_ours(asker(_BETWEEN))
        ):  # these ask whether all numbers are valid
            raise NotVectorizable(
                f"with all values at once of {', '.join(self._sites)}, the program asks for {getattr(func, '__name__', func)} of what depends on "
                "them; what it does must not depend on which value it is (if x:, int(x), x.tolist()): make the branch a torch.where, a mask or an "
                "index into a tensor, or use interpreters.enumeration.exact, which runs it once for each value"
            )
        result = func(*args, **(kwargs or {}))
        if func is torch.broadcast_tensors or func in _LIKE:  # as distributions do with their parameters
            for each, of in zip(result if isinstance(result, (tuple, list)) else [result], args, strict=False):
                if is_marked(of):
                    mark(each)
            return result
        for each in result if isinstance(result, (tuple, list)) else (args[:1] if result is None else (result,)):
            mark(each)
        return result


def mark(value: Any) -> None:
    if isinstance(value, torch.Tensor):
        setattr(value, _MARK, True)


def is_marked(value: torch.Tensor) -> bool:
    return hasattr(value, _MARK)


def _is_any_marked(values: Any) -> bool:
    for value in values:
        if isinstance(value, torch.Tensor):
            if is_marked(value):
                return True
        elif isinstance(value, (tuple, list)) and _is_any_marked(value):
            return True
    return False
