"""B. Block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from hypothesis import strategies as st

from poutine.equality import same
from poutine.laws.blame import check_end
from poutine.laws.handlers import AtSite, link
from poutine.laws.law import ANY, Case, Law, law, side
from poutine.laws.outcome import outcome
from poutine.laws.traces import ELSEWHERE, Names, trace_of, values
from poutine.messages import Message


@law("B.isolates", "h∘block()∘p ≈ block()∘p", ANY, "handlers that act on sites only: all but seed")
def isolates(case: Case) -> None:
    program = case.program()
    handler = case.handler(program)
    case.agree(side(program, link("block"), handler), side(program, link("block")))


@law("B.hides", "the trace of block(hide=A)∘p is that of p without A; the log densities, too", ("block",))
def hides(case: Case) -> None:
    program, seed = case.program(), case.seed()
    names = Names.of(trace_of(program, seed)).all
    hidden = case.draw(st.lists(st.sampled_from((*names, ELSEWHERE)), unique=True, min_size=min(len(names), 1)))
    outer = side(program, case.link("block", hide=hidden))
    found, inner = outcome(outer.fn, seed=seed), outcome(program, seed=seed)
    _same_but(case, found.sites, [site for site in inner.sites if site.name not in hidden], outer.source)
    case.expect(same(found.value, inner.value), f"it returns {found.value} instead of {inner.value}", outer.source)
    left, right = (found.trace, inner.trace)
    assert left is not None and right is not None
    kept = right.compute_batch_log_pdf(lambda name, site: name not in hidden)
    case.expect(same(left.compute_batch_log_pdf(), kept), "the log densities differ", outer.source)


@law(
    "B.types",
    "block(hide=A, hide_types=T)∘p hides the sites of these names and of these types, and no others; an observed one is of type observe",
    ("block",),
)
def hides_types(case: Case) -> None:
    program, seed = case.program(), case.seed()
    types = case.draw(st.lists(st.sampled_from(("sample", "observe", "param", "deterministic")), unique=True, min_size=1))
    data = case.draw(values(program))
    hidden: dict[str, Any] = case.draw(st.sampled_from(({}, {"expose_all": True}, {"hide_all": False})))
    names = case.draw(st.lists(st.sampled_from((*Names.of(trace_of(program, seed)).all, ELSEWHERE)), unique=True, max_size=2))
    outer = side(
        program,
        link("condition", data=data, strict=False),
        case.link("block", hide_types=types, **({"hide": names} if names else {}), **hidden),
    )
    inner = outcome(link("condition", data=data, strict=False)(program), seed=seed)
    found = outcome(outer.fn, seed=seed)
    check_end(case, found, outer.source)
    _same_but(case, found.sites, [site for site in inner.sites if site.type not in types and site.name not in names], outer.source)


@law(
    "B.exposes",
    "block(expose=A, expose_types=T)∘p hides all but sites of these names and types; with hide_all=False or expose_all=True, none; "
    "what hide and hide_types name is hidden in any case, and nothing else if they are all that is said",
    ("block",),
)
def exposes(case: Case) -> None:
    program, seed = case.program(first=("sample", "param")), case.seed()
    names = case.draw(st.permutations(Names.of(trace_of(program, seed)).all))
    types = case.draw(st.permutations(("sample", "observe", "param", "deterministic")))
    given = {"hide": names[:1], "expose": names[1:3], "hide_types": types[:1], "expose_types": types[1:3]}
    options: dict[str, Any] = {option: given[option] for option in case.draw(_SAID)}
    options.update(case.draw(st.sampled_from(({}, {"hide_all": False}, {"expose_all": True}))))
    outer = side(program, case.link("block", **options))
    visible = [site for site in outcome(program, seed=seed).sites if site.type == "ask" or not _is_hidden(site, options)]
    found = outcome(outer.fn, seed=seed)
    check_end(case, found, outer.source)
    _same_but(case, found.sites, visible, outer.source)


def _is_hidden(site: Message, options: Mapping[str, Any]) -> bool:
    named = {option for option, kind in _NAMES_WHAT.items() if getattr(site, kind) in options.get(option, ())}
    if named & {"hide", "hide_types"}:
        return True
    if "hide_all" in options or "expose_all" in options:
        return False
    if options.keys() & {"expose", "expose_types"}:
        return not named
    return not options


_SAID: Final = st.sampled_from(
    (
        (), ("hide",), ("expose",), ("hide_types",), ("expose_types",), ("expose", "expose_types"), ("hide", "expose"),
        ("hide", "expose_types"), ("hide_types", "expose"), ("hide", "hide_types", "expose", "expose_types"),
    )
)  # fmt: skip
_NAMES_WHAT: Final = MappingProxyType({"hide": "name", "expose": "name", "hide_types": "type", "expose_types": "type"})


@law("B.inner", "a trace inside of block() sees all", ("block", "trace"))
def inner_trace_sees_all(case: Case) -> None:
    program, seed = case.program(), case.seed()
    tracer: Any = case.link("trace")(program)
    traced = outcome(case.link("block")(tracer.traced), seed=seed)
    case.expect(not traced.sites, f"it lets {traced.sites} through", "block(trace(model).traced)")
    case.expect(same(traced.value, trace_of(program, seed)), f"the inner trace is {traced.value}", "block(trace(model).traced)")


@law("B.escape", "an escape outside of a block never fires at a hidden site", ("block", "escape"))
def no_escape(case: Case) -> None:
    program = case.program()
    name = case.draw(st.sampled_from(("none", *Names.of(trace_of(program)).all)))
    block = case.link("block", hide=[name])
    case.agree(side(program, block, case.link("escape", escape_fn=AtSite(name))), side(program, block))


@law("B.outside", "block(hide=A)∘h∘p ≈ h∘block(hide=A)∘p, where h acts outside of A only", ("block",), "a value map or infer_config as h")
def acts_outside(case: Case) -> None:
    program = case.program(first=("sample", "sample"))
    first, *rest = Names.of(trace_of(program)).all
    data = {name: value for name, value in case.draw(values(program)).items() if name != first}
    hidden = [first, *(name for name in rest if name not in data and case.draw(st.booleans()))]
    handler = case.draw(
        st.sampled_from(("condition", "do", "substitute")).map(lambda kind: link(kind, data=data, strict=False))
        | st.just(link("infer_config", config={name: {"step": 0.5} for name in data}))
    )
    block = case.link("block", hide=hidden)
    case.agree(side(program, handler, block), side(program, block, handler))


def _same_but(case: Case, found: Iterable[Message], expected: Iterable[Message], source: str) -> None:
    case.expect(same(list(found), list(expected)), f"the trace has {found} instead of {expected}", source)


SECTION_B: Final[tuple[Law, ...]] = (isolates, hides, hides_types, exposes, inner_trace_sees_all, no_escape, acts_outside)
