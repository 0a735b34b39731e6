"""Equivalents: what torch's distributions do that vmap, or torch itself in double precision, refuses, done in another way.

``Multinomial`` writes ``logits[mask] = 0``, and vmap takes that for a tensor whose shape depends on the data. ``GeneralizedPareto`` compares
its concentration with a zero in single precision, and ``isclose`` wants one type, and has no rule under vmap. ``Bernoulli`` refuses whole
numbers, which somebody's distribution that is made of one may ask it for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.overrides import TorchFunctionMode


class Equivalents(TorchFunctionMode):
    """While entered, in this thread, a number that is written where a mask is on is filled in, closeness is computed, and so is the
    log density of a coin at whole numbers.

    **Law**: changes no value and no gradient.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.__setitem__ and _is_fill(*args):
            tensor, mask, value = args
            return tensor.masked_fill_(mask.reshape(mask.shape + (1,) * (tensor.dim() - mask.dim())), value)
        if func is torch.isclose:
            return is_close(*args, **(kwargs or {}))
        if func is binary_cross_entropy_with_logits:
            logits, value, *rest = args
            return func(logits, value.to(logits.dtype), *rest, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _is_fill(tensor: torch.Tensor, mask: Any, value: Any) -> bool:
    """Whether ``tensor[mask] = value`` writes one number wherever a mask over the leading dimensions is on."""
    if not (isinstance(mask, torch.Tensor) and mask.dtype == torch.bool and isinstance(value, int | float)):
        return False
    return tensor.is_floating_point() and mask.shape == tensor.shape[: mask.dim()]


def is_close(a: torch.Tensor, b: torch.Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> torch.Tensor:
    """``torch.isclose``, of any two types, and under vmap."""
    close = (a == b) | (((a - b).abs() <= atol + rtol * b.abs()) & (b.abs() != torch.inf))
    return close | ((a != a) & (b != b)) if equal_nan else close
