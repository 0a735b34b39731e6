"""Two factors of one kind, scales or masks, at one site."""

from __future__ import annotations

from typing import Any

import torch

from poutine.errors import DistributionError
from poutine.messages import Site


def misfit(site: Site, what: str, inner: Any, outer: Any) -> DistributionError:
    """The error that two factors do not broadcast."""
    shapes = " and ".join(str(tuple(torch.as_tensor(factor).shape)) for factor in (inner, outer))
    return DistributionError(site.name, f"two {what}s around it have shapes {shapes}, which do not broadcast")
