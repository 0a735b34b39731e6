"""D. Densities."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, Final

import torch
from hypothesis import strategies as st
from torch.distributions import Bernoulli

from poutine.densities import batch_log_density
from poutine.equality import same
from poutine.errors import ParamError, PlateError
from poutine.factors import factor
from poutine.laws.expressions import Const
from poutine.laws.families import LOCATED, POSITIVES, REALS
from poutine.laws.handlers import PRIORS, link
from poutine.laws.law import ANY, Case, Law, Side, all_but, law, side
from poutine.laws.outcome import Failure, outcome
from poutine.laws.rounding import close
from poutine.laws.traces import Names
from poutine.messages import Choice, Observe, Param, Sample
from poutine.plates import plate
from poutine.program import Coroutine
from poutine.trace_graph import Trace, is_subsample

# Of the elements of a plate; mostly not the same for all.
_FACTORS: Final = st.sampled_from(((2.0, 0.5, 4.0), (0.5, 4.0, 4.0), (4.0, 4.0, 4.0)))  # powers of two: exact
_MIXED: Final = st.sampled_from(((True, False, True), (False, True, True), (True, True, True), (False, False, False)))
_PLATES: Final = "indep and broadcast, where p is not under indep: one refuses a plate inside itself, and the other makes sites fit a size"
WEIGHTS: Final = st.sampled_from((0.0, 1.0, -1.0, 0.5, 3.0))


@law("D.additive", "log_pdf = Σ compute_batch_log_pdf = Σ batch_log_pdf", ("trace",))
def additive(case: Case) -> None:
    trace = case.trace(case.chain_to_the_end(case.program()).fn)
    terms = [batch_log_density(site) for site in trace.nodes.values() if isinstance(site, Choice)]
    total = sum((term.sum() for term in terms), start=torch.zeros(()))
    for name in ("log_pdf", "batch_log_pdf"):
        found = getattr(trace, name)()
        case.expect(close(found.sum(), total, terms), f"{name} is {found}, and the sites' sum is {total}")


@law("D.memo", "a density that was asked before is what it would be computed to be, also after a value was replaced", ("trace",))
def memo(case: Case) -> None:
    program = case.chain_to_the_end(case.program()).fn
    trace, other = case.trace(program), case.trace(program)
    trace.compute_batch_log_pdf()
    for name in Names.of(other).samples:
        if name in trace and same(trace[name].dist, other[name].dist):
            trace.set_value(name, other[name].value)
    fresh = {name: batch_log_density(site) for name, site in trace.nodes.items() if isinstance(site, Choice)}
    case.expect(same(trace.compute_batch_log_pdf(), fresh), f"it says {trace.compute_batch_log_pdf()} instead of {fresh}")


@law(
    "D.scale",
    "lp(scale(a)∘p) = a·lp(p), site by site, with the gradient of a learnt a; params are scaled, too",
    ("scale",),
    "p may be in a plate, with a scale of its elements",
)
def scaled(case: Case) -> None:
    size, seed = case.draw(st.integers(0, 3)), case.seed()
    program = case.program(first=("sample",) * bool(size), rows=size)
    factors = torch.tensor(case.draw(_FACTORS)[:size]) if size else torch.tensor(2.0)
    whole, handler = case.chain(program), case.link("scale", scale=factors) if size else case.handler(program)
    (handled, plain), a = (_in_plate(side(whole, *wraps), size) for wraps in ((handler,), ())), case.options(handler)["scale"]
    bare = _densities(plain.fn, seed)
    expected = {name: a * density for name, density in bare.items()}
    case.expect(same(_densities(handled.fn, seed), expected), f"{_densities(handled.fn, seed)} is not {expected}", handled.source)
    for mine, yours in zip(outcome(handled.fn, seed=seed).sites, outcome(plain.fn, seed=seed).sites, strict=False):
        if isinstance(mine, (Choice, Param)) and isinstance(yours, type(mine)):
            scales = torch.as_tensor(mine.scale), torch.as_tensor(yours.scale * a)
            case.same(f"site {yours.name!r}: scale", *scales, handled.source, f"{a} times that of {plain.source}")
    learnt = factors.clone().requires_grad_()
    handled = _in_plate(side(whole, case.link("scale", scale=learnt)), size)
    for name, density in _densities(handled.fn, seed).items():
        times = same(density.detach(), learnt.detach() * bare[name].detach())
        case.expect(times, f"site {name!r}: its density is {density}, and was {bare[name]}", handled.source)
        learns = density.requires_grad and torch.autograd.grad(density.sum(), learnt, allow_unused=True)[0] is not None
        case.expect(learns, f"site {name!r}: its density has no gradient of the scale", f"{handled.source}, where the scale is learnt")


@law("D.mask", "lp(mask(m)∘p) = where(m, lp(p), 0), site by site", ("mask",), "p may be in a plate, with a mask of its elements")
def masked(case: Case) -> None:
    size, seed = case.draw(st.integers(0, 3)), case.seed()
    program = case.program(first=("sample",) * bool(size), rows=size)
    handler = case.link("mask", mask=torch.tensor(case.draw(_MIXED)[:size])) if size else case.handler(program)
    m, whole = torch.as_tensor(case.options(handler)["mask"]), case.chain(program)
    handled, bare = (_in_plate(side(whole, *wraps), size) for wraps in ((handler,), ()))
    found, densities = (_densities(each.fn, seed) for each in (handled, bare))
    expected = {name: torch.where(m, density, torch.zeros_like(density)) for name, density in densities.items()}
    off = {name for name, density in found.items() if name in expected and _are_off(density, expected[name])}
    found, expected = ({name: density for name, density in each.items() if name not in off} for each in (found, expected))
    case.expect(same(found, expected), f"{found} is not {expected}", handled.source)


@law(
    "D.mask-gradient",
    "the gradient is exactly zero where the mask is off, even where the density is infinite or nan",
    ("mask",),
)
def mask_gradient(case: Case) -> None:
    family = case.draw(st.sampled_from(LOCATED[:-1]))
    on, bad = case.draw(st.lists(st.booleans(), min_size=1, max_size=4)), case.draw(st.sampled_from((float("nan"), float("inf"))))
    mask = torch.tensor(on)
    location, width = (torch.full(mask.shape, case.draw(numbers), requires_grad=True) for numbers in (REALS, POSITIVES))
    dist = getattr(torch.distributions, family.name)(location, width, validate_args=False)
    seen = torch.where(mask, torch.tensor(0.25), torch.tensor(bad))

    def model() -> Coroutine[None]:
        yield Observe("y", dist, seen)

    handler = case.link("mask", mask=mask)
    (density,) = _densities(handler(model), 0).values()
    gradients = torch.autograd.grad(density.sum(), (location, width))
    expected = torch.autograd.grad(dist.log_prob(torch.full(mask.shape, 0.25)).sum(), (location, width))
    for found, right in zip(gradients, expected, strict=True):
        zero = torch.zeros_like(right)
        case.expect(
            same(found, torch.where(mask, right, zero)), f"the gradient of {dist} at {seen} is {found}", f"mask(model, mask={mask})"
        )


@law("D.condition", "lp(condition(d)∘p at z) = lp(p at (z, d))", ("condition",))
def conditioned(case: Case) -> None:
    program, seed = case.program(first=("sample",), blocks=False), case.seed()
    whole = case.chain(program, *all_but("block"))
    condition = case.handler(whole.fn)
    left = side(whole, condition)
    found = outcome(left.fn, seed=seed).trace or Trace()
    given = {name: site.value for name, site in found.nodes.items() if isinstance(site, Observe) and site.conditioned}
    right = side(whole, link("substitute", data={**Names.of(found).samples, **given}))
    given_there, expected = _densities(left.fn, seed), _densities(right.fn, seed + 1)
    case.expect(same(given_there, expected), f"{given_there} is not {expected}", left.source, right.source)


@law("D.lift", "lp(lift(p, π) at θ) = log π(θ) + lp(substitute(p, θ))", ("lift",))
def lifted(case: Case) -> None:
    program, seed = case.program(first=("param",)), case.seed()
    whole = case.chain(program)
    handler = case.handler(whole.fn)
    left, prior = side(whole, handler), case.options(handler)["prior"]
    lifting = outcome(left.fn, seed=seed)
    if lifting.failure is not None and lifting.failure.type is ParamError:
        return  # pragma: no cover  # a prior that leaves its param's constraint (D.prior), which the dice seldom give
    found = lifting.trace or Trace()
    for name, site in found.nodes.items():
        missed = isinstance(site, Param) and (not isinstance(prior, Mapping) or name in prior)
        case.expect(not missed, f"site {name!r}: it has a prior, and is not lifted", left.source)
    # With all of its values: which params there are may depend on those of others.
    right = side(whole, link("substitute", data=Names.of(found).samples, strict=False))
    trace = outcome(right.fn, seed=seed).trace or Trace()
    lifts = {name: site for name, site in trace.nodes.items() if isinstance(site, Param) and isinstance(found.nodes.get(name), Sample)}
    # The prior counts as the param would: under its scale and its mask.
    priors = {name: site.lifted(found[name].fn).evolve(value=found[name].value) for name, site in lifts.items()}
    expected = _densities(right.fn, seed) | {name: batch_log_density(site) for name, site in priors.items()}
    given = _densities(left.fn, seed)
    case.expect(same(given, expected), f"{given} is not {expected}", left.source, right.source)


@law("D.prior", "a prior that leaves its param's constraint is refused, before anything is drawn", ("lift",))
def priors_fit(case: Case) -> None:
    program = case.program(first=("constrained",))
    whole = side(program, case.link("lift", prior=case.draw(PRIORS)))
    found, name = outcome(whole.fn), next(iter(Names.of(outcome(program).trace or Trace()).all))
    refused = found.failure == Failure(ParamError, name) and not found.sites
    case.expect(refused, f"site {name!r}: it {found.failure or 'is lifted'}, after {found.sites}", whole.source)


@law("D.do", "E[y | do(x)] = Σᵤ p(u) E[y | x, u], and E[y | x] = Σᵤ p(u | x) E[y | x, u]", ("do", "condition"), "a confounder, by hand")
def confounder(case: Case) -> None:
    def model() -> Coroutine[torch.Tensor]:
        u = yield Sample("u", Bernoulli(0.5))
        x = yield Sample("x", Bernoulli(0.25 + 0.5 * u))
        y: torch.Tensor = yield Sample("y", Bernoulli(0.25 * x + 0.5 * u))
        return y

    one = {"x": torch.tensor(1.0)}
    # With x = 1: p(y | u = 0) = 1/4, p(y | u = 1) = 3/4. Intervened on, u is still a fair coin; seen, u = 1 has 3/4.
    for handler, expected in ((case.link("do", data=one), 1 / 2), (case.link("condition", data=one), 5 / 8)):
        found = _expectation(handler(model))
        case.expect(abs(found - expected) < 1e-6, f"E[y] is {found} instead of {expected}", f"{handler!r}(confounder)")


@law("D.factor", "a factor shifts lp and moves no value", where="factor")
def factors(case: Case) -> None:
    program, seed, weight = case.program(), case.seed(), case.draw(WEIGHTS)

    def weighted() -> Coroutine[Any]:
        yield factor("weight", weight)
        return (yield from program())

    left, right = outcome(weighted, seed=seed), outcome(program, seed=seed)
    case.expect(float(batch_log_density(left.sites[0])) == weight, f"it shifts lp by {left.sites[0]}", f"factor('weight', {weight})")  # type: ignore[arg-type]
    case.expect(same(left.sites[1:], right.sites) and same(left.value, right.value), "another value moves", f"factor('weight', {weight})")


@law("D.plate", "lp of a vectorised plate of n = lp of n sequential entries", where="plate")
def plates(case: Case) -> None:
    family, size = case.draw(st.sampled_from(LOCATED)), case.draw(st.integers(1, 4))
    few, seed = case.draw(st.none() | st.integers(1, size)), case.seed()
    location, width = case.draw(family.terms).args
    assert isinstance(location, Const) and isinstance(width, Const)
    cls = getattr(torch.distributions, family.name)

    def rows(j: torch.Tensor) -> Coroutine[Any]:
        z = yield Sample("z", cls(location.number, width.number))
        yield Observe("y", cls(torch.tanh(z), 1.0), 0.5 + j)
        return z

    def one(j: int) -> Coroutine[Any]:
        z = yield Sample(f"z_{j}", cls(location.number, width.number))
        yield Observe(f"y_{j}", cls(torch.tanh(z), 1.0), torch.tensor(0.5 + j))

    whole = outcome(plate("p", size, few)(rows), seed=seed)
    index = whole.sites[0].value if few not in (None, size) else torch.arange(size)
    drawn = {f"z_{j}": z for j, z in zip(index.tolist(), whole.value, strict=True)}
    branches = link("substitute", data=drawn)(plate("p", size, subsample=index, vectorized=False)(one))
    left, right = ([*_densities(fn, seed).values()] for fn in (plate("p", size, few)(rows), branches))
    totals = [sum((density.sum() for density in densities), start=torch.zeros(())) for densities in (left, right)]
    case.expect(close(totals[0], totals[1], right), f"{totals[0]} is not {totals[1]}", f'plate("p", {size}, {few})', "sequential")


@law(
    "D.broadcast",
    "in a plate of n, a site's density is of size n; a given value is refused unless its batch shape broadcasts to n",
    ("broadcast",),
)
def fitting(case: Case) -> None:
    size, family = case.draw(st.integers(1, 4)), case.draw(st.sampled_from(LOCATED))
    dist, given = case.draw(family.terms).value({}), case.draw(st.sampled_from(((), (1,), (2,), (3,), (size,), (2, size))))
    outside, value = case.draw(st.booleans()), torch.full(given, 0.5)

    def model() -> Coroutine[None]:
        yield Sample("z", dist)
        yield Sample("y", dist) if outside else Observe("y", dist, value)

    def wrapped(fn: Any) -> Any:
        plates = case.link("broadcast")(link("indep", name="p", vectorized=True, size=size)(fn))
        return link("condition", data={"y": value})(plates) if outside else plates

    source = f"broadcast in a plate of {size}: y of shape {given} {'from outside' if outside else 'in the model'}"
    found = outcome(wrapped(model))
    if given not in ((), (1,), (size,)):
        case.expect(found.failure == Failure(PlateError, "y"), f"site 'y': it {found.failure or 'is taken'}", source)
        return
    shapes = [tuple(batch_log_density(site).shape) for site in found.sites if isinstance(site, Choice)]
    case.expect(shapes == [(size,), (size,)], f"the end of the run: the densities of z and y are of shapes {shapes}", source)


@law("D.keeps", "lp(h∘p at z) = lp(p at z), site by site", ANY, f"as scope, infer_config, seed, trace; {_PLATES}")
def keeps_densities(case: Case) -> None:
    program, seed = case.program(blocks=False), case.seed()
    whole = case.chain(program, *all_but("block", *_plates(case)))
    expected = outcome(whole.fn, seed=seed).trace or Trace()
    handler = case.handler(program)
    fixed = link("substitute", data=Names.of(expected).samples, strict=False)(whole.fn)
    found = outcome(handler(fixed), seed=seed).trace or Trace()
    left, right = ([*trace.compute_batch_log_pdf().items()] for trace in (found, expected))
    sides = f"lp({side(whole, handler).source} at z)", f"lp({whole.source} at z)"
    for (_, mine), (name, yours) in zip(left, right, strict=False):
        if not _are_off(mine, yours):
            case.same(f"site {name!r}: log density", mine, yours, *sides)
    case.same("the number of densities", len(left), len(right), *sides)


@law("D.draws", "h∘p draws what p draws, and returns the same", ANY, f"as scale, mask, infer_config, trace; {_PLATES}")
def moves_no_draw(case: Case) -> None:
    program, seed = case.program(), case.seed()
    whole, handler = case.chain(program, *all_but(*_plates(case))), case.handler(program)
    left, right = outcome(handler(whole.fn), seed=seed), outcome(whole.fn, seed=seed)
    sides = side(whole, handler).source, whole.source
    for mine, yours in zip(left.sites, right.sites, strict=False):
        case.same(f"site {yours.name!r}: value", mine.value, yours.value, *sides)
    case.same("the returned value", left.value, right.value, *sides)


def _plates(case: Case) -> tuple[str, ...]:
    """What the chain leaves out, if there is something."""
    return ("indep",) if case.subject.kind in ("indep", "broadcast") else ()


def _in_plate(inside: Side, size: int) -> Side:
    """Inside of a vectorised plate of this size; 0: as it is."""
    return Side(f'plate("elements", {size})({inside.source})', plate("elements", size)(inside.fn)) if size else inside


def _densities(fn: Any, seed: int) -> dict[str, torch.Tensor]:
    """Site by site, but for the indices of subsampled plates, whose zero may be of any shape."""
    trace = outcome(fn, seed=seed).trace
    return {} if trace is None else trace.compute_batch_log_pdf(lambda name, site: not is_subsample(site))


def _are_off(*densities: torch.Tensor) -> bool:
    """What a mask of False takes out of the program is zero, of any shape."""
    return not any(bool(density.any()) for density in densities)


def _expectation(fn: Any) -> float:
    """E[y], by going through all of the values of three coins."""
    total = mass = 0.0
    for u, x, y in product((0.0, 1.0), repeat=3):
        coins = {"u": torch.tensor(u), "x": torch.tensor(x), "y": torch.tensor(y)}
        found = outcome(link("substitute", data=_free(fn, coins), strict=False)(fn)).trace
        assert found is not None
        weight = float(found.log_pdf().exp())
        total, mass = total + weight * y, mass + weight
    return total / mass


def _free(fn: Any, coins: dict[str, Any]) -> dict[str, Any]:
    """Without those that the program observes: what it is conditioned on stays."""
    return {name: value for name, value in coins.items() if name in Names.of(outcome(fn).trace or Trace()).samples}


SECTION_D: Final[tuple[Law, ...]] = (
    additive, memo, scaled, masked, mask_gradient, conditioned, lifted, priors_fit, confounder, factors, plates, fitting, keeps_densities, moves_no_draw,
)  # fmt: skip
