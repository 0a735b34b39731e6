"""I. Identities, idempotence, fusion."""

from __future__ import annotations

from typing import Final

import torch
from hypothesis import strategies as st

from poutine.errors import PlateError
from poutine.laws.handlers import PLATES, SCALES, SEED_OPTIONS, AtSite, link
from poutine.laws.law import Case, Law, law, side
from poutine.laws.links import Link
from poutine.laws.outcome import outcome
from poutine.laws.traces import ELSEWHERE, traces, values
from poutine.trace_graph import Trace

NEUTRAL: Final = (
    link("scale", scale=1.0),
    link("mask", mask=True),
    link("condition", data={}),
    link("substitute", data={}),
    link("do", data={}),
    link("replay", guide_trace=Trace()),
    link("lift", prior={}),
    link("block", hide=[]),
    link("block", expose_all=True),
    link("scope", prefix=""),
    link("escape", escape_fn=AtSite(ELSEWHERE)),
    link("infer_config", config={}),
    link("trace"),
    link("broadcast"),
)


@law("I.neutral", "h∘p ≈ p, where h has nothing to do", "scale(1), mask(True), condition({}), block(hide=[]), scope(''), ...; trace")
def neutral(case: Case) -> None:
    program, handler = case.program(), case.draw(st.sampled_from(NEUTRAL))
    case.agree(side(program, handler), side(program))


@law("I.idempotent", "h∘h∘p ≈ h∘p", "handlers with the same options", generic=True)
def idempotent(case: Case) -> None:
    program = case.program()
    handler = case.handler(program)
    case.agree(side(program, handler, handler), side(program, handler))


@law("I.scale", "scale(a)∘scale(b)∘p ≈ scale(a·b)∘p", "scale")
def scales_multiply(case: Case) -> None:
    a, b = case.draw(SCALES), case.draw(SCALES)
    _fused(case, link("scale", scale=a), link("scale", scale=b), link("scale", scale=a * b))


@law("I.mask", "mask(m)∘mask(n)∘p ≈ mask(m ∧ n)∘p", "mask")
def masks_conjoin(case: Case) -> None:
    pairs = st.tuples(st.booleans(), st.booleans())
    m, n = case.draw(pairs | pairs.map(lambda pair: (torch.tensor(pair[0]), torch.tensor(pair[1]))))
    _fused(case, link("mask", mask=m), link("mask", mask=n), link("mask", mask=m & n))


@law("I.block", "block(hide=A)∘block(hide=B)∘p ≈ block(hide=A∪B)∘p", "block")
def blocks_unite(case: Case) -> None:
    program = case.program()
    names = [list(case.draw(values(program, elsewhere=True))) for _ in range(2)]
    a, b, both = (link("block", hide=hidden) for hidden in (*names, sorted({*names[0], *names[1]})))
    case.agree(side(program, b, a), side(program, both))


@law("I.scope", 'scope(a)∘scope(b)∘p ≈ scope("a/b")∘p', "scope")
def scopes_nest(case: Case) -> None:
    prefixes = st.sampled_from(("a", "b", "c"))
    a, b = case.draw(prefixes), case.draw(prefixes)
    _fused(case, link("scope", prefix=a), link("scope", prefix=b), link("scope", prefix=f"{a}/{b}"))


@law("I.outer-wins", "h(d)∘h(e)∘p ≈ h({**e, **d})∘p", "condition, substitute")
def outer_wins(case: Case) -> None:
    program, kind = case.program(), case.draw(st.sampled_from(("condition", "substitute")))
    d, e = case.draw(values(program)), case.draw(values(program))
    outer, inner, both = (link(kind, data=data, strict=False) for data in (d, e, {**e, **d}))
    case.agree(side(program, inner, outer), side(program, both))


