"""Equality up to rounding, where the order of a sum is left open."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def close(a: torch.Tensor, b: torch.Tensor, terms: Iterable[torch.Tensor]) -> bool:
    """Whether ``a`` and ``b`` can be two sums of the same ``terms``, each of which was rounded a few times, in different orders.

    The bound is the textbook's: the number of additions times the unit of rounding times the sum of the magnitudes.
    """
    parts = [term.detach().double().abs().reshape(-1) for term in terms]
    magnitudes = torch.cat([*parts, torch.zeros(1, dtype=torch.float64)])
    bound = (len(magnitudes) + 8) * torch.finfo(torch.float32).eps * (float(magnitudes.sum()) + torch.finfo(torch.float32).tiny)
    return bool((a.detach().double() - b.detach().double()).abs() <= bound) or bool(a.isinf() & (a == b))
