"""Rounding: where a program rounds what is in double precision to single, without having been asked.

Torch does so in three places. What is written into a tensor takes the type of that: ``h = torch.zeros(n); h[0] = mu``. A single number has
no say in the type of a product with many: ``torch.ones(n) * mu``. And what is solved takes the type of the matrix. A density that is
otherwise double then has seven digits, and gradients to match.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from interpreters.callers import is_ours, module_of
from poutine import Choice
from poutine.tensors import tensors_in

_SINGLE: Final = frozenset({torch.float32, torch.float16, torch.bfloat16})
_ASKED: Final = frozenset(
    {torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16, torch.Tensor.to, torch.Tensor.type, torch.Tensor.type_as}
)


class RoundingNotice(TorchFunctionMode):
    """While entered, in this thread, warns (``RuntimeWarning``) of the first line that rounds what autograd follows.

    ``scored`` tells which site's log density is being computed, if one is: its distribution is where the type comes from.
    """

    def __init__(self, scored: Callable[[], Choice | None]) -> None:
        super().__init__()
        self._scored, self._told = scored, False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        result = func(*args, **options)
        made = args[0] if func is torch.Tensor.__setitem__ else result
        if isinstance(made, torch.Tensor) and made.dtype in _SINGLE and not (self._told or func in _ASKED or "dtype" in options):
            if any(part.dtype == torch.float64 and part.requires_grad for part in tensors_in((args, options))):
                self._told = True
                _tell(made, self._scored())
        return result


def _tell(made: torch.Tensor, scored: Choice | None) -> None:
    """At the line of the program, past the code of torch and of this library; where a site is scored, at that of who asked for the density."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and is_ours(module_of(frame)):
        frame = frame.f_back
    if scored is None:
        what, of_it = "what depends on a latent site is", "it is combined with, or written into, a tensor of that type"
    else:
        what, of_it = f"the log density of site {scored.name!r} is", f"there are tensors of that type in {scored.dist!r}"
    text = f"{what} rounded to {made.dtype}: {of_it}; make them double, as torch.zeros(n, dtype=torch.float64) or y.new_zeros(n) are"
    if frame is None:
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    else:
        registry = frame.f_globals.setdefault("__warningregistry__", {})
        warnings.warn_explicit(text, RuntimeWarning, frame.f_code.co_filename, frame.f_lineno, registry=registry)
