"""The quick way: deferred distributions of torch's with plain numbers, which are most of what programs ask for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import torch

from interpreters.batches.recipes import Recipe, is_known, of_class
from poutine import Observe, Sample

NUMBERS: Final = frozenset((int, float))


def plain(requests: Sequence[Any]) -> tuple[Recipe, tuple[torch.Tensor, ...]] | None:
    """The recipe of all ``requests``, and one column in double precision for each of its arguments; None unless all are plain.

    That is: one type of site, with no more to it than one class of torch's, as many numbers as its parameters, and a number observed.
    """
    if not requests or type(requests[0]) not in (Sample, Observe) or not is_known(requests[0].fn):
        return None
    cls = requests[0].fn
    rows = _rows(requests, cls)
    if rows is None or not NUMBERS.issuperset(map(type, chain.from_iterable(rows))):
        return None
    recipe = of_class(cls, len(rows[0]))
    if recipe is None or not recipe.is_of_numbers:
        return None
    try:
        table = np.array(rows, dtype=np.float64)
    except (ValueError, OverflowError):  # of different lengths; too large
        return None
    return recipe, torch.from_numpy(np.ascontiguousarray(table.T)).unbind()


def _rows(requests: Sequence[Any], cls: type) -> list[tuple[Any, ...]] | None:
    """The arguments of each."""
    kind = type(requests[0])
    size = 3 if kind is Sample else 4  # fields: a name, a class, arguments, and what is observed
    # One pass without a call: this is what a visit to a site costs.
    rows = [
        fields["args"]
        for each in requests
        if type(each) is kind and len(fields := each.__dict__) == size and fields["fn"] is cls and "args" in fields
    ]
    if len(rows) < len(requests):
        return None
    if kind is Observe:
        kinds = {type(each.value) for each in requests}
        return rows if len(kinds) == 1 and kinds <= NUMBERS else None
    return rows
