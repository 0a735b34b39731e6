"""C. Commutation: as the outermost trace sees it and, in the laws ``C.<handler>.inside``, a trace inside of both, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from hypothesis import strategies as st

from poutine.equality import same
from poutine.errors import AlreadyObserved
from poutine.handlers.broadcast import BroadcastPoutine
from poutine.handlers.indep import IndepPoutine
from poutine.handlers.replay import ReplayPoutine
from poutine.handlers.trace import TracePoutine
from poutine.laws.blame import check_end
from poutine.laws.handlers import CONFIGURATIONS, needed
from poutine.laws.law import ANY, Case, Law, law, side
from poutine.laws.outcome import outcome
from poutine.laws.probes import KeepingRuntime, error_of
from poutine.laws.traces import Names, sampled, trace_of, traces, values
from poutine.messages import Observe


def commutes_with(kind: str, inside: bool = False) -> Law:
    """The law that a handler commutes with those of one kind; ``inside``: for a trace inside of both, too."""

    def check(case: Case) -> None:
        kinds = (kind, case.subject.kind)
        # What do does is seen where something depends on the site.
        program = case.program(first=(*dict.fromkeys(map(needed, kinds)), *(["computed"] if "do" in kinds else [])))
        handler, other = case.handler(program), case.other(program, kind)
        if _is_made_to_fit(handler, other) or _is_made_to_fit(other, handler):
            return
        seen: Callable[..., Any] = TracePoutine(program).traced if inside else program
        name = "trace(model).traced" if inside else "model"
        case.agree(side(seen, handler, other, name=name), side(seen, other, handler, name=name))

    trace, suffix = ("∘trace", ".inside") if inside else ("", "")
    return Law(f"C.{kind}{suffix}", f"{kind}∘h{trace}∘p ≈ h∘{kind}{trace}∘p", check, ANY, f"handlers that say so{_UNSIZED.get(kind, '')}")


def _is_made_to_fit(handler: Any, plate: Any) -> bool:
    """Whether values or distributions are made to fit the size of a plate, and so it matters which is further in."""
    kinds = getattr(handler, "poutine", None), getattr(plate, "poutine", None)
    sized = kinds[1] is IndepPoutine and plate.options.get("size") is not None
    return sized and kinds[0] is not None and issubclass(kinds[0], (ReplayPoutine, BroadcastPoutine))


_UNSIZED: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(("indep", "replay", "broadcast"), "; a plate with a size commutes with neither replay nor broadcast, which look at it")
)


@law(
    "C.scoped-names",
    "scope(a)∘condition(d)∘p ≈ condition({a/k: v})∘scope(a)∘p",
    ("scope", "condition", "do", "substitute"),
)
def scoped_names(case: Case) -> None:
    program = case.program(first=("sample",))
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
    program = case.program()
    lift = case.handler(program) if case.subject.kind == "lift" else case.other(program, "lift")
    lifted = trace_of(lift(program))
    # Of those that are read there, too: it may have been refused before, and other values may lead elsewhere.
    params = [name for name, site in trace_of(program).nodes.items() if site.type == "param"]
    names = [name for name in params if name in lifted.nodes and lifted[name].type == "sample"]
    condition = case.link("condition", data={name: lifted[name].value for name in names}, strict=False)
    found = trace_of(side(program, lift, condition).fn)
    missed = [name for name in names if not isinstance(found[name], Observe)]
    case.expect(not missed, f"{missed} are not observed", side(program, lift, condition).source)
    case.agree(side(program, condition, lift), side(program, lift))


@law("C.intervened", "of condition(d) and do(e), in both orders, the trace has d and the model gets e", ("condition", "do"))
def intervened(case: Case) -> None:
    program, seed = case.program(first=("sample",)), case.seed()
    d, others = case.draw(values(program)), Names.of(case.draw(traces(program))).samples
    e = case.draw(values(program)) | {name: others[name] for name in list(d)[:1] if name in others}  # one name in common
    do = case.link("do", data=e, strict=False)
    condition = case.link("condition", data=d, strict=False)
    for chain in ((condition, do), (do, condition)):
        whole = side(program, *chain)
        found, inside = outcome(whole.fn, seed=seed), outcome(chain[1](chain[0](TracePoutine(program).traced)), seed=seed).value
        check_end(case, found, whole.source)
        names = [name for name in inside or () if name not in ("_INPUT", "_RETURN")]
        case.same("the sites, outside and inside", [site.name for site in found.sites], names, whole.source)
        for site in found.sites:
            if site.name in d:
                case.expect(same(site.value, d[site.name]), f"site {site.name!r} is {site.value} outside, not {d[site.name]}", whole.source)
            if site.name in e:
                case.expect(
                    same(inside[site.name].value, e[site.name]), f"the model got {inside[site.name]}, not {e[site.name]}", whole.source
                )


@law("C.data-wins", "of condition(d) and replay(t), in both orders, the trace has d", ("condition", "replay"))
def data_win(case: Case) -> None:
    program, seed = case.program(first=("sample",)), case.seed()
    data, guide = case.draw(values(program)), case.draw(traces(program))
    condition, replay = case.link("condition", data=data, strict=False), case.link("replay", guide_trace=guide)
    for chain in ((condition, replay), (replay, condition)):
        whole = side(program, *chain)
        found = outcome(whole.fn, seed=seed)
        check_end(case, found, whole.source)
        for site in found.sites:
            if site.name in data:
                case.expect(isinstance(site, Observe), f"site {site.name!r}: it is not observed", whole.source)
                case.same(f"site {site.name!r}", site.value, data[site.name], whole.source, "the data")


@law(
    "C.observed",
    "h that names what p itself observes is refused there, before the site is answered; replay without sites lets it stand",
    ("condition", "substitute", "replay"),
)
def own_observations_stand(case: Case) -> None:
    program = case.program(first=("observe",))
    kind, alone = case.subject.kind, outcome(program)
    assert kind is not None
    sites = [site for site in alone.sites if isinstance(site, Observe)]
    site = case.draw(st.sampled_from(sites))
    guide = sampled({site.name: site.value})  # an equal value is refused, too
    if kind == "replay":
        case.agree(side(program, case.link(kind, guide_trace=guide)), side(program), seed=0)
        handler = case.link(kind, guide_trace=guide, sites=[site.name])
    else:
        handler = case.link(kind, data={site.name: site.value}, strict=False)
    whole, runtime = side(program, handler), KeepingRuntime(lambda message: message.name == site.name)
    error = error_of(whole.fn, runtime)
    refused = isinstance(error, AlreadyObserved) and error.name == site.name and not runtime.arrived
    case.expect(
        refused, f"site {site.name!r}: it is answered" if error is None else f"site {site.name!r}: it raises {error!r}", whole.source
    )


SECTION_C: Final[tuple[Law, ...]] = (
    *(commutes_with(kind) for kind in CONFIGURATIONS),
    *(commutes_with(kind, inside=True) for kind in ("scale", "mask", "indep", "trace", "condition", "replay", "uncondition")),
    scoped_names,
    lifted_names,
    intervened,
    data_win,
    own_observations_stand,
)
