"""I. Identities, idempotence, fusion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import torch
from hypothesis import strategies as st
from torch.distributions import Beta

from poutine.errors import PlateError, UnusedNames
from poutine.handlers.condition import ConditionPoutine
from poutine.laws.blame import check_end
from poutine.laws.handlers import AtSite, alike, link
from poutine.laws.law import ANY, Case, Law, law, side
from poutine.laws.links import Link, written
from poutine.laws.model import Model
from poutine.laws.outcome import outcome
from poutine.laws.probes import KeepingRuntime, error_of
from poutine.laws.traces import ELSEWHERE, Names, trace_of
from poutine.messages import Choice, Param, Sample, Site
from poutine.program import Coroutine
from poutine.trace_graph import Trace

NEUTRAL: Final[Mapping[str, tuple[Mapping[str, Any], ...]]] = MappingProxyType(
    {
        "scale": ({"scale": 1.0},),
        "mask": ({"mask": True},),
        "condition": ({"data": {}},),
        "substitute": ({"data": {}},),
        "do": ({"data": {}},),
        "replay": ({"guide_trace": Trace()},),
        "lift": ({"prior": {}},),
        "block": ({"hide": []}, {"expose_all": True}),
        "scope": ({"prefix": ""},),
        "escape": ({"escape_fn": AtSite(ELSEWHERE)},),
        "infer_config": ({"config": {}},),
        "trace": ({},),
        "broadcast": ({},),
    }
)


@law(
    "I.neutral",
    "h∘p ≈ p, where h has nothing to do",
    tuple(NEUTRAL),
    "scale(1), mask(True), condition({}), substitute({}), do({}), replay of nothing, lift({}), block(hide=[]), scope(''), "
    "escape(never), infer_config({}); trace and broadcast in any case",
)
def neutral(case: Case) -> None:
    program, kind = case.program(), case.subject.kind
    assert kind is not None
    handler = case.link(kind, **case.draw(st.sampled_from(NEUTRAL[kind])))
    case.agree(side(program, handler), side(program))


@law("I.idempotent", "h∘h∘p ≈ h∘p", ANY, "both with the same options")
def idempotent(case: Case) -> None:
    program = case.program()
    handler = case.handler(program)
    case.agree(side(program, handler, handler), side(program, handler))


@law("I.scale", "scale(a)∘scale(b)∘p ≈ scale(a·b)∘p", ("scale",))
def scales_multiply(case: Case) -> None:
    _fuse(case, "scale", lambda a, b: a * b)


@law("I.mask", "mask(m)∘mask(n)∘p ≈ mask(m ∧ n)∘p", ("mask",))
def masks_conjoin(case: Case) -> None:
    # Of a bool and a tensor: a tensor, if it is not False. A mask of one element is the same in both forms, but not equal as an object.
    _fuse(case, "mask", lambda m, n: m & n if type(m) is type(n) else None)


@law("I.block", "block(hide=A)∘block(hide=B)∘p ≈ block(hide=A∪B)∘p", ("block",))
def blocks_unite(case: Case) -> None:
    _fuse(case, "hide", lambda a, b: sorted({*a, *b}))


@law("I.scope", 'scope(a)∘scope(b)∘p ≈ scope("a/b")∘p', ("scope",))
def scopes_nest(case: Case) -> None:
    _fuse(case, "prefix", lambda a, b: "/".join(filter(None, (a, b))))


@law("I.outer-wins", "h(d)∘h(e)∘p ≈ h({**e, **d})∘p", ("condition", "substitute"))
def outer_wins(case: Case) -> None:
    _fuse(case, "data", lambda d, e: {**_data(e), **_data(d)})


@law("I.replay", "replay(t)∘replay(u)∘p ≈ replay(u, overwritten by t)∘p", ("replay",))
def replays_overwrite(case: Case) -> None:
    _fuse(case, "guide_trace", _overwritten)


@law("I.do", "do(d)∘do(e)∘p ≈ do({**d, **e})∘p", ("do",), "what is nearest to the model is what it gets")
def inner_intervention_wins(case: Case) -> None:
    _fuse(case, "data", lambda d, e: {**_data(d), **_data(e)})


@law("I.seed", "seed(a)∘seed(b)∘p ≈ seed(b)∘p", ("seed",))
def inner_seed_wins(case: Case) -> None:
    _fuse(case, "seed", lambda a, b: b)


@law("I.lift", "lift(d)∘lift(e)∘p ≈ lift({**d, **e})∘p", ("lift",))
def inner_prior_wins(case: Case) -> None:
    # A prior that is no mapping is one of every param: an inner one leaves nothing to lift.
    def fused(d: Any, e: Any) -> Any:
        return None if isinstance(e, dict) and not isinstance(d, dict) else {**d, **e} if isinstance(e, dict) else e

    _fuse(case, "prior", fused)


@law("I.infer_config", "infer_config(c)∘infer_config(d)∘p ≈ infer_config(d, overwritten by c)∘p", ("infer_config",))
def configurations_merge(case: Case) -> None:
    _fuse(case, "config", lambda c, d: {name: {**d.get(name, {}), **c.get(name, {})} for name in (*d, *c)})


@law("I.indep", "indep(n)∘indep(m)∘…∘p: n's frame, then m's, …; a name at two depths is an error, before anything is drawn", ("indep",))
def frames_are_outermost_first(case: Case) -> None:
    program = case.program()
    names = case.draw(_DEPTHS)
    whole = side(program, *(case.link("indep", name=name, vectorized=False) for name in reversed(names)))
    found, alone = outcome(whole.fn), outcome(program)
    if len({*names}) < len(names):
        refused = found.failure is not None and issubclass(found.failure.type, PlateError) and not found.sites
        case.expect(refused, f"it gives {found.failure}, after {found.sites}", whole.source)
        return
    inside = {site.name: getattr(site, "cond_indep_stack", ()) for site in alone.sites}
    for site in found.sites:
        frames, depth = getattr(site, "cond_indep_stack", ()), len(names)
        case.expect([frame.name for frame in frames[:depth]] == names, f"site {site.name!r}: its frames are {frames}", whole.source)
        case.expect(frames[depth:] == inside[site.name], f"site {site.name!r}: its frames are {frames}", whole.source)


@law("I.entries", "the entries of indep(n)∘p in one run are numbered 1, 2, …, and again from 1 in the next run", ("indep",))
def entries_are_numbered(case: Case) -> None:
    program, times = case.program(first=("sample",)), case.draw(st.integers(1, 3))
    handler = case.handler(program)
    entries = [handler(link("scope", prefix=str(number))(program)) for number in range(1, times + 1)]

    def several() -> Coroutine[None]:
        for entry in entries:
            yield from entry()

    for run in ("the first run", "the second run"):
        found = outcome(several)
        check_end(case, found, f"{times} times {written(handler, 'model')}")
        for site in found.sites:
            number, frames = site.name.split("/")[0], getattr(site, "cond_indep_stack", ())[:1]
            right = [str(frame.counter) for frame in frames] == [number]
            case.expect(right, f"site {site.name!r}: in {run}, its plate is {frames}", f"{times} times {written(handler, 'model')}")


@law("I.read-again", "a param that lift(d)∘p reads again is what it was, and no second site", ("lift",))
def read_again(case: Case) -> None:
    program, seed = case.program(first=("param",)), case.seed()
    handler = case.handler(program)
    params = [site for site in trace_of(program, seed).nodes.values() if isinstance(site, Param)]

    def again() -> Coroutine[dict[str, Any]]:
        yield from program()
        values = {}
        for site in params:
            values[site.name] = yield Param(site.name, site.init, constraint=site.constraint)
        return values

    found, source = outcome(handler(again), seed=seed), f"{written(handler, 'model')}, where model reads its params again"
    check_end(case, found, source)
    for site in found.sites:
        if isinstance(site, Sample) and site.name in (found.value or {}):
            case.same(f"site {site.name!r}", found.value[site.name], site.value, source, "the value that was drawn")


@law("I.sites", "replay(t, sites={a: b, …})∘p ≈ replay({a: what t has at b, …})∘p", ("replay",))
def replayed_under_other_names(case: Case) -> None:
    program, seed = case.program(first=("sample",) * 3), case.seed()
    guide = trace_of(program, 4)
    pairs = alike(guide)
    sites = dict(case.draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=2))) if pairs else {}
    renamed = Trace()
    for name, other in sites.items():
        renamed.record(guide[other].evolve(name=name))
    left = side(program, case.link("replay", guide_trace=guide, sites=sites))
    case.agree(left, side(program, case.link("replay", guide_trace=renamed)), seed)


@law(
    "I.strict",
    "h(strict)∘p ≈ h∘p, where p comes to its end and has all sites that h names; where it lacks one, UnusedNames, at the end",
    ("condition", "substitute", "do", "lift", "infer_config"),
)
def strict(case: Case) -> None:
    program = case.program(first=("param", "sample"), blocks=False)
    given = case.another(program)
    if given.options.get("strict", True):
        return  # it names none
    lenient, whole = (side(program, case.subject.like(**{**given.options, "strict": strict})) for strict in (False, True))
    right, left = outcome(lenient.fn), outcome(whole.fn)
    named = given.options.get("data", given.options.get("config", given.options.get("prior")))
    seen = {site.name for site in right.sites if isinstance(site, _REACHED.get(str(case.subject.kind), Site))}
    missed = {*(_data(named) if isinstance(named, Trace) else named)} - seen
    if right.failure is not None or not missed:
        case.equal(left, right, whole.source, lenient.source)
        return
    case.expect(
        left.failure is not None and issubclass(left.failure.type, UnusedNames),
        f"the end of the run: it {left.failure or 'returns'}; it names {sorted(missed)}, and has {sorted(seen)}",
        whole.source,
    )
    case.same("the sites that it has asked for", _arriving(whole.fn), _arriving(lenient.fn), whole.source, lenient.source)


def _arriving(fn: Callable[..., Any]) -> list[str]:
    runtime = KeepingRuntime(lambda message: isinstance(message, Site))
    error_of(fn, runtime)
    return [message.name for message in runtime.arrived]


def _fuse(case: Case, option: str, fuse: Callable[[Any, Any], Any]) -> None:
    """Two handlers of the same class around one another are one, whose ``option`` is ``fuse`` of theirs (None: no such one)."""
    program = case.program(first=_FIRST.get(option, ("sample",)))
    outer, inner = case.handler(program), case.another(program)
    assert isinstance(outer, Link)
    if option in _COMMON and case.draw(_OFTEN):
        mine, yours = _COMMON[option](case, program, outer.options.get(option), inner.options.get(option))
        lenient = {"strict": False} if any("strict" in each.options for each in (outer, inner)) else {}
        outer, inner = (case.subject.like(**lenient, **{option: given}) for given in (mine, yours))
    alone = all(each.options.keys() - {"strict"} == {option} for each in (outer, inner))
    if alone and outer.name == inner.name:
        both = fuse(outer.options[option], inner.options[option])
        if both is not None:
            fused = case.subject.like(**{**outer.options, option: both})
            case.agree(side(program, inner, outer), side(program, fused))


def _other_names(case: Case, program: Model, a: Any, b: Any) -> tuple[Any, Any]:
    names = Names.of(trace_of(program)).all
    mine, yours = (case.draw(st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=3)) for _ in range(2))
    return mine, sorted({*mine[:1], *yours})


def _other_values(case: Case, program: Model, d: Any, e: Any) -> tuple[Any, Any]:
    """Both give a value to one or two of the same samples, each that of another run."""
    one, other = (Names.of(trace_of(program, seed)).samples for seed in (4, 5))
    common = [name for name in one if name in other]
    names = case.draw(st.lists(st.sampled_from(common), unique=True, min_size=1, max_size=2)) if common else []
    return {**_data(d), **{name: one[name] for name in names}}, {**_data(e), **{name: other[name] for name in names}}


def _data(given: Any) -> Mapping[str, Any]:
    """A trace stands for the values of its samples."""
    return ConditionPoutine(trace_of, given).data


def _other_priors(case: Case, program: Model, d: Any, e: Any) -> tuple[Any, Any]:
    return d, {**e, **dict.fromkeys(d, Beta(1.0, 3.0))} if isinstance(d, dict) and isinstance(e, dict) else e


_DEPTHS: Final = st.lists(st.sampled_from(("outer", "other", "third")), min_size=2, max_size=3)
_REACHED: Final[Mapping[str, tuple[type[Site], ...]]] = MappingProxyType(
    {"condition": (Choice,), "do": (Choice,), "substitute": (Choice, Param), "lift": (Sample, Param)}
)
_OFTEN: Final = st.sampled_from((True, True, True, False))
_FIRST: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({"prior": ("param", "sample"), "data": ("sample",) * 3})

# The option of two handlers, the outer one first, which have names in common and say something else of them.
_COMMON: Final[Mapping[str, Callable[[Case, Model, Any, Any], tuple[Any, Any]]]] = MappingProxyType(
    {
        "data": _other_values,
        "prior": _other_priors,
        "mask": lambda case, program, m, n: (m, torch.as_tensor(n) if isinstance(m, torch.Tensor) else torch.as_tensor(n).all().item()),
        "guide_trace": lambda case, program, t, u: (trace_of(program, 4), trace_of(program, 5)),
        "hide": _other_names,
        "config": lambda case, program, c, d: (c, {**d, **{name: {"step": 0.125, "kernel": "nuts"} for name in c}}),
    }
)


def _overwritten(t: Trace, u: Trace) -> Trace:
    """``u``, with the sites of ``t`` in place of its own."""
    both = Trace()
    for site in {**u.nodes, **t.nodes}.values():
        both.record(site)
    return both


SECTION_I: Final[tuple[Law, ...]] = (
    neutral, idempotent, scales_multiply, masks_conjoin, blocks_unite, scopes_nest, outer_wins, replays_overwrite,
    inner_intervention_wins, inner_seed_wins, inner_prior_wins, configurations_merge, frames_are_outermost_first,
    entries_are_numbered, read_again, replayed_under_other_names, strict,
)  # fmt: skip
