"""Coordinates: where a site lies in a flat vector of unconstrained space, and what must stay as it was there."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Final

import attrs
import torch
from torch.distributions.transforms import ComposeTransform, IndependentTransform, Transform

from interpreters.errors import NotContinuous, StructureChanged
from interpreters.ranges import onto_range
from poutine import Sample
from poutine.supports import support_of

WAY_OUT: Final = (
    "which sites there are must not depend on their values: make the branch a mask or a mixture, or use a method for such programs"
)


@attrs.frozen
class Coordinates:
    """Where a site lies in the flat vector: ``size`` entries from ``offset`` on, of shape ``unconstrained``; its value has ``shape``.

    kind:  of the bijection onto its support: the types of the transforms that it is made of.
    """

    name: str
    shape: torch.Size
    unconstrained: torch.Size
    offset: int
    kind: tuple[type, ...] = ()

    @property
    def size(self) -> int:
        return prod(self.unconstrained)

    def of(self, position: torch.Tensor) -> torch.Tensor:
        return position[self.offset : self.offset + self.size].reshape(self.unconstrained)


def require_same(name: str, shape: torch.Size, kind: tuple[type, ...], sites: Mapping[str, Coordinates]) -> Coordinates:
    """Where the site lies. Raises ``StructureChanged`` if it is not among ``sites``, or has another shape or kind of support there."""
    known = sites.get(name)
    if known is None:
        raise StructureChanged(f"site {name!r} was not there before; {WAY_OUT}")
    if shape != known.shape:
        raise StructureChanged(f"site {name!r} has shape {tuple(shape)} and had {tuple(known.shape)}; {WAY_OUT}")
    if kind != known.kind:
        raise StructureChanged(
            f"site {name!r} has another kind of support than it had: {_words(kind)}, not {_words(known.kind)}; {WAY_OUT}"
        )
    return known


def require_order(name: str, expected: str | None) -> None:
    """Raises ``StructureChanged`` if it is another site's turn."""
    if name != expected:
        raise StructureChanged(f"site {name!r} comes before {expected!r}, and came after it; {WAY_OUT}")


def kind_of(bijection: Transform) -> tuple[type, ...]:
    if isinstance(bijection, IndependentTransform):
        return kind_of(bijection.base_transform)
    if isinstance(bijection, ComposeTransform):
        return tuple(each for part in bijection.parts for each in kind_of(part))
    return (type(bijection),)


def _words(kind: tuple[type, ...]) -> str:
    return " and ".join(each.__name__ for each in kind) or "the identity"


def shape_of(site: Sample) -> torch.Size:
    dist: Any = site.dist
    return torch.Size(dist.batch_shape + dist.event_shape)


def bijection_of(site: Sample) -> Transform:
    support: Any = support_of(site.dist)
    if support is None or not hasattr(site.dist, "batch_shape"):
        raise NotContinuous(
            site.name, f"{site.dist!r} tells no support, which a density over unconstrained space needs; condition it, or subsample outside"
        )
    if support.is_discrete:
        raise NotContinuous(
            site.name,
            f"{site.dist!r} has infinitely many values, which cannot be summed out; condition it, or use a method that draws it (poutine infer --method importance)",
        )
    try:
        return onto_range(site.dist)
    except NotImplementedError as error:
        raise NotContinuous(
            site.name, f"no bijection onto the support {support!r} of {site.dist!r} is known; parameterise it by what has one"
        ) from error
