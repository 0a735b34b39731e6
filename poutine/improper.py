"""ImproperUniform: the flat prior on any support."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

import torch
from torch.distributions import Distribution, constraints


class ImproperUniform(Distribution):
    """Density one on ``support``: a flat prior, which is no distribution and cannot be drawn from.

    ``yield Sample("beta", ImproperUniform(constraints.real, (3,)))`` has batch shape [3];
    ``ImproperUniform(poutine.ordered, event_shape=(4,))`` is one ordered vector of length 4.
    An algorithm that only needs the density (HMC, NUTS, optimisation) may use it; ``sample`` raises ``NotImplementedError``.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, support: constraints.Constraint, batch_shape: Any = (), event_shape: Any = ()) -> None:
        if len(event_shape) < support.event_dim:
            raise ValueError(f"{support!r} is over {support.event_dim} dimensions, got event_shape {tuple(event_shape)}")
        if support.is_discrete:
            raise ValueError(f"expected a continuous support, got {support!r}")
        self._support = support
        super().__init__(torch.Size(batch_shape), torch.Size(event_shape), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """The support over all of the event dimensions, for the transforms to and from unconstrained space."""
        extra = len(self.event_shape) - self._support.event_dim
        return constraints.independent(self._support, extra) if extra else self._support  # type: ignore[no-untyped-call]  # torch's own

    def expand(self, batch_shape: Any, _instance: Any = None) -> ImproperUniform:
        """The same of another batch shape."""
        return ImproperUniform(self._support, batch_shape, self.event_shape)

    def sample(self, sample_shape: Any = ()) -> NoReturn:
        """Raises ``NotImplementedError``: nothing can be drawn from a measure that does not sum to one."""
        raise NotImplementedError(
            f"a flat prior on {self._support!r} cannot be drawn from; give the site a proper prior, condition it, or use HMC"
        )

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Zero nats where ``value`` is in the support, minus infinity elsewhere; of the batch shape, broadcast with that of ``value``."""
        inside = self.support.check(value)  # type: ignore[no-untyped-call]  # torch's own
        batch = torch.broadcast_shapes(self.batch_shape, inside.shape)  # type: ignore[no-untyped-call]  # torch's own
        return torch.where(inside, 0.0, -torch.inf).to(value.dtype).expand(batch)
