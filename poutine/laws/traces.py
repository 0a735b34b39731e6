"""Random traces of a program, and random values for its sites."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

import attrs
from hypothesis import strategies as st

from poutine.laws.outcome import outcome
from poutine.laws.printing import name_of, printed
from poutine.laws.sources import source_of
from poutine.messages import Observe, Param, Sample, Site
from poutine.plates import Subsample
from poutine.trace_graph import Trace

SEEDS: Final = st.integers(0, 3)
_OTHER_SEEDS: Final = st.integers(4, 7)  # those of values: to be given what it would draw anyway tells nothing of a program
T = TypeVar("T")
_FOUR: Final = st.sampled_from((0, 1, 2, 3, 4, 5, 6))
ELSEWHERE: Final = "nowhere"  # a name that no random program has


def traces(program: Callable[..., Any], partial: bool = False) -> st.SearchStrategy[Trace]:
    """Traces of ``program``, under random seeds; with ``partial``, some of the sites are missing.

    A failing test shows them as what makes them again, ``outcome(model, seed=4).trace`` or ``without(outcome(model, seed=4).trace, "x_1")``.
    """
    if partial:
        return _OTHER_SEEDS.flatmap(lambda seed: _without_some(program, seed))
    return printed(_OTHER_SEEDS, lambda seed: trace_of(program, seed), lambda seed, trace: _source(program, seed), program)


def mostly(strategy: st.SearchStrategy[T], otherwise: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """``otherwise``, to which it shrinks, in one case of seven. (Of a strategy that is named several times, ``one_of`` takes one.)"""
    return _FOUR.flatmap(lambda number: strategy if number else otherwise)


def values(program: Callable[..., Any], elsewhere: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    """Values in the support of some of the sample sites of ``program``, by name; with ``elsewhere``, perhaps of a site that it does not have.

    A failing test shows them in full, ``{'x_1': torch.tensor(0.07242145)}``.
    """

    def chosen(trace: Trace) -> st.SearchStrategy[dict[str, Any]]:
        known = Names.of(trace).samples
        names = [*known, *([ELSEWHERE] if elsewhere else [])]
        some = st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=4) if names else st.just([])
        named = mostly(some, st.just([]))
        return printed(named, lambda chosen: {name: known.get(name, 0.0) for name in chosen}, lambda chosen, given: source_of(given))

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


def without(trace: Trace, *names: str) -> Trace:
    """A copy of ``trace`` without the sites of these names."""
    part = trace.copy()
    for name in names:
        part.remove_node(name)
    return part


def _without_some(program: Callable[..., Any], seed: int) -> st.SearchStrategy[Trace]:
    trace = trace_of(program, seed)
    known = Names.of(trace).all
    some = st.lists(st.sampled_from(known), unique=True, max_size=3) if known else st.just([])

    def source(names: list[str], part: Trace) -> str:
        whole = _source(program, seed)
        return f"without({', '.join([whole, *map(repr, names)])})" if names else whole

    return printed(some, lambda names: without(trace, *names), source, program)


def _source(program: Callable[..., Any], seed: int) -> str:
    """What makes the trace of a run, which may have come to no trace at all."""
    return "Trace()" if outcome(program, seed=seed).trace is None else f"outcome({name_of(program)}, seed={seed}).trace"
