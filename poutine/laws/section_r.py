"""R. Round trips."""

from __future__ import annotations

import pickle
from typing import Any, Final

import torch
from hypothesis import strategies as st
from torch.distributions import constraints

from poutine.equality import same
from poutine.laws.handlers import AtSite, link
from poutine.laws.law import Case, Law, law, side
from poutine.laws.outcome import outcome
from poutine.laws.traces import Names, traces, values
from poutine.messages import UNDECIDED, Observe, Param, Sample
from poutine.params import ParamStore
from poutine.program import Program
from poutine.runtime import draw_site
from poutine.trace_graph import Trace, is_subsample


@law("R.replay", "trace(replay(p, t)) ≈ t, and returns the same", ("replay",))
def replayed(case: Case) -> None:
    program, seed = case.program(handlers=False), case.seed()
    inner, outer = (
        case.other(program, "scale", "mask", "infer_config", "indep"),
        case.other(program, "scale", "mask", "infer_config", "trace"),
    )
    recorded = outcome(outer(inner(program)), seed=seed)
    replay = side(program, inner, case.link("replay", guide_trace=recorded.trace), outer)
    found = outcome(replay.fn, seed=seed + 1)
    case.equal(found, recorded, replay.source, "the run that t records")
    left, right = (each.trace.log_pdf() for each in (found, recorded) if each.trace is not None)
    case.expect(same(left, right), f"lp is {left} instead of {right}", replay.source)


@law("R.partial", "with a part of t, the other sites keep the draws of the same seed", ("replay", "substitute"))
def partially_replayed(case: Case) -> None:
    program, seed = case.program(), case.seed()
    recorded = outcome(program, seed=seed)
    part = case.draw(_parts(recorded.trace or Trace()))
    for handler in (case.link("replay", guide_trace=part), case.link("substitute", data=Names.of(part).samples, strict=False)):
        case.equal(outcome(handler(program), seed=seed), recorded, side(program, handler).source, "the run that t records")


@law("R.draws", "conditioning p on some of what it draws moves no other draw", ("condition", "do"))
def draws_stay(case: Case) -> None:
    program, seed = case.program(), case.seed()
    recorded = outcome(program, seed=seed)
    data = Names.of(case.draw(_parts(recorded.trace or Trace()))).samples
    for kind in ("condition", "do"):
        handler = case.link(kind, data=data, strict=False)
        found = outcome(handler(program), seed=seed)
        moved = [mine.name for mine, yours in zip(found.sites, recorded.sites, strict=False) if not same(mine.value, yours.value)]
        source = side(program, handler).source
        case.expect(not moved and same(found.value, recorded.value), f"sites {moved} moved, or the returned value did", source)


@law("R.keys", "a draw is that of (seed, name, visit), and nothing else moves it", where="samples of the default runtime")
def keyed(case: Case) -> None:
    program, seed = case.program(handlers=False), case.seed()
    for site in outcome(program, seed=seed).sites:
        if isinstance(site, Sample):
            expected = draw_site(site.evolve(value=UNDECIDED), (seed, site.name, 1))
            case.same(f"site {site.name!r}", site.value, expected, "model", f"a draw under the key ({seed}, {site.name!r}, 1)")


@law("R.condition", "condition(p, latents of t) has the density of t, and everything is observed", ("condition",))
def conditioned_on_trace(case: Case) -> None:
    program, seed = case.program(), case.seed()
    recorded = outcome(program, seed=seed).trace or Trace()
    condition = side(program, case.link("condition", data=recorded))
    found = outcome(condition.fn, seed=seed).trace or Trace()
    latent = [name for name, site in found.nodes.items() if isinstance(site, Sample) and not is_subsample(site)]
    case.expect(not latent, f"{latent} are not observed", condition.source)
    case.expect(same(found.compute_batch_log_pdf(), recorded.compute_batch_log_pdf()), "the densities differ", condition.source)


@law(
    "R.uncondition",
    "uncondition∘condition(d)∘p ≈ p, for p without observations: draws are keyed by name",
    ("uncondition",),
)
def unconditioned(case: Case) -> None:
    program = case.program(observations=False)
    condition = link("condition", data=case.draw(values(program)), strict=False)
    case.agree(side(program, condition, case.handler(program)), side(program))


