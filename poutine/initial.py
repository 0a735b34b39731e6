"""The value that a parameter starts from."""

from __future__ import annotations

import torch

from poutine.errors import ParamError, PoutineError
from poutine.messages import Param, is_distribution
from poutine.randomness import call_keyed


def initial_value(param: Param) -> torch.Tensor:
    """The constrained value that ``param`` starts from, a tensor of any type. A callable is called for it, under the param's own key.

    Raises ``ParamError`` if there is none, or it is no number, nor array of numbers.
    """
    init = param.init
    if init is None:
        raise ParamError(param.name, "it has no initial value and the store does not hold it; write Param(name, init)")
    if callable(init) and not is_distribution(init):
        init = _called(param)
    if isinstance(init, torch.Tensor):
        return init
    keeps = getattr(getattr(init, "dtype", None), "kind", "") in ("f", "c")  # numpy's
    try:
        return torch.as_tensor(init, dtype=None if keeps else torch.get_default_dtype())
    except (TypeError, ValueError, RuntimeError) as error:
        drawn = "; what is to be drawn is a Sample, or a param under lift" if is_distribution(init) else ""
        raise ParamError(
            param.name,
            f"expected a tensor, a number, an array of numbers or a callable that returns one as its initial value, got {init!r}{drawn}",
        ) from error


def _called(param: Param) -> object:
    try:
        return call_keyed(param.init, (), {}, param.key or (0, param.name, 0))
    except PoutineError:
        raise
    except Exception as error:
        raise ParamError(param.name, f"cannot call {param.init!r} for its initial value: {error}") from error
