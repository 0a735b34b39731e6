"""Inside of ``torch.func.vmap``: many runs in one, each of which sees the shapes of a single run.

A tensor that differs from run to run hides its dimension there. What is drawn for all runs, and what torch's distributions ask of all of
them when they validate, needs the whole: a function of autograd's is handed it by its ``vmap`` rule.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import attrs
import torch
from torch.overrides import TorchFunctionMode

from interpreters.batches.in_turn import InTurn
from interpreters.callers import asker, is_ours, module_of
from interpreters.validation import BETWEEN
from poutine.equivalents import is_close

T = TypeVar("T")


class Inside:
    """Steps inside of vmap over ``size`` runs. A tensor of one step is one of the next: it stays a tensor of that depth of vmap.

    told:     is called with a sentence about each line that asks for what vmap has no rule for (``in_turn``).
    refusal:  what torch last raised in code that is neither its own nor of this library. Who goes on after it does so for all runs, though
              it may be the error of one.
    """

    def __init__(self, size: int, told: Callable[[str], object] | None = None) -> None:
        self.size, self.in_turn = size, InTurn(told)
        self.refusal: str | None = None
        self._index = torch.arange(size)

    def step(self, act: Callable[[Any], T], given: Any = None) -> T:
        """``act(given)`` inside: there, each tensor of ``given``, of shape [size, *shape], has ``shape``; None has none. Its value is no run's own."""
        found: list[T] = []

        def inside(index: torch.Tensor, part: Any) -> torch.Tensor:
            self._mapped = index
            with _WholeTruth(self):
                found.append(act(part))
            return index

        torch.func.vmap(inside, in_dims=(0, None if given is None else 0))(self._index, given)
        return found[0]

    def whole(self, *tensors: torch.Tensor) -> list[tuple[torch.Tensor, bool]]:
        """For each tensor of a step: all of it, and whether it differs from run to run; then its first dimension is theirs."""
        opened = _Opened()
        _Open.apply(self._mapped, opened, *tensors)  # type: ignore[no-untyped-call]  # torch's own
        pairs = zip(opened.tensors, opened.dims, strict=True)
        return [(tensor, False) if dim is None else (tensor.movedim(dim, 0), True) for tensor, dim in pairs]

    def rows(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of a step as [size, *shape]; what is the same in all runs is repeated."""
        ((whole, differs),) = self.whole(tensor)
        return whole if differs else whole.expand(self.size, *whole.shape)


@attrs.define
class _Opened:
    tensors: tuple[torch.Tensor, ...] = ()
    dims: tuple[int | None, ...] = ()


class _Open(torch.autograd.Function):
    """Notes what its arguments are under vmap. The first differs from run to run, so that there always is a rule to call."""

    @staticmethod
    def forward(index: torch.Tensor, opened: _Opened, *tensors: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("not inside of vmap")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: there is no gradient of a note."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, index: torch.Tensor, opened: _Opened, *tensors: torch.Tensor) -> tuple[torch.Tensor, int]:
        opened.tensors, opened.dims = tensors, in_dims[2:]
        return index, in_dims[0]


class _WholeTruth(TorchFunctionMode):
    """While entered, what torch's distributions ask when they validate is answered for all runs: valid is what is valid in each.

    Inside of another vmap, this asks the same of all runs there.
    What torch raises is noted, if the program may catch it.

    They ask ``torch._is_all_true``, ``_is_any_true`` or, of a few, for the truth of a tensor. To all others vmap refuses an answer: there, a
    branch is each run's own.
    """

    def __init__(self, inside: Inside) -> None:
        super().__init__()
        self._inside = inside

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch._is_all_true:
            return self._verdict(args[0])
        if func is torch._is_any_true:
            return bool(torch._is_any_true(self._whole(args[0])))
        if func is torch.Tensor.__bool__ and asker(BETWEEN) in _VALIDATING:
            return self._verdict(args[0])
        if func is torch.isclose:  # it has no rule under vmap
            return is_close(*args, **(kwargs or {}))
        if func is torch.Tensor.__format__ and asker(BETWEEN).startswith("torch.distributions"):  # it says what is invalid
            return format(self._whole(args[0]), *args[1:])
        try:
            if self._inside.in_turn.applies(func, args, kwargs or {}):
                return self._inside.in_turn.done(func, args, kwargs or {})
            return func(*args, **(kwargs or {}))
        except Exception as error:
            self._note(str(error))
            raise

    def _verdict(self, valid: torch.Tensor) -> bool:
        verdict = bool(torch._is_all_true(self._whole(valid)))
        if not verdict:
            self._note("an argument of a distribution is invalid")
        return verdict

    def _note(self, refusal: str) -> None:
        if _is_the_programs():
            self._inside.refusal = refusal

    def _whole(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._inside.whole(tensor)[0][0]


_DRIVER: Final = "poutine.driver.engine"
_VALIDATING: Final = frozenset(("torch.distributions.constraints", "torch.distributions.geometric"))


def _is_the_programs() -> bool:
    """Whether there is code of others between here and what drives the program."""
    frame = sys._getframe(2)
    while frame.f_back is not None and module_of(frame) != _DRIVER:
        if not is_ours(module_of(frame)):
            return True
        frame = frame.f_back
    return False
