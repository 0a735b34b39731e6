"""Draws that torch makes from another density than its own, put right.

``LKJCholesky`` of torch 2.13 is drawn wrongly from dimension 3 on. Row k of the factor, k from 0, is a direction of k entries times the
square root of a number from ``Beta(k / 2, concentration + (dim - 1 - k) / 2)``: so its density has it, and so Lewandowski, Kurowicka and
Joe, "Generating random correlation matrices based on vines and extended onion method" (2009), section 3.2, draw it. Torch takes
``k - 1 / 2`` for ``k / 2`` (``torch/distributions/lkj_cholesky.py``, ``beta_conc1 = offset + 0.5``; the file it follows, NumPyro's, has half of
the offset), and draws correlations that are too large.

It is put right wherever it is a part of what is drawn from, in an object of the user's own, too. What a callable or a ``sample`` of the user's
asks of a distribution that it makes itself, torch answers.

Every other distribution of torch is drawn from its density: ``tests/test_draws_and_densities.py`` holds them to it.
"""

from __future__ import annotations

import copy
from typing import Any, Final

import torch
from torch.distributions import Beta, LKJCholesky

_LISTS: Final = frozenset((list, tuple))


def parts_of(dist: Any) -> list[Any]:
    """``dist``, and the distributions that it is made of, at any depth."""
    found = [dist]
    for part in found:
        for value in getattr(part, "__dict__", {}).values():
            if type(value) in _LISTS:
                found += [each for each in value if hasattr(each, "log_prob") and not any(each is known for known in found)]
            elif hasattr(value, "log_prob") and not any(value is known for known in found):
                found.append(value)
    return found


def corrected(dist: Any, parts: list[Any]) -> Any:
    """``dist``, made of ``parts``; where a draw of one would be wrong, a copy that draws rightly. Nothing else differs."""
    return _corrected(dist, {}) if any(isinstance(part, LKJCholesky) for part in parts) else dist


def _corrected(dist: Any, done: dict[int, Any]) -> Any:
    if id(dist) not in done:
        done[id(dist)] = new = copy.copy(dist)
        fields = getattr(new, "__dict__", {})
        for key, value in fields.items():
            if type(value) in _LISTS:
                fields[key] = type(value)(_corrected(each, done) if hasattr(each, "log_prob") else each for each in value)
            elif hasattr(value, "log_prob"):
                fields[key] = _corrected(value, done)
        if isinstance(fields.get("_beta"), Beta) and isinstance(dist, LKJCholesky):  # a torch that draws otherwise has mended it
            fields["_beta"] = _of_rows(fields["_beta"])
    return done[id(dist)]


def _of_rows(beta: Beta) -> Beta:
    """The Beta distribution of each row, in the last dimension; what row 0 is multiplied with is zero."""
    second: Any = beta.concentration0
    first = torch.arange(second.shape[-1], dtype=second.dtype, device=second.device).clamp(min=1) / 2
    return Beta(first.expand_as(second), second, validate_args=False)
