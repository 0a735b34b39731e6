"""R. Round trips."""

from __future__ import annotations

import pickle
from functools import partial
from math import prod
from typing import Any, Final

import torch
from hypothesis import strategies as st
from torch.distributions import Normal, constraints

from poutine.bijections import bijection_to, transformation_to
from poutine.equality import same
from poutine.handlers.trace import TracePoutine
from poutine.laws.blame import check_end
from poutine.laws.distributions import distributions
from poutine.laws.families import REALS
from poutine.laws.handlers import AtSite, link, needed
from poutine.laws.law import ANY, Case, Law, all_but, law, side
from poutine.laws.links import written
from poutine.laws.outcome import Outcome, outcome
from poutine.laws.section_h_gradients import gradient_fault
from poutine.laws.traces import Names, mostly, sampled, traces, values
from poutine.laws.transcript import Transcript
from poutine.messages import UNDECIDED, Observe, Param, Sample
from poutine.params import ParamStore
from poutine.program import Coroutine, Program
from poutine.runtime import draw_site
from poutine.trace_graph import Trace, is_subsample


@law("R.replay", "trace(replay(p, t)) ≈ t, and returns the same", ("replay",))
def replayed(case: Case) -> None:
    # Nothing is hidden, since a trace has not what is hidden from it; and outside, nothing makes other sites of those that are replayed.
    program, seed = case.program(first=("sample",), blocks=False), case.seed()
    inner = case.chain(program, *all_but("block"))
    outer = case.other(inner.fn, *all_but("block", "scope", "lift", "uncondition"))
    recorded = outcome(outer(inner.fn), seed=seed)
    replay = side(inner, case.link("replay", guide_trace=recorded.trace or Trace()), outer)
    found = outcome(replay.fn, seed=seed + 1)
    case.equal(found, recorded, replay.source, "the run that t records")
    left, right = (each.trace.log_pdf() for each in (found, recorded) if each.trace is not None)
    case.expect(same(left, right), f"lp is {left} instead of {right}", replay.source)


@law(
    "R.reply",
    "the trace inside of h is the trace outside of it",
    ANY,
    "handlers that do nothing to what comes back: all but do, scope, block",
)
def replies_are_as_they_left(case: Case) -> None:
    program, seed = case.program(first=(needed(case.subject.kind),)), case.seed()
    handler = case.handler(program)
    found = outcome(handler(TracePoutine(program).traced), seed=seed)
    check_end(case, found, written(handler, "trace(model).traced"))
    nodes, outside = ({}, ()) if found.failure else (found.value.nodes, found.sites)
    inside = tuple(site for name, site in nodes.items() if name not in ("_INPUT", "_RETURN"))
    source = side(TracePoutine(program).traced, handler, name="trace(model).traced").source
    case.equal(Outcome(None, inside), Outcome(None, outside), f"the value of {source}", f"the trace of {source}")


@law("R.partial", "with a part of t, the other sites keep the draws of the same seed", ("replay", "substitute"))
def partially_replayed(case: Case) -> None:
    program, seed = case.program(first=("sample",)), case.seed()
    whole = case.chain(program)
    recorded = outcome(whole.fn, seed=seed)
    part = case.draw(_parts(recorded.trace or Trace()))
    for handler in (case.link("replay", guide_trace=part), case.link("substitute", data=Names.of(part).samples, strict=False)):
        case.equal(outcome(handler(whole.fn), seed=seed), recorded, side(whole, handler).source, whole.source)


@law("R.draws", "conditioning p on some of what it draws moves no other draw", ("condition", "do"))
def draws_stay(case: Case) -> None:
    program, seed = case.program(first=("sample",)), case.seed()
    whole = case.chain(program)
    recorded = outcome(whole.fn, seed=seed)
    data = Names.of(case.draw(_parts(recorded.trace or Trace()))).samples
    for kind in ("condition", "do"):
        handler = case.link(kind, data=data, strict=False)
        found = outcome(handler(whole.fn), seed=seed)
        moved = [mine.name for mine, yours in zip(found.sites, recorded.sites, strict=False) if not same(mine.value, yours.value)]
        source = side(whole, handler).source
        case.expect(not moved and same(found.value, recorded.value), f"sites {moved} moved, or the returned value did", source)


