"""Ancestors: which particles are resampled."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch.distributions import Categorical, Distribution, constraints


class Ancestors(Distribution):
    """``num_draws`` independent indices, each from ``Categorical(logits=log_weights)``: multinomial resampling.

    Its value is int64 of shape [num_draws]. What ``Independent(Categorical(logits).expand([num_draws]), 1)`` is, without holding
    ``num_draws`` copies of the weights: with 100,000 particles those take 40 GB.

    log_weights:  [n], in nats, up to a constant; at least one is finite.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_enumerate_support = True

    def __init__(self, log_weights: torch.Tensor, num_draws: int) -> None:
        self.categorical = Categorical(logits=log_weights)
        super().__init__(torch.Size(), torch.Size((num_draws,)), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        inside: constraints.Constraint = self.categorical.support
        return constraints.independent(inside, 1)  # type: ignore[no-untyped-call]  # torch's own

    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        drawn: torch.Tensor = self.categorical.sample(torch.Size(sample_shape) + self.event_shape)  # type: ignore[no-untyped-call]  # torch's own
        return drawn

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        each: torch.Tensor = self.categorical.log_prob(value)  # type: ignore[no-untyped-call]  # torch's own
        return each.sum(dim=-1)

    def enumerate_support(self, expand: bool = True) -> torch.Tensor:
        """All values, [n ** num_draws, num_draws]."""
        each: torch.Tensor = self.categorical.enumerate_support()  # type: ignore[no-untyped-call]  # torch's own
        return torch.cartesian_prod(*[each] * self.event_shape[0]).reshape(-1, *self.event_shape)
