"""Random handlers: every poutine of the library with valid options, which may name sites of a program or sites that it lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import attrs
import torch
from hypothesis import strategies as st
from torch.distributions import Beta, Distribution, Laplace, Normal, Uniform, constraints

from poutine import aliases
from poutine.handlers.lift import LiftPoutine
from poutine.laws.links import Chain, Link
from poutine.laws.traces import ELSEWHERE, Names, mostly, trace_of, traces, values
from poutine.messages import Param, is_distribution
from poutine.trace_graph import Trace, is_subsample

Options = st.SearchStrategy[Mapping[str, Any]]

# Of one element: those of several are refused where a site has not as many. The laws H20, D.scale and D.mask bring sites that have.
_ONE: Final = (1, 1, 1, 1)
SCALES: Final = st.sampled_from((2.0, 0.5, 4.0)) | st.sampled_from((2.0, 0.25, ((((2.0,),),),))).map(torch.tensor)  # powers of two: exact
_BITS: Final = mostly(st.just(False), st.just(True))
MASKS: Final = _BITS | _BITS.map(torch.tensor) | _BITS.map(lambda bit: torch.tensor(bit).reshape(_ONE))
PREFIXES: Final = st.sampled_from(("a", "b", ""))
PLATES: Final = st.sampled_from(("outer", "other"))
PRIORS: Final = st.sampled_from((Normal(0.0, 1.0), Laplace(1.0, 2.0)))
BOUNDED: Final = st.sampled_from((Uniform(0.0, 1.0), Beta(2.0, 2.0)))  # inside of every constraint that a random program has
SEED_OPTIONS: Final = st.integers(0, 5)


def handlers(program: Callable[..., Any], kinds: Iterable[str] | None = None) -> st.SearchStrategy[Link]:
    """Handlers with random options that suit ``program``.

    kinds:  short names ("scale", "condition", ...) of those wanted; all of the library's by default. The options leave out
            what makes every run an error: value maps are not strict.
    """
    wanted = tuple(CONFIGURATIONS) if kinds is None else tuple(kinds)
    return st.sampled_from(wanted).flatmap(lambda kind: _links(kind, program))


def chains(program: Callable[..., Any], max_size: int = 3, kinds: Iterable[str] | None = None) -> st.SearchStrategy[Chain]:
    """Chains of random handlers, innermost first; of some ``kinds`` only, as in ``handlers``."""
    return st.lists(handlers(program, kinds), max_size=max_size).map(lambda links: Chain(tuple(links)))


def link(kind: str, **options: Any) -> Link:
    """A handler of the library by its short name: ``link("scale", scale=2.0)``."""
    return Link(kind, getattr(aliases, kind).poutine, options)


def kind_of(poutine: type) -> str | None:
    """The short name of the library's poutine that a class is, or derives from."""
    return next((KINDS[cls] for cls in poutine.__mro__ if cls in KINDS), None)


def needed(kind: str | None) -> str:
    """What a program must begin with for a handler of a kind to have something to act on."""
    return {"lift": "param", "uncondition": "observe"}.get(kind or "", "sample")


@attrs.frozen(repr=False)
class AtSite:
    """An ``escape_fn``: leaves at the site of this name."""

    name: str

    def __call__(self, site: Any) -> bool:
        return bool(site.name == self.name)

    def __repr__(self) -> str:
        return f"lambda site: site.name == {self.name!r}"


def _links(kind: str, program: Callable[..., Any]) -> st.SearchStrategy[Link]:
    return CONFIGURATIONS[kind](program).map(lambda options: link(kind, **options))


def _none(program: Callable[..., Any]) -> Options:
    return st.just({})


def _names(program: Callable[..., Any]) -> st.SearchStrategy[list[str]]:
    some = st.lists(st.sampled_from((*Names.of(trace_of(program)).all, ELSEWHERE)), unique=True, min_size=1, max_size=3)
    return mostly(some, st.just([]))


def _block(program: Callable[..., Any]) -> Options:
    types = st.lists(st.sampled_from(("sample", "observe", "param", "deterministic")), unique=True, max_size=2)
    return st.one_of(
        st.builds(lambda names: {"hide": names}, _names(program)),
        st.just({}),
        st.builds(lambda names: {"expose": names}, _names(program)),
        st.builds(lambda some: {"hide_types": some}, types),
        st.builds(lambda some: {"expose_types": some}, types),
        st.just({"expose_all": True}),
        st.builds(lambda names, some: {"hide": names, "hide_types": some}, _names(program), types),
        st.builds(lambda names, some: {"expose": names, "expose_types": some}, _names(program), types),
        st.builds(lambda names, some: {"hide": names, "expose_types": some}, _names(program), types),
        st.builds(
            lambda names, every: {"hide": names, **every}, _names(program), st.sampled_from(({"expose_all": True}, {"hide_all": False}))
        ),
    )


