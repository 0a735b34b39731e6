"""SkipValidation: distributions without the validation of their arguments, and without torch's global switch for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class SkipValidation(TorchFunctionMode):
    """While entered, in this thread, torch's distributions find their arguments valid.

    What they ask is ``torch._is_all_true``, here answered with yes. A density is evaluated where a sampler tries, which may be out
    of bounds; and a tracer, or vmap, cannot answer a question whose answer depends on the data.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return True if func is torch._is_all_true else func(*args, **(kwargs or {}))
