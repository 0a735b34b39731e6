"""SkipValidation: distributions without the validation of their arguments, and without torch's global switch for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch.distributions import constraints
from torch.overrides import TorchFunctionMode

from interpreters.callers import asker
from poutine import equivalents
from poutine.equivalents import is_close
from poutine.handlers import scale

_VALIDATING: Final = frozenset({constraints.__name__, scale.__name__})  # who asks of all numbers of a tensor whether they are valid
BETWEEN: Final = frozenset({"torch.overrides", "torch._tensor", equivalents.__name__, __name__})  # the question and its asker


class SkipValidation(TorchFunctionMode):
    """While entered, in this thread, torch's distributions find their arguments valid, and so does ``scale``.

    What they ask is ``torch._is_all_true``, and, of a matrix, whether it is symmetric (which vmap warns of): here answered with yes. A density is
    evaluated where a sampler tries, which may be out of bounds; and a tracer, or vmap, cannot answer a question whose answer
    depends on the data.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch._is_all_true or (func is torch.Tensor.__bool__ and asker(BETWEEN) in _VALIDATING):
            return True
        if func is torch.isclose:  # it has no rule under vmap
            return (
                torch.ones_like(args[0], dtype=torch.bool) if asker(BETWEEN) == constraints.__name__ else is_close(*args, **(kwargs or {}))
            )
        return func(*args, **(kwargs or {}))
