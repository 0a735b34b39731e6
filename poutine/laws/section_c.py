"""C. Commutation: as the outermost trace sees it and, in the laws ``C.<handler>.inside``, a trace inside of both, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hypothesis import strategies as st

from poutine.equality import same
from poutine.handlers.trace import TracePoutine
from poutine.laws.handlers import CONFIGURATIONS
from poutine.laws.law import ANY, Case, Law, law, side
from poutine.laws.outcome import outcome
from poutine.laws.traces import Names, trace_of, traces, values
from poutine.messages import Observe


def commutes_with(kind: str, inside: bool = False) -> Law:
    """The law that a handler commutes with those of one kind; ``inside``: for a trace inside of both, too."""

    def check(case: Case) -> None:
        program = case.program()
        handler, other = case.handler(program), case.other(program, kind)
        seen: Callable[..., Any] = TracePoutine(program).traced if inside else program
        name = "trace(model).traced" if inside else "model"
        case.agree(side(seen, handler, other, name=name), side(seen, other, handler, name=name))

    trace, suffix = ("∘trace", ".inside") if inside else ("", "")
    return Law(f"C.{kind}{suffix}", f"{kind}∘h{trace}∘p ≈ h∘{kind}{trace}∘p", check, ANY, "handlers that say so")


@law(
    "C.scoped-names",
    "scope(a)∘condition(d)∘p ≈ condition({a/k: v})∘scope(a)∘p",
    ("scope", "condition", "do", "substitute"),
)
def scoped_names(case: Case) -> None:
    program = case.program()
    kind = case.subject.kind if case.subject.kind != "scope" else case.draw(st.sampled_from(("condition", "do", "substitute")))
    assert kind is not None
    scope = case.handler(program) if case.subject.kind == "scope" else case.other(program, "scope")
    prefix = "".join(f"{part}/" for part in filter(None, (case.options(scope)["prefix"],)))
    data = case.draw(values(program))
    inside, outside = (
        case.link(kind, data=data, strict=False),
        case.link(kind, data={f"{prefix}{name}": value for name, value in data.items()}, strict=False),
    )
    case.agree(side(program, inside, scope), side(program, scope, outside))


@law("C.lifted-names", "condition outside of lift observes the lifted sites; inside it cannot", ("lift", "condition"))
def lifted_names(case: Case) -> None:
    program = case.program(handlers=False)
    lift = case.handler(program) if case.subject.kind == "lift" else case.other(program, "lift")
    lifted = trace_of(lift(program))
    names = [name for name, site in trace_of(program).nodes.items() if site.type == "param" and lifted[name].type == "sample"]
    condition = case.link("condition", data={name: lifted[name].value for name in names}, strict=False)
    found = trace_of(side(program, lift, condition).fn)
    missed = [name for name in names if not isinstance(found[name], Observe)]
    case.expect(not missed, f"{missed} are not observed", side(program, lift, condition).source)
    case.agree(side(program, condition, lift), side(program, lift))


@law("C.intervened", "of condition(d) and do(e), in both orders, the trace has d and the model gets e", ("condition", "do"))
def intervened(case: Case) -> None:
    program, seed = case.program(handlers=False), case.seed()
    d, others = case.draw(values(program)), Names.of(case.draw(traces(program))).samples
    e = case.draw(values(program)) | {name: others[name] for name in list(d)[:1] if name in others}  # one name in common
    do = case.link("do", data=e, strict=False)
    condition = case.link("condition", data=d, strict=False)
    for chain in ((condition, do), (do, condition)):
        whole = side(program, *chain)
        found, inside = outcome(whole.fn, seed=seed), outcome(chain[1](chain[0](TracePoutine(program).traced)), seed=seed).value
        for site in found.sites:
            if site.name in d:
                case.expect(same(site.value, d[site.name]), f"site {site.name!r} is {site.value} outside, not {d[site.name]}", whole.source)
            if site.name in e:
                case.expect(
                    same(inside[site.name].value, e[site.name]), f"the model got {inside[site.name]}, not {e[site.name]}", whole.source
                )


SECTION_C: Final[tuple[Law, ...]] = (
    *(commutes_with(kind) for kind in CONFIGURATIONS),
    *(commutes_with(kind, inside=True) for kind in ("scale", "mask", "indep", "trace", "condition", "replay", "uncondition")),
    scoped_names,
    lifted_names,
    intervened,
)