@law("I.replay", "replay(t)∘replay(u)∘p ≈ replay(u, overwritten by t)∘p", "replay")
def replays_overwrite(case: Case) -> None:
    program = case.program()
    t, u = case.draw(traces(program, partial=True)), case.draw(traces(program, partial=True))
    both = u.copy()
    for name in t.nodes:
        if name in both:
            both.remove_node(name)
        both.add_node(name, t[name])
    outer, inner, fused = (link("replay", guide_trace=trace) for trace in (t, u, both))
    case.agree(side(program, inner, outer), side(program, fused))


@law("I.do", "do(d)∘do(e)∘p ≈ do({**d, **e})∘p", "do: what is nearest to the model is what it gets")
def inner_intervention_wins(case: Case) -> None:
    program = case.program()
    d, e = case.draw(values(program)), case.draw(values(program))
    outer, inner, both = (link("do", data=data, strict=False) for data in (d, e, {**d, **e}))
    case.agree(side(program, inner, outer), side(program, both))


@law("I.seed", "seed(a)∘seed(b)∘p ≈ seed(b)∘p", "seed")
def inner_seed_wins(case: Case) -> None:
    a, b = (link("seed", seed=case.draw(SEED_OPTIONS)) for _ in range(2))
    _fused(case, a, b, b)


@law("I.lift", "lift(d)∘lift(e)∘p ≈ lift({**d, **e})∘p", "lift")
def inner_prior_wins(case: Case) -> None:
    program = case.program()
    outer, inner = (case.other(program, "lift") for _ in range(2))
    assert isinstance(outer, Link) and isinstance(inner, Link)
    d, e = outer.options["prior"], inner.options["prior"]
    if isinstance(d, dict) and isinstance(e, dict):
        case.agree(side(program, inner, outer), side(program, link("lift", prior={**d, **e})))
    if not isinstance(e, dict):
        case.agree(side(program, inner, outer), side(program, inner))


@law("I.infer_config", "infer_config(c)∘infer_config(d)∘p ≈ infer_config(d, overwritten by c)∘p", "infer_config")
def configurations_merge(case: Case) -> None:
    program = case.program()
    names = st.sampled_from([*case.draw(values(program, elsewhere=True)), ELSEWHERE])
    configs = st.dictionaries(names, st.dictionaries(st.sampled_from(("step", "kernel")), st.integers(0, 2)), max_size=3)
    c, d = case.draw(configs), case.draw(configs)
    both = {name: {**d.get(name, {}), **c.get(name, {})} for name in (*d, *c)}
    outer, inner, fused = (link("infer_config", config=config) for config in (c, d, both))
    case.agree(side(program, inner, outer), side(program, fused))


@law("I.indep", "indep(n)∘indep(m): n's frame, then m's; one name twice is an error", "indep")
def frames_are_outermost_first(case: Case) -> None:
    program = case.program()
    n, m = case.draw(PLATES), case.draw(PLATES)
    whole = side(program, link("indep", name=m, vectorized=False), link("indep", name=n, vectorized=False))
    found, alone = outcome(whole.fn), outcome(program)
    if n == m:
        case.expect(found.failure is not None and issubclass(found.failure.type, PlateError), f"it gives {found.failure}", whole.source)
        return
    inside = {site.name: getattr(site, "cond_indep_stack", ()) for site in alone.sites}
    for site in found.sites:
        frames = getattr(site, "cond_indep_stack", ())
        case.expect([frame.name for frame in frames[:2]] == [n, m], f"site {site.name!r}: its frames are {frames}", whole.source)
        case.expect(frames[2:] == inside[site.name], f"site {site.name!r}: its frames are {frames}", whole.source)


def _fused(case: Case, outer: Link, inner: Link, fused: Link) -> None:
    program = case.program()
    case.agree(side(program, inner, outer), side(program, fused))


SECTION_I: Final[tuple[Law, ...]] = (
    neutral, idempotent, scales_multiply, masks_conjoin, blocks_unite, scopes_nest, outer_wins, replays_overwrite,
    inner_intervention_wins, inner_seed_wins, inner_prior_wins, configurations_merge, frames_are_outermost_first,
)  # fmt: skip
