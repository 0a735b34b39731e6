"""The density of what a guide draws, and what of it counts at the model's site.

The model's mask decides: where it is off, neither of the two counts. A mask, or a scale, of the guide's own changes nothing: a draw is made
from the distribution, and not from a power or from a part of it.
"""

from __future__ import annotations

from typing import Any

import torch

from interpreters.errors import GuideMismatch
from poutine import Choice, batch_log_density


def log_proposal(site: Choice) -> torch.Tensor:
    """The log density of a guide's draw, in nats, of the batch shape. Raises ``NoDensity``, ``DistributionError``."""
    return batch_log_density(site.evolve(scale=1.0, mask=True))


def counted(log_q: torch.Tensor, site: Choice, proposal: Any, shape: torch.Size) -> torch.Tensor:
    """``log_q`` where the mask of ``site``, the model's, is on, and zero elsewhere.

    ``proposal``, the distribution of the guide, may split the value in another way into batch and event.

    log_q:  of the batch shape there.
    shape:  the batch shape here.

    Raises ``GuideMismatch`` where the mask is on in a part of what the guide draws as one.
    """
    if site.mask is True:
        return log_q
    mask = torch.as_tensor(site.mask)
    full = torch.broadcast_shapes(mask.shape, getattr(site.dist, "batch_shape", shape))  # type: ignore[no-untyped-call]  # torch's own
    mask = mask.expand(full).reshape(shape)
    if mask.dim() <= log_q.dim():
        return torch.where(mask.reshape(mask.shape + (1,) * (log_q.dim() - mask.dim())), log_q, 0.0)
    parts = mask.flatten(log_q.dim())
    whole = parts.all(-1)
    if not torch._is_all_true(whole | ~parts.any(-1)):  # as torch's own validation asks, which is answered inside of vmap
        raise GuideMismatch(
            f"the model masks a part of site {site.name!r}, which the guide draws as one, {proposal!r}: a part of a draw has no density; let the "
            "guide draw for each element, or mask all of the site"
        )
    return torch.where(whole, log_q, 0.0)
