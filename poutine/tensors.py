"""The tensors that a value is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.distributions import Distribution
from torch.distributions.transforms import Transform, _InverseTransform


def tensors_in(thing: Any) -> Iterator[torch.Tensor]:
    """Those in tensors, lists, tuples, mappings, distributions and transforms, of any depth."""
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, (list, tuple)):
        for part in thing:
            yield from tensors_in(part)
    elif isinstance(thing, Mapping):
        yield from tensors_in([*thing.values()])
    elif isinstance(thing, (Distribution, Transform)):
        for key, value in vars(thing).items():
            if key != "_inv" or isinstance(thing, _InverseTransform):  # a transform and its inverse hold each other
                yield from tensors_in(value)
