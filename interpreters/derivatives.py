"""Derivatives of a function of a vector, also where it writes in place.

Autograd refuses h[t] = f(h[t - 1]), which overwrites what it has kept, and vmap refuses y[missing] = x, where y is the same for all.
The recorded graph of the function has no operations in place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import torch

from interpreters.batches.in_turn import at_once
from interpreters.kernels.recording import record

Function = Callable[[torch.Tensor], torch.Tensor]

_IN_PLACE: Final = re.compile("in-?place operation")  # in torch's errors, which have no type of their own


def is_overwritten(error: BaseException) -> bool:
    """Whether autograd refuses, since something was written in place."""
    return isinstance(error, RuntimeError) and bool(_IN_PLACE.search(str(error)))


def functional(function: Function, position: torch.Tensor) -> Function:
    """``function``, as it runs at ``position``, without operations in place. What it read then, such as data, is a constant.

    Raises ``NotStraight`` if what it does depends on the values.
    """
    captured = record(function, position.detach().clone())
    return lambda x: captured.module(x, *captured.constants)


def value_and_grad(function: Function, position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The value, and its gradient of shape [dim]."""
    position = position.detach().requires_grad_()
    value = function(position)
    return value.detach(), _gradient(value, position)


def hessian_vector_product(function: Function, position: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """The Hessian at ``position`` times ``vector``, both of shape [dim]."""
    position = position.detach().requires_grad_()
    gradient = _gradient(function(position), position, create_graph=True)
    if vector.shape != gradient.shape:
        raise ValueError(f"expected a vector of {len(gradient)} numbers, got one of shape {tuple(vector.shape)}")
    return _gradient(gradient @ vector.to(gradient.dtype), position)


def with_or_without_writing(derive: Callable[[Function], Any], function: Function, position: torch.Tensor) -> Any:
    """What ``derive`` makes of ``function``, or of its recorded graph, if autograd refuses."""
    try:
        return derive(function)
    except RuntimeError as error:
        if not is_overwritten(error):
            raise
    return derive(functional(function, position))


def each(function: Function, positions: torch.Tensor) -> torch.Tensor:
    """``function`` of each row: at once, by its recorded graph at once, or, if the program asks for the value of a tensor, in turn."""
    try:
        return at_once(function)(positions)
    except Exception:  # what is the function's own fault, it will raise again
        pass
    try:
        values: torch.Tensor = torch.func.vmap(functional(function, positions[0]))(positions)
        if torch.allclose(values[-1], function(positions[-1]), equal_nan=True):  # or else the program looks at numbers unseen, by numpy
            return values
    except Exception:
        pass
    return torch.stack([function(position) for position in positions])


def _gradient(value: torch.Tensor, position: torch.Tensor, create_graph: bool = False) -> torch.Tensor:
    """Zero, if the value does not depend on the position."""
    if not value.requires_grad:
        return torch.zeros_like(position)
    (gradient,) = torch.autograd.grad(value, position, create_graph=create_graph, materialize_grads=True)
    return gradient