@law(
    "R.given",
    "what p is sent for a site that h(d) names is what d gives, with its gradient",
    ("condition", "substitute", "do", "replay"),
)
def given(case: Case) -> None:
    program, seed, kind = case.program(first=("sample",)), case.seed(), case.subject.kind
    assert kind is not None
    data = {name: _learnt(value) for name, value in Names.of(case.draw(traces(program))).samples.items()}
    options = {"guide_trace": sampled(data)} if kind == "replay" else {"data": data, "strict": False}
    handler = case.link(kind, **options)
    run, source = outcome(handler(TracePoutine(program).traced), seed=seed), side(program, handler).source
    check_end(case, run, source)
    found: Trace = run.value or Trace()
    for name in data.keys() & found.nodes.keys():
        what, value = f"site {name!r}: what p is sent", found[name].value
        case.same(what, torch.as_tensor(value).detach(), torch.as_tensor(data[name]).detach(), source, f"data[{name!r}]")
        fault = gradient_fault(value, [data[name]] if _is_real(data[name]) else [])
        case.expect(fault is None, f"{what} {fault}", f"{source}, where the data are learnt")


@law("R.keys", "a draw is that of (seed, name, visit), and nothing else moves it", where="samples of the default runtime")
def keyed(case: Case) -> None:
    program, seed = case.program(), case.seed()
    whole = case.chain(program, *all_but("substitute", "replay"))  # what they decide is not drawn
    for site in outcome(whole.fn, seed=seed).sites:
        if isinstance(site, Sample):
            key = site.key or (seed, site.name, 1)  # that of a seed on the way, if there is one
            expected = draw_site(site.evolve(value=UNDECIDED), key)
            case.same(f"site {site.name!r}", site.value, expected, whole.source, f"a draw under the key {key}")


@law(
    "R.seed", "seed(a)∘p is the same under every seed: what it draws, hidden or not, and what initial values of its params draw", ("seed",)
)
def seeded(case: Case) -> None:
    program, seed = case.program(), case.seed()
    handler = case.handler(program)

    def hidden() -> Coroutine[Any]:
        return (yield Sample("our_z", Normal(0.0, 1.0)))

    def whole() -> Coroutine[Any]:
        learnt = yield Param("our_w", partial(torch.randn, 2))
        return learnt, (yield from link("block")(hidden)()), (yield from program())

    found, other = (outcome(handler(whole), seed=each) for each in (seed, seed + 1))
    source = (
        f"{written(handler, 'whole')}, where whole() reads a param whose initial value is drawn, draws a hidden sample, and then runs model"
    )
    case.equal(found, other, source, f"the same, under seed {seed + 1}")


@law("R.condition", "condition(p, latents of t) has the density of t, and everything is observed", ("condition",))
def conditioned_on_trace(case: Case) -> None:
    program, seed = case.program(), case.seed()
    whole = case.chain(program)
    recorded = outcome(whole.fn, seed=seed).trace or Trace()
    condition = side(whole, case.link("condition", data=recorded))
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
    program = case.program(first=("sample",), observations=False)
    whole = case.chain(program, *all_but("condition", "substitute", "replay"))  # what they decide is not as it was when it is undone
    condition = link("condition", data=case.draw(values(whole.fn)), strict=False)
    case.agree(side(whole, condition, case.handler(program)), whole)


@law("R.predict", "nothing is observed in uncondition∘p", ("uncondition",))
def nothing_observed(case: Case) -> None:
    program = case.program(first=("observe",))
    inside = case.chain(program)
    condition = link("condition", data=case.draw(values(inside.fn)), strict=False)
    whole = side(inside, condition, case.handler(program))
    found = outcome(whole.fn, seed=case.seed())
    check_end(case, found, whole.source)
    observed = [site.name for site in found.sites if isinstance(site, Observe)]
    case.expect(not observed, f"{observed} are still observed", whole.source)


@law("R.substitute", "the log density as a function, at the values of t, is lp(t)", ("substitute",))
def as_a_function(case: Case) -> None:
    program, seed = case.program(first=("constrained",), blocks=False), case.seed()
    whole = case.chain(program, *all_but("block"))
    recorded = outcome(whole.fn, seed=seed).trace or Trace()
    known = Names.of(recorded)
    substitute = side(whole, case.link("substitute", data={**known.samples, **known.params}))
    found = outcome(substitute.fn, seed=seed + 1).trace or Trace()
    left, right = found.compute_batch_log_pdf(), recorded.compute_batch_log_pdf()
    case.expect(same(left, right), f"{left} is not {right}", substitute.source)
    for name, site in found.nodes.items():
        if name in known.all:
            case.same(f"site {name!r}: value", site.value, recorded[name].value, substitute.source, "its value in t")


