"""What a distribution tells of the values that it can take."""

from __future__ import annotations

from typing import Any

from torch.distributions import constraints


def support_of(dist: Any) -> constraints.Constraint | None:
    """Its support; None if it tells none, by not having one or, as torch's own do that leave it out, by raising ``NotImplementedError``."""
    try:
        return getattr(dist, "support", None)
    except NotImplementedError:
        return None
