"""Random distributions."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st
from torch.distributions import Distribution

from poutine.laws.expressions import Dist
from poutine.laws.families import FAMILIES


def distributions(finite: bool | None = None) -> st.SearchStrategy[Distribution]:
    """Distributions of every family of ``torch.distributions``, with valid parameters and random batch and event shapes.

    finite:  only those whose support can be enumerated, or only the others.
    """
    return terms().map(_built).filter(lambda dist: finite is None or bool(dist.has_enumerate_support) is finite)


def terms() -> st.SearchStrategy[Dist]:
    """The same as expressions, which print as they are written and can be compared."""
    return st.sampled_from(FAMILIES).flatmap(lambda family: family.terms).flatmap(_expanded)


def _expanded(term: Dist) -> st.SearchStrategy[Dist]:
    """``term``, or copies of it: of which some dimensions are batch and some belong to one draw."""
    if term.family in ("RelaxedBernoulli", "RelaxedOneHotCategorical"):
        return st.just(term)  # torch's own expand drops the shape of their temperature
    shapes = st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple)
    copies = shapes.flatmap(lambda shape: st.integers(0, len(shape)).map(lambda event: attrs.evolve(term, shape=shape, event=event)))
    rank = len(_built(term).batch_shape)
    return st.just(term) if rank else st.just(term) | copies


def _built(term: Dist) -> Any:
    return term.value({})
