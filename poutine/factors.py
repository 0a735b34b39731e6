"""factor: adds a term to the log density."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch.distributions import Distribution, constraints

from poutine.errors import DistributionError
from poutine.messages import Observe


def factor(name: str, log_factor: torch.Tensor | float) -> Observe:
    """``yield factor("penalty", -x**2)`` adds ``log_factor`` (nats, summed if it has a shape) to the program's log density.

    **Law**: shifts the log density and moves no value. Raises ``DistributionError`` if it is no number, nor an array of numbers.
    """
    try:
        unit = Unit(torch.as_tensor(log_factor))
    except (TypeError, ValueError, RuntimeError) as error:
        raise DistributionError(
            name, f"expected a number or a tensor as the factor, a term of the log density in nats, got {log_factor!r}"
        ) from error
    return Observe(name, unit, unit.sample())


class Unit(Distribution):
    """The distribution of a value of shape [..., 0] whose log density is ``log_factor``, of the batch shape."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, log_factor: torch.Tensor) -> None:
        self.log_factor = log_factor
        super().__init__(log_factor.shape, torch.Size((0,)), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Unit:
        """The same of another batch shape."""
        return Unit(self.log_factor.expand(batch_shape))

    def rsample(self, sample_shape: Any = ()) -> torch.Tensor:
        """The only value there is, which has no elements."""
        return self.log_factor.new_empty(torch.Size(sample_shape) + self.batch_shape + self.event_shape)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """``log_factor``, in nats, of the batch shape, broadcast with that of ``value``."""
        return self.log_factor.expand(torch.broadcast_shapes(self.batch_shape, value.shape[:-1]))  # type: ignore[no-untyped-call]  # torch's own
