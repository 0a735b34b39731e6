"""What may stand where a distribution is asked for."""

from __future__ import annotations

from typing import Any, Protocol


class DistributionLike(Protocol):
    """What may stand where a distribution is asked for. ``rsample`` and ``has_rsample`` are used where present."""

    def sample(self) -> Any: ...
    def log_prob(self, value: Any, /) -> Any: ...


def is_distribution(thing: Any) -> bool:
    """True for an object, not a class, with ``log_prob`` and ``sample`` or ``rsample``."""
    return hasattr(thing, "log_prob") and (hasattr(thing, "sample") or hasattr(thing, "rsample")) and not isinstance(thing, type)
