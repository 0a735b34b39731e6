"""A matrix without a Cholesky factor, where a sampler tries: an error of torch's, which a site may have wrapped in its own."""

from __future__ import annotations

import torch


def is_singular(error: BaseException | None) -> bool:
    """Whether it is, or comes from, a matrix that is not positive definite."""
    while error is not None:
        if isinstance(error, torch.linalg.LinAlgError):  # type: ignore[attr-defined]  # torch's own
            return True
        error = error.__cause__
    return False