def _value_map(program: Callable[..., Any]) -> Options:
    """Values for samples; perhaps for params too, which become samples if they are lifted further in."""
    params = tuple(Names.of(trace_of(program)).params)
    some = st.lists(st.sampled_from(params), unique=True, max_size=1) if params else st.just([])
    numbers = st.sampled_from((0.75, 0.5)).map(torch.tensor)
    named = st.builds(
        lambda data, names, number: {"data": data | dict.fromkeys(names, number), "strict": False},
        values(program, elsewhere=True),
        some,
        numbers,
    )
    return mostly(named, traces(program, partial=True).map(lambda trace: {"data": trace, "strict": False}))


def _escape(program: Callable[..., Any]) -> Options:
    known = Names.of(trace_of(program))
    return st.sampled_from((*known.samples, *known.observed, *known.params, ELSEWHERE)).map(lambda name: {"escape_fn": AtSite(name)})


def _indep(program: Callable[..., Any]) -> Options:
    shapes = st.sampled_from(({}, {}, {"dim": -5}, {"dim": -5, "size": 2}))  # to the left of all plates of a random program
    marked = st.builds(lambda name, shape: {"name": name, "vectorized": True, **shape}, PLATES, shapes)
    return marked | PLATES.map(lambda name: {"name": name, "vectorized": False})


def _infer_config(program: Callable[..., Any]) -> Options:
    steps = st.sampled_from(({"step": 0.5}, {"step": 0.25}, {"kernel": "hmc"}))
    return st.builds(lambda names, step: {"config": dict.fromkeys(names, step), "strict": False}, _names(program), steps)


def _lift(program: Callable[..., Any]) -> Options:
    """Priors for some params, each of which obeys its constraint; or one for all of them."""
    params = {site.name: site.constraint for site in trace_of(program).nodes.values() if isinstance(site, Param)}
    names = st.lists(st.sampled_from((*params, ELSEWHERE)), unique=True, min_size=min(len(params), 1), max_size=3)

    def some(lifted: list[str]) -> st.SearchStrategy[dict[str, Any]]:
        priors = {n: PRIORS if params.get(n, constraints.real) is constraints.real else BOUNDED for n in lifted}
        return st.fixed_dictionaries({n: _made_or_making(prior) for n, prior in priors.items()})

    one = _made_or_making(BOUNDED).map(lambda prior: {"prior": prior})
    return names.flatmap(some).map(lambda prior: {"prior": prior, "strict": False}) | one


def _made_or_making(priors: st.SearchStrategy[Distribution]) -> st.SearchStrategy[Any]:
    """A prior or, in one case of four, a callable that returns it."""
    return mostly(priors, priors.map(_making))


def _making(prior: Distribution) -> partial[Distribution]:
    parameters = [getattr(prior, name) for name in prior.arg_constraints]
    return partial(type(prior), *(parameter.item() for parameter in parameters))


def _replay(program: Callable[..., Any]) -> Options:
    lifted = LiftPoutine(program, Uniform(0.0, 1.0))
    guides = st.one_of(traces(program, partial=True), traces(lifted, partial=True))

    def chosen(guide: Trace) -> Options:
        names = tuple(Names.of(guide).samples)
        some = st.lists(st.sampled_from(names), unique=True, max_size=2) if names else st.just([])
        options = st.just({"guide_trace": guide}) | some.map(lambda sites: {"guide_trace": guide, "sites": sites})
        pairs = alike(guide)
        if not pairs:
            return options
        return options | st.lists(st.sampled_from(pairs), max_size=2).map(lambda pairs: {"guide_trace": guide, "sites": dict(pairs)})

    return guides.flatmap(chosen)


def alike(trace: Trace) -> list[tuple[str, str]]:
    """The pairs of two samples of which one may have the value of the other: of one support and shape."""
    sites = {name: _of_value(trace[name]) for name in Names.of(trace).samples if not is_subsample(trace[name])}
    return [(name, other) for name, kind in sites.items() for other, its in sites.items() if name != other and kind == its]


def _of_value(site: Any) -> tuple[Any, ...]:
    """Its support, with the bounds; of a bare callable, which tells none, that it is this one."""
    support = str(getattr(site.dist, "support", None)) if is_distribution(site.fn) or isinstance(site.fn, type) else site.fn
    return support, getattr(site.value, "shape", None), getattr(site.value, "dtype", None)


CONFIGURATIONS: Final[Mapping[str, Callable[[Callable[..., Any]], Options]]] = MappingProxyType(
    {
        "scale": lambda program: SCALES.map(lambda factor: {"scale": factor}),
        "mask": lambda program: MASKS.map(lambda mask: {"mask": mask}),
        "condition": _value_map,
        "substitute": _value_map,
        "block": _block,
        "trace": lambda program: st.sampled_from((None, "flat", "dense")).map(lambda kind: {"graph_type": kind}),
        "replay": _replay,
        "do": _value_map,
        "lift": _lift,
        "uncondition": _none,
        "scope": lambda program: PREFIXES.map(lambda prefix: {"prefix": prefix}),
        "infer_config": _infer_config,
        "seed": lambda program: SEED_OPTIONS.map(lambda seed: {"seed": seed}),
        "escape": _escape,
        "indep": _indep,
        "broadcast": _none,
    }
)

KINDS: Final[Mapping[type, str]] = MappingProxyType({getattr(aliases, kind).poutine: kind for kind in CONFIGURATIONS})
