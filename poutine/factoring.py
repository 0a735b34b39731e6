"""Two factors of one kind, scales or masks, at one site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from poutine.errors import DistributionError
from poutine.messages import Site


def combined(site: Site, what: str, inner: Any, outer: Any, both: Callable[[Any, Any], Any]) -> Any:
    """``both(inner, outer)``. Raises ``DistributionError`` where their shapes do not broadcast."""
    try:
        return both(inner, outer)
    except RuntimeError as error:
        shapes = " and ".join(str(tuple(torch.as_tensor(factor).shape)) for factor in (inner, outer))
        raise DistributionError(site.name, f"two {what}s around it have shapes {shapes}, which do not broadcast") from error
