"""Random distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
from hypothesis import strategies as st
from torch.distributions import Distribution

from poutine.laws.expressions import Const, Dist, Expression
from poutine.laws.families import FAMILIES, Family
from poutine.laws.printing import printed


def distributions(finite: bool | None = None) -> st.SearchStrategy[Distribution]:
    """Distributions of every family of ``torch.distributions``, with valid parameters, the same or others for each element of a batch,
    and random batch and event shapes.

    finite:  only those whose support can be enumerated, or only the others.

    A failing test shows them as they are written, ``Independent(Normal(0.0, 1.0).expand([2]), 1)``.
    """
    return printed(terms(finite), _built, lambda term, dist: str(term))


def terms(finite: bool | None = None) -> st.SearchStrategy[Dist]:
    """The same as expressions, which print as they are written and can be compared."""
    families = [family for family in FAMILIES if finite is None or family.finite is finite]
    # One draw of several finite ones has no support that torch enumerates.
    return st.sampled_from(families).flatmap(_varied).flatmap(lambda term: _shaped(term, several=not finite))


def _varied(family: Family) -> st.SearchStrategy[Dist]:
    """One of the family; or a batch, whose elements have parameters of their own."""
    if family.name in _WHOLE:
        return family.terms
    return family.terms | st.lists(family.terms, min_size=2, max_size=3).map(_stacked)


def _stacked(terms: Sequence[Dist]) -> Dist:
    """One distribution of the parameters of several, as far as they can be stacked; what cannot is that of the first."""
    first = terms[0]
    args = zip(*(term.args for term in terms), strict=True)
    return attrs.evolve(first, args=tuple(map(_together, args)))


def _together(args: Sequence[Expression]) -> Expression:
    numbers = [arg.number for arg in args if isinstance(arg, Const)]
    shapes = {_shape(number) for number in numbers}
    if len(numbers) < len(args) or len(shapes) > 1 or None in shapes:
        return args[0]
    return Const(tuple(numbers))


def _shape(number: Any) -> tuple[int, ...] | None:
    """Of a tensor that is written in nested tuples; None for what counts something, of which torch takes one for all."""
    if isinstance(number, tuple):
        return (len(number), *(_shape(number[0]) or ()))
    return () if isinstance(number, float) else None


def _shaped(term: Dist, several: bool) -> st.SearchStrategy[Dist]:
    """``term``, or copies of it in a batch, to the left of its own; of ``several``, some dimensions of the batch belong to one draw."""
    if term.family in _WHOLE:
        return st.just(term)
    batch = tuple(_built(term).batch_shape)
    lefts = st.lists(st.integers(1, 3), max_size=2 - len(batch)).map(tuple)

    def made(left: tuple[int, ...]) -> st.SearchStrategy[Dist]:
        shape = (*left, *batch)
        events = st.integers(0, len(shape) if several else 0)
        return events.map(lambda event: attrs.evolve(term, shape=shape if left else None, event=event))

    return lefts.flatmap(made)


def _built(term: Dist) -> Any:
    return term.value({})


# torch's own expand drops the shape of their temperature.
_WHOLE: Final = ("RelaxedBernoulli", "RelaxedOneHotCategorical")