@law("R.prefix", "resuming a recorded prefix and finishing = running once", ("escape", "replay"))
def resumed(case: Case) -> None:
    program, seed = case.program(first=("sample",)), case.seed()
    inside = case.chain(program)
    whole = outcome(inside.fn, seed=seed)
    names = [name for name, site in (whole.trace or Trace()).nodes.items() if isinstance(site, (Sample, Observe))]
    if not names:
        return  # pragma: no cover  # which chains end before the first site is the dice's
    name = case.draw(st.sampled_from(names))
    escape = side(inside, case.link("escape", escape_fn=AtSite(name)))
    prefix = outcome(escape.fn, seed=seed)
    before = whole.sites[: [site.name for site in whole.sites].index(name)]
    case.expect(same(prefix.sites, before), f"the prefix is {prefix.sites} instead of {before}", escape.source)
    case.equal(
        outcome(case.link("replay", guide_trace=prefix.trace)(inside.fn), seed=seed),
        whole,
        f"replay({inside.source}, the trace of {escape.source})",
        inside.source,
    )


@law("R.pickle", "pickle.loads(pickle.dumps(x)) == x", where="messages, programs of picklable functions, handlers, traces")
def pickled(case: Case) -> None:
    program = case.program()
    trace = case.draw(traces(program))
    things: tuple[Any, ...] = (program, Program(program), case.chain(program).fn, trace, *trace.nodes.values())
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


@law(
    "R.observed", "x.observed(v).unobserved() = x, and x.observed(v) is the Observe that says so", where="samples, however they are written"
)
def observed_and_back(case: Case) -> None:
    program, seed = case.program(), case.seed()
    for site in Transcript.of(program, seed, as_written=True).messages:
        if not isinstance(site, Sample) or site.is_decided:
            continue  # pragma: no cover  # which random programs have is the dice's
        found = site.observed(0.5)
        written = Observe(site.name, site.fn, 0.5, *site.args, infer=site.infer, **site.kwargs)
        context = {"scale": site.scale, "mask": site.mask, "cond_indep_stack": site.cond_indep_stack, "key": site.key}
        for mine, yours, source in (
            (found, written.evolve(conditioned=True, **context), f"{site!r}.observed(0.5)"),
            (found.unobserved(), site, f"{site!r}.observed(0.5).unobserved()"),
        ):
            case.equal(Outcome(None, (mine,)), Outcome(None, (yours,)), source, repr(yours))
            case.same(f"site {site.name!r}: key", mine.key, yours.key, source, repr(yours))


@law("R.constrain", "constrain∘unconstrain is the identity inside of a support", where="supports of distributions")
def constrained(case: Case) -> None:
    dist = case.draw(distributions(finite=False))
    support: Any = dist.support
    if support.is_discrete:
        return  # pragma: no cover  # which families are drawn is the dice's
    for mapping in (bijection_to, transformation_to):
        try:
            transform = mapping(support)
        except NotImplementedError:  # pragma: no cover  # likewise; torch has none onto positive definite matrices
            continue
        shape = transform.inverse_shape(dist.batch_shape + dist.event_shape)  # type: ignore[no-untyped-call]  # torch's own
        numbers = case.draw(st.lists(REALS, min_size=prod(shape), max_size=prod(shape)))
        inside = transform(torch.tensor(numbers, dtype=torch.float64).reshape(shape))
        back = transform(transform.inv(inside))
        source = f"constrain(unconstrain(x)), in the support {support!r} of {dist!r}"
        case.expect(bool(torch.allclose(back, inside, rtol=1e-9, atol=1e-9)), f"x: {inside} comes back as {back}", source)


def _parts(trace: Trace) -> st.SearchStrategy[Trace]:
    """A trace with some of its sites."""
    names = list(trace.nodes)

    def only(kept: list[str]) -> Trace:
        part = Trace()
        for name in kept:
            part.add_node(name, trace[name])
        return part

    return mostly(st.lists(st.sampled_from(names), unique=True, min_size=1), st.just([])).map(only) if names else st.just(trace)


def _learnt(value: Any) -> Any:
    """A leaf of the same numbers."""
    return value.detach().clone().requires_grad_() if _is_real(value) else value


def _is_real(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


SECTION_R: Final[tuple[Law, ...]] = (
    replayed, replies_are_as_they_left, partially_replayed, draws_stay, given, keyed, seeded, conditioned_on_trace, unconditioned, nothing_observed, as_a_function, resumed,
    pickled, params_round_trip, observed_and_back, constrained,
)  # fmt: skip