@law("R.predict", "nothing is observed in uncondition∘p", ("uncondition",))
def nothing_observed(case: Case) -> None:
    program = case.program(handlers=False)
    condition = link("condition", data=case.draw(values(program)), strict=False)
    whole = side(program, condition, case.handler(program))
    observed = [site.name for site in outcome(whole.fn, seed=case.seed()).sites if isinstance(site, Observe)]
    case.expect(not observed, f"{observed} are still observed", whole.source)


@law("R.substitute", "the log density as a function, at the values of t, is lp(t)", ("substitute",))
def as_a_function(case: Case) -> None:
    program, seed = case.program(handlers=False), case.seed()
    recorded = outcome(program, seed=seed).trace or Trace()
    known = Names.of(recorded)
    substitute = side(program, case.link("substitute", data={**known.samples, **known.params}))
    found = outcome(substitute.fn, seed=seed + 1).trace or Trace()
    left, right = found.compute_batch_log_pdf(), recorded.compute_batch_log_pdf()
    case.expect(same(left, right), f"{left} is not {right}", substitute.source)


@law("R.prefix", "resuming a recorded prefix and finishing = running once", ("escape", "replay"))
def resumed(case: Case) -> None:
    program, seed = case.program(handlers=False), case.seed()
    whole = outcome(program, seed=seed)
    names = [name for name, site in (whole.trace or Trace()).nodes.items() if isinstance(site, (Sample, Observe))]
    if not names:
        return
    name = case.draw(st.sampled_from(names))
    prefix = outcome(case.link("escape", escape_fn=AtSite(name))(program), seed=seed)
    source = f"escape(model, lambda site: site.name == {name!r})"
    before = whole.sites[: [site.name for site in whole.sites].index(name)]
    case.expect(same(prefix.sites, before), f"the prefix is {prefix.sites} instead of {before}", source)
    case.equal(
        outcome(case.link("replay", guide_trace=prefix.trace)(program), seed=seed), whole, f"replay(model, the trace of {source})", "model"
    )


@law("R.pickle", "pickle.loads(pickle.dumps(x)) == x", where="messages, programs of picklable functions, handlers, traces")
def pickled(case: Case) -> None:
    program = case.program()
    trace = case.draw(traces(program))
    things: tuple[Any, ...] = (program, Program(program), case.other(program)(program), trace, *trace.nodes.values())
    for thing in things:
        case.expect(pickle.loads(pickle.dumps(thing)) == thing, f"{thing!r} comes back as another")


CONSTRAINED: Final[tuple[tuple[constraints.Constraint, tuple[Any, ...]], ...]] = (
    (constraints.real, (0.0, -2.5)),
    (constraints.positive, (1.0, 0.125)),
    (constraints.unit_interval, (0.5, 0.875)),
    (constraints.interval(-1.0, 3.0), (0.0, 2.0)),  # type: ignore[no-untyped-call]  # torch's own
    (constraints.simplex, ((0.25, 0.75), (0.125, 0.5, 0.375))),
    (constraints.lower_cholesky, (((1.0, 0.0), (0.5, 2.0)),)),
)


@law("R.params", "a parameter is read as it was initialised, also after its store was saved and loaded", where="ParamStore")
def params_round_trip(case: Case) -> None:
    constraint, inits = case.draw(st.sampled_from(CONSTRAINED))
    init = torch.tensor(case.draw(st.sampled_from(inits)), dtype=torch.float64)
    site = Param("w", init, constraint=constraint)
    store, loaded = ParamStore(), ParamStore()
    found = store.read(site)
    loaded.load_state_dict(store.state_dict())
    case.expect(bool(torch.allclose(found, init, rtol=1e-12, atol=1e-12)), f"{init} under {constraint} is read as {found}")
    case.expect(same(loaded.read(site), found), f"{found} comes back as {loaded.read(site)}")


def _parts(trace: Trace) -> st.SearchStrategy[Trace]:
    """A trace with some of its sites."""
    names = list(trace.nodes)

    def only(kept: list[str]) -> Trace:
        part = Trace()
        for name in kept:
            part.add_node(name, trace[name])
        return part

    return st.lists(st.sampled_from(names), unique=True).map(only) if names else st.just(trace)


SECTION_R: Final[tuple[Law, ...]] = (
    replayed, partially_replayed, draws_stay, keyed, conditioned_on_trace, unconditioned, nothing_observed, as_a_function, resumed,
    pickled, params_round_trip,
)  # fmt: skip
