"""Random traces of a program, and random values for its sites."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

import attrs
from hypothesis import strategies as st

from poutine.laws.outcome import outcome
from poutine.messages import Observe, Param, Sample, Site
from poutine.plates import Subsample
from poutine.trace_graph import Trace

SEEDS: Final = st.integers(0, 3)
T = TypeVar("T")
_FOUR: Final = st.integers(0, 3)
ELSEWHERE: Final = "nowhere"  # a name that no random program has


def traces(program: Callable[..., Any], partial: bool = False) -> st.SearchStrategy[Trace]:
    """Traces of ``program``, under random seeds; with ``partial``, some of the sites are missing."""
    whole = SEEDS.map(lambda seed: trace_of(program, seed))
    return whole.flatmap(_without_some) if partial else whole


def mostly(strategy: st.SearchStrategy[T], otherwise: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """``otherwise``, to which it shrinks, in one case of four. (Of a strategy that is named several times, ``one_of`` takes one.)"""
    return _FOUR.flatmap(lambda number: strategy if number else otherwise)


def values(program: Callable[..., Any], elsewhere: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    """Values in the support of some of the sample sites of ``program``, by name; with ``elsewhere``, perhaps of a site that it does not have."""

    def chosen(trace: Trace) -> st.SearchStrategy[dict[str, Any]]:
        known = Names.of(trace).samples
        names = [*known, *([ELSEWHERE] if elsewhere else [])]
        some = st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=4) if names else st.just([])
        return mostly(some, st.just([])).map(lambda chosen: {name: known.get(name, 0.0) for name in chosen})

    return traces(program).flatmap(chosen)


@attrs.frozen
class Names:
    """The sites of one run of a program by kind, with their values."""

    samples: Mapping[str, Any]
    observed: Mapping[str, Any]
    params: Mapping[str, Any]
    all: tuple[str, ...]

    @classmethod
    def of(cls, trace: Trace) -> Names:
        samples, observed, params = (
            {name: site.value for name, site in trace.nodes.items() if isinstance(site, kind)} for kind in (Sample, Observe, Param)
        )
        return cls(samples, observed, params, tuple(name for name, site in trace.nodes.items() if isinstance(site, Site)))


def sampled(values: Mapping[str, Any], plates: Mapping[str, int] = MappingProxyType({})) -> Trace:
    """A trace of samples with these values, to replay; ``plates`` are the sizes of those whose value is the index of a subsampled plate."""
    trace = Trace()
    for name, value in values.items():
        fn, infer = (Subsample(plates[name], None), {"is_subsample": True}) if name in plates else (functools.partial(_known, value), {})
        trace.add_node(name, Sample(name, fn, infer=infer).evolve(value=value))
    return trace


def _known(value: Any) -> Any:
    return value  # pragma: no cover  # a site that is replayed is not drawn


def trace_of(program: Callable[..., Any], seed: int = 0) -> Trace:
    """The trace of one run, as far as it came."""
    return outcome(program, seed=seed).trace or Trace()


def _without_some(trace: Trace) -> st.SearchStrategy[Trace]:
    def without(names: list[str]) -> Trace:
        part = trace.copy()
        for name in names:
            part.remove_node(name)
        return part

    known = Names.of(trace).all
    return st.lists(st.sampled_from(known), unique=True, max_size=3).map(without) if known else st.just(trace)
