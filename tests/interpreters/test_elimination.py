"""Exact enumeration in one run: against the sequential enumerator, a forward algorithm, and unrolled programs."""

from __future__ import annotations

import math
from functools import partial
from itertools import combinations as subsets
from itertools import product as combinations

import pytest
import torch
import torch.distributions as td
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from interpreters.density import density
from interpreters.elimination import Elimination, eliminate
from interpreters.enumeration import exact
from interpreters.errors import DegenerateWeights, NotFinite, NotVectorizable
from interpreters.evidence import evidence
from interpreters.lockstep import lockstep
from poutine import (
    Deterministic,
    DistributionError,
    Observe,
    Param,
    ParamStore,
    Poutine,
    PoutineError,
    Program,
    Rule,
    Sample,
    bijection_to,
    block,
    condition,
    factor,
    lift,
    markov,
    mask,
    plate,
    run,
    scale,
    substitute,
    trace,
)
from poutine.laws import programs
from tests.interpreters.enumeration import runs

F64 = torch.float64
GENERATOR = torch.Generator().manual_seed(0)


def rand(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, dtype=F64, generator=GENERATOR)


def simplex(*shape: int) -> torch.Tensor:
    rows = rand(*shape)
    return rows / rows.sum(-1, keepdim=True)


P2, P3, W, T2, T3, LOC = simplex(2), simplex(3), simplex(2, 3), simplex(2, 2), simplex(3, 3), 3 * rand(2, 3)
Y = 3 * rand(6, 2) - 1


def normal(loc):
    return td.Normal(torch.as_tensor(loc).to(F64), 1.0)


def mixture():
    a = yield Sample("a", td.Categorical(P2))

    @plate("rows", 3)
    def rows(i):
        z = yield Sample("z", td.Categorical(W[a]))
        yield Observe("y", normal(LOC[a, z]), Y[i, 0])

    yield from rows()


def nested():
    a = yield Sample("a", td.Categorical(P2))

    @plate("rows", 2)
    def rows(i):
        b = yield Sample("b", td.Categorical(T2[a]))

        @plate("columns", 2)
        def columns(j):
            c = yield Sample("c", td.Categorical(T2[b]))
            yield Observe("y", normal(b + 2 * c), Y[:2])

        yield from columns()

    yield from rows()


def sequential_plate():
    a = yield Sample("a", td.Categorical(P2))

    @plate("rows", 3, vectorized=False)
    def rows(i):
        b = yield Sample(f"b{i}", td.Categorical(W[a]))
        yield Observe(f"y{i}", normal(a + b), Y[i, 0])

    yield from rows()


def joint_batch():
    z = yield Sample("z", td.Categorical(W.T[:, :2]))
    yield Observe("y", normal(z), Y[:3, 0])
    yield factor("f", 0.1 * z.sum(-1, keepdim=True))


def one_hot():
    z = yield Sample("z", td.OneHotCategorical(P3))
    yield Observe("y", normal(z @ LOC[0]), Y[0, 0])


def submodel(x):
    return (yield Sample("s", td.Categorical(W[x])))


def composed():
    """Handlers, a submodel, a factor, a computed value and what is switched off."""
    x = yield Sample("x", td.Binomial(2, torch.tensor(0.25, dtype=F64)))
    yield factor("f", 0.5 * x)
    s = yield from scale(submodel, scale=2.0)((x > 0).long())
    t = yield from mask(lambda: submodel_named("t", x), mask=False)()
    yield Deterministic("sum", s + t)
    yield Observe("y", normal(s + t), Y[0, 0])


def submodel_named(name, x):
    return (yield Sample(name, td.Bernoulli(0.2 + 0.3 * x)))


def switched():
    """A mask and a scale that depend on what is summed out, around sites that do not."""
    x = yield Sample("x", td.Binomial(2, torch.tensor(0.25, dtype=F64)))
    yield from mask(lambda: observed("y", 0.0), mask=x > 0)()
    yield from scale(lambda: observed("z", 1.0), scale=1.0 + x)()
    yield from mask(lambda: submodel_named("t", 1.0), mask=x < 2)()


def observed(name, loc):
    yield Observe(name, normal(torch.tensor(loc, dtype=F64)), Y[0, 0])


def chain_in_plate(vectorized):
    k = yield Sample("k", td.Categorical(P2))

    @plate("series", 2)
    def series(j):
        @markov("time", 3, vectorized=vectorized)
        def step(t, x):
            x = yield Sample("x", td.Categorical(P2 if x is None else T2[x]))
            yield Observe("y", normal(x + 2 * k), Y[t, j])
            yield Observe("shared", normal(x + 0.1 * torch.as_tensor(t, dtype=F64)), Y[t, 0])
            return x

        return (yield from step())

    x = yield from series()
    del x


def plate_in_chain(vectorized):
    @markov("time", 3, vectorized=vectorized)
    def step(t, x):
        x = yield Sample("x", td.Categorical(P2 if x is None else T2[x]))

        @plate("features", 2, dim=-2)
        def features(j):
            u = yield Sample("u", td.Categorical(T2[x]))
            yield Observe("y", normal(u + x), Y[:2, 0].unsqueeze(-1) + 0.1 * torch.as_tensor(t, dtype=F64))

        yield from features()
        return x

    yield from step()


def two_states(vectorized):
    @markov("time", 3, vectorized=vectorized)
    def step(t, state):
        x, w = state or (None, None)
        x = yield Sample("x", td.Categorical(P2 if x is None else T2[x]))
        w = yield Sample("w", td.Categorical(P3 if w is None else T3[w]))
        yield Observe("y", normal(x + w), Y[t, 0])
        return x, w

    x, w = yield from step()
    yield Observe("end", normal(x * w), Y[0, 1])


def from_outside(vectorized):
    start = yield Sample("start", td.Categorical(P3))

    @markov("time", 4, vectorized=vectorized)
    def step(t, x):
        x = yield Sample("x", td.Categorical(T3[x]))
        yield Observe("y", normal(LOC[0, x]), Y[t, 0])
        return x

    yield from step(start)
    yield Observe("again", normal(start), Y[0, 1])


def constants_in_steps(vectorized):
    """Terms that have no dimension of their own count in each step."""

    @markov("time", 4, vectorized=vectorized)
    def step(t, x):
        x = yield Sample("x", td.Categorical(P2 if x is None else T2[x]))
        yield factor("penalty", torch.tensor(-0.3, dtype=F64))
        yield from scale(constant, scale=0.5)("halved")
        yield from mask(constant, mask=torch.as_tensor(t) > 1)("masked")

        @plate("features", 3, dim=-2)
        def features(j):
            yield from constant("in a plate")
            yield Observe("of size 1", normal(torch.zeros(1)), 0.7)

        yield from features()
        return x

    yield from step()


def constant(name):
    yield Observe(name, normal(0.0), 0.4)


def tempered_chain(vectorized):
    powers = 0.3 + 0.1 * torch.arange(4, dtype=F64)

    @markov("time", 4, vectorized=vectorized)
    def step(t, x):
        x = yield from scale(lambda: (yield Sample("x", td.Categorical(P2 if x is None else T2[x]))), scale=powers[t])()
        yield Observe("y", normal(LOC[0, x]), Y[t, 0])
        return x

    yield from scale(step, scale=0.7)()


def second_order():
    @markov("time", 4)
    def step(t, state):
        a, b = state
        x = yield Sample("x", td.Categorical(torch.stack([T2, T2.flip(0)])[a, b]))
        yield Observe("y", normal(x), Y[t, 0])
        return x, a

    yield from step((torch.tensor(0), torch.tensor(1)))


def chain_of_chains():
    @markov("outer", 2)
    def outer(s, x):
        @markov("inner", 3)
        def inner(t, x):
            x = yield Sample("x", td.Categorical(P2 if x is None else T2[x]))
            yield Observe("y", normal(x), Y[t, s])
            return x

        return (yield from inner(x))

    yield from outer()


MODELS = {
    **{
        model.__name__: model
        for model in (mixture, nested, sequential_plate, joint_batch, one_hot, composed, switched, second_order, chain_of_chains)
    },
    **{
        f"{model.__name__}, {how}": Program(model, how == "vectorized")
        for model in (chain_in_plate, plate_in_chain, two_states, from_outside, constants_in_steps, tempered_chain)
        for how in ("vectorized", "step by step")
    },
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]


def test_evidence_marginals_and_the_best_are_those_of_the_sequential_enumerator(model):
    theirs, ours = exact(model), eliminate(model)
    assert ours.log_evidence.item() == pytest.approx(theirs.log_evidence.item(), rel=1e-12, abs=1e-12)
    best = ours.most_probable()
    assert set(best) == {name for name in theirs.traces[0].stochastic_nodes}
    (top,) = [t.log_pdf() for t in theirs.traces if all(torch.equal(t[name].value, best[name]) for name in best)]
    assert top.item() == pytest.approx(float(theirs.log_densities.max()), rel=1e-12)
    for name, value in best.items():
        mean = theirs.expectation(lambda t, name=name: t[name].value.to(F64))
        assert mean_of(ours, name).shape == value.shape
        assert torch.allclose(mean_of(ours, name), mean, rtol=1e-12, atol=1e-12), name


def test_with_dimensions_that_are_told_it_is_the_same(model):
    """Nothing is compared with a plain run then."""
    assert eliminate(model, max_plate_nesting=2).log_evidence.item() == pytest.approx(exact(model).log_evidence.item(), rel=1e-12)


def mean_of(posterior: Elimination, name: str, power: int = 1) -> torch.Tensor:
    probability, values = posterior.marginal(name), posterior.values(name).to(F64) ** power
    mean = torch.tensordot(probability, values, 1)
    shape = posterior.most_probable()[name].shape
    return mean.reshape(shape)


def test_draws_have_the_posterior_distribution(model):
    posterior = eliminate(model)
    draws = run(Program(posterior.sample, 4000), seed=1)
    for name, value in posterior.most_probable().items():
        assert draws[name].shape == (4000, *value.shape)
        mean, square = mean_of(posterior, name), mean_of(posterior, name, 2)
        error = (square - mean**2).clamp(min=0).sqrt() / 4000**0.5
        assert ((draws[name].to(F64).mean(0) - mean).abs() <= 4.5 * error + 1e-9).all(), name


def test_a_lifted_param_that_the_elements_of_a_plate_share_is_one_choice():
    def element(j):
        w = yield Param("w", torch.tensor(0.0))
        yield Observe("y", td.Normal(w, 1.0), torch.tensor([0.0, 1.0, 2.0])[j])

    lifted = lift(plate("p", 3)(element), prior=td.Bernoulli(0.5))
    theirs = exact(lifted()).log_evidence.item()
    for nesting in (None, 1):
        assert eliminate(lifted(), max_plate_nesting=nesting).log_evidence.item() == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("vectorized", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_a_lifted_param_that_the_steps_of_a_loop_share_is_one_choice(vectorized: bool, inside: bool):
    def reading():
        return (yield Param("w", torch.tensor(0.0)))

    def step(t, x):
        w = yield from (lift(reading, prior=td.Bernoulli(0.3))() if inside else reading())
        x = yield Sample("x", td.Bernoulli(0.5 if x is None else 0.2 + 0.6 * x))
        yield Observe("y", td.Normal(x + w, 1.0), torch.tensor([0.0, 1.0, 2.0, 0.5])[t])
        return x

    lifted = lift(markov("t", 4, vectorized=vectorized)(step), prior=td.Bernoulli(0.3))
    theirs = exact(lifted()).log_evidence.item()
    for nesting in (None, 0):
        assert eliminate(lifted(), max_plate_nesting=nesting).log_evidence.item() == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("name", ["mixture", "one_hot", "from_outside, vectorized", "from_outside, step by step"])
def test_the_sampler_enumerated_draws_from_the_posterior_exactly(name):
    """An algorithm is a program: over all of its draws its output has the posterior's probabilities, with no statistical tolerance."""
    theirs = exact(MODELS[name])
    weight: dict = {}
    for draws, probability in runs(Program(eliminate(MODELS[name]).sample)):
        key = tuple((site, tuple(value.flatten().tolist())) for site, value in sorted(draws.items()))
        weight[key] = weight.get(key, 0.0) + probability
    for t, probability in zip(theirs.traces, theirs.probabilities.tolist(), strict=True):
        key = tuple((site, tuple(t[site].value.flatten().tolist())) for site in sorted(t.stochastic_nodes))
        assert weight.get(key, 0.0) == pytest.approx(probability, rel=1e-9, abs=1e-12)


# Random programs


class Double(TorchFunctionMode):
    """Random programs in double precision."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        return made.double() if func is torch.tensor and made.dtype == torch.float32 else made


class Decided(Poutine):
    """What cannot be enumerated is observed, at a value of its support."""

    def rules(self):
        def decide(site):
            dist = site.dist
            if site.is_decided or getattr(dist, "has_enumerate_support", True):
                return site
            shape = dist.batch_shape + dist.event_shape
            if dist.support.is_discrete:
                return site.observed(torch.ones(shape, dtype=F64))
            bijection = bijection_to(dist.support)
            return site.observed(bijection(torch.full(bijection.inverse_shape(shape), 0.3, dtype=F64)))

        return {Sample: Rule(up=decide)}


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(programs(asks=False), st.booleans())
def test_random_programs(model, hides):
    with Double():
        program = Decided(model)()
        program = block(program.fn, hide_types=["sample"])(*program.args) if hides else program
        try:
            ours = eliminate(program)
        except (NotVectorizable, NotFinite):  # a branch on a value, a subsample that is drawn
            assume(False)
        sizes = [variable.size ** math.prod(each.size for each in variable.plates) for variable in ours.graph.variables]
        assume(math.prod(sizes) <= 40)
        theirs = exact(program)
    assert ours.log_evidence.item() == pytest.approx(theirs.log_evidence.item(), rel=1e-12, abs=1e-12)


def test_brute_force_and_a_plate_is_its_elements():
    def unrolled():
        a = yield Sample("a", td.Categorical(P2))
        for i in range(3):
            z = yield Sample(f"z{i}", td.Categorical(W[a]))
            yield Observe(f"y{i}", normal(LOC[a, z]), Y[i, 0])

    total = 0.0
    for a, *z in combinations(range(2), *[range(3)] * 3):
        each = [W[a, k] * normal(LOC[a, k]).log_prob(Y[i, 0]).exp() for i, k in enumerate(z)]
        total += float(P2[a] * math.prod(each))
    for model in (mixture, unrolled):
        assert eliminate(model).log_evidence.item() == pytest.approx(math.log(total), rel=1e-12)


# Hidden Markov models


def hmm(logits, loc, y, vectorized):
    @markov("time", len(y), vectorized=vectorized)
    def step(t, x):
        x = yield Sample("x", td.Categorical, logits=torch.zeros(len(loc), dtype=F64) if x is None else logits[x])
        yield Observe("y", td.Normal, y[t], loc[x], 0.5)
        return x

    yield from step()


def forward(logits, loc, y):
    """The textbook's forward algorithm, in logs."""
    emission = td.Normal(loc, 0.5).log_prob(y[:, None])
    alpha = torch.full_like(loc, -math.log(len(loc))) + emission[0]
    for each in emission[1:]:
        alpha = (alpha[:, None] + logits.log_softmax(-1)).logsumexp(0) + each
    return alpha.logsumexp(0)


def setting(states: int, steps: int):
    generator = torch.Generator().manual_seed(3)
    logits, loc, y = (torch.randn(*shape, dtype=F64, generator=generator) for shape in ((states, states), (states,), (steps,)))
    return logits.requires_grad_(), loc.requires_grad_(), y.requires_grad_()


@pytest.mark.parametrize("vectorized", [True, False])
@pytest.mark.parametrize(("states", "steps"), [(16, 1), (16, 2), (5, 70)])
def test_a_hidden_markov_model_and_its_gradient(states, steps, vectorized):
    arguments = setting(states, steps)
    ours = eliminate(Program(hmm, *arguments, vectorized), max_plate_nesting=1).log_evidence
    theirs = forward(*arguments)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    pairs = [torch.autograd.grad(value, arguments, allow_unused=steps == 1) for value in (ours, theirs)]
    for a, b in zip(*pairs, strict=True):
        assert (a is None) == (b is None) or steps == 1
        assert a is None or b is None or torch.allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("vectorized", [True, False])
def test_five_hundred_steps_of_sixteen_states(vectorized):
    arguments = setting(16, 500)
    ours = eliminate(Program(hmm, *arguments, vectorized), max_plate_nesting=1).log_evidence
    assert ours.item() == pytest.approx(forward(*arguments).item(), rel=1e-12)


def test_gradients_are_those_of_finite_differences():
    arguments = setting(3, 5)
    assert torch.autograd.gradcheck(lambda *given: eliminate(Program(hmm, *given, True), max_plate_nesting=1).log_evidence, arguments)
    assert torch.autograd.gradcheck(lambda w: eliminate(condition(lambda: weighted(w), data={})(), max_plate_nesting=1).log_evidence, (
        torch.tensor(0.3, dtype=F64, requires_grad=True),
    ))  # fmt: skip


def weighted(w):
    a = yield Sample("a", td.Bernoulli(logits=w))

    @plate("rows", 3)
    def rows(i):
        z = yield Sample("z", td.Categorical(logits=w * W[a.long()]))
        yield Observe("y", normal(w * LOC[0, z]), Y[i, 0])

    yield from rows()


def test_steps_that_numbers_cannot_multiply_and_steps_that_cannot_happen():
    """An outlier of a thousand nats, and a chain that only goes up: both exactly as the forward algorithm."""
    logits, loc, y = (tensor.detach() for tensor in setting(4, 20))
    up = torch.ones(4, 4, dtype=F64).triu().log()
    for transition, location in ((logits - 2000 * torch.eye(4, dtype=F64), 40 * loc), (up, loc), (up, 60 * loc)):
        location = location.clone().requires_grad_()
        ours = eliminate(Program(hmm, transition, location, y, True), max_plate_nesting=1).log_evidence
        theirs = forward(transition, location, y)
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
        (a,), (b,) = (torch.autograd.grad(value, location) for value in (ours, theirs))
        assert torch.allclose(a, b, rtol=1e-8)


def test_in_single_precision_too():
    """What is a thousand nats less probable than another value is none that cannot happen, and what cannot happen is none at all."""
    logits, loc, y = (tensor.detach().float() for tensor in setting(4, 20))
    up = torch.ones(4, 4).triu().log()
    for transition, location in ((logits - 2000 * torch.eye(4), 40 * loc), (up, loc), (up, 60 * loc)):
        ours = eliminate(Program(hmm, transition, location, y, True), max_plate_nesting=1).log_evidence
        theirs = forward(transition.double(), location.double(), y.double())
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_marginals_are_differentiable():
    arguments = setting(3, 5)

    def marginal(*given):
        return eliminate(Program(hmm, *given, True), max_plate_nesting=1).marginal("x_2", differentiable=True)

    assert torch.autograd.gradcheck(marginal, arguments)


def test_joint_marginals_and_expectations():
    theirs, ours = exact(Program(two_states, True)), eliminate(Program(two_states, True))
    joint = ours.marginal("x_1", "w_1")
    assert joint.shape == (2, 3)
    both = theirs.expectation(lambda t: (t["x_1"].value == 1) & (t["w_1"].value == 2))
    assert joint[1, 2].item() == pytest.approx(both.item(), rel=1e-12)
    product = ours.expectation(lambda x, w: x * w, "x_1", "w_1")
    assert product.item() == pytest.approx(theirs.expectation(lambda t: t["x_1"].value * t["w_1"].value).item(), rel=1e-12)
    with pytest.raises(ValueError, match="sites x_1, x_1: expected each name once"):
        ours.marginal("x_1", "x_1")
    with pytest.raises(ValueError, match="sites x_1, w_1, x_1: expected each name once"):
        ours.expectation(lambda *values: sum(values), "x_1", "w_1", "x_1")
    with pytest.raises(KeyError, match="no site q among those summed out: x_0"):
        ours.marginal("q")


def chain_between(vectorized):
    """Sites before and after the loop, and sites of a step that are no part of its state."""
    k = yield Sample("k", td.Categorical(P2))

    @markov("time", 4, vectorized=vectorized)
    def step(t, state):
        x, w = state or (None, None)
        x = yield Sample("x", td.Categorical(T2[k] if x is None else T2[x]))
        w = yield Sample("w", td.Categorical(P3 if w is None else T3[w]))
        u = yield Sample("u", td.Categorical(W[x]))
        yield Observe("y", normal(u + w), Y[t, 0])
        return x, w

    x, w = yield from step()
    b = yield Sample("b", td.Categorical(T2[x]))
    yield Observe("z", normal(b * w), Y[0, 1])


@pytest.mark.parametrize("number", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_joint_marginals_of_a_vectorised_loop_are_those_of_its_steps(number):
    """Whatever sites they are of, or else they are refused; those of one step, of neighbours, and of sites outside never are."""
    ours, theirs = (eliminate(Program(chain_between, vectorized)) for vectorized in (True, False))
    names = [f"{name}_{t}" for t in range(4) for name in "xwu"] + ["k", "b"]
    refused = set()
    for i, chosen in enumerate(subsets(names, number)):
        together = chosen[:: -1 if i % 2 else 1]
        try:
            joint = ours.marginal(*together)
        except ValueError:
            refused.add(frozenset(chosen))
        else:
            torch.testing.assert_close(joint, theirs.marginal(*together), rtol=1e-12, atol=1e-12)
    for t in range(3):
        wanted = (f"x_{t} x_{t + 1}", f"x_{t} w_{t + 1}", f"w_{t} u_{t + 1}", f"x_{t} k", f"w_{t} b", f"x_{t} w_{t} x_{t + 1}")
        assert not refused & {frozenset(each.split()) for each in wanted}
    assert refused
    with pytest.raises(ValueError, match="sites x_0, x_2 have no joint marginal here: .* or of two neighbours; .* vectorized=False"):
        ours.marginal("x_0", "x_2")


def test_joint_marginals_of_sites_inside_and_outside_of_a_plate():
    for model, names in ((mixture, ("a", "z")), (nested, ("c", "a", "b")), (Program(chain_in_plate, True), ("x_1", "k", "x_2"))):
        ours, theirs = eliminate(model), exact(model)
        joint = ours.marginal(*names)
        flat = joint.reshape(-1, *joint.shape[joint.dim() - len(names) :])
        values = {name: ours.values(name) for name in names}
        for at in combinations(*(range(len(each)) for each in values.values())):
            wanted = {name: values[name][i] for name, i in zip(names, at, strict=True)}
            torch.testing.assert_close(flat[(slice(None), *at)], theirs.expectation(partial(are, wanted)).reshape(-1))
    with pytest.raises(ValueError, match="sites r, b have no joint marginal"):
        eliminate(two_plates).marginal("r", "b")


def are(wanted, t):
    """Whether sites of a trace have these values, in each element of their plates."""
    return math.prod((t[name].value == value).to(F64) for name, value in wanted.items())


def two_plates():
    for plate_name, name in (("rows", "r"), ("columns", "b")):
        yield from plate(plate_name, 2)(lambda i, name=name: (yield Sample(name, td.Categorical(P2))))()


def test_what_is_given_is_not_summed():
    given = {"a": torch.tensor(1), "z": torch.tensor([0, 2, 1])}
    assert eliminate(condition(mixture, data=given)()).log_evidence.item() == pytest.approx(
        run(trace(condition(mixture, data=given)).traced()).log_pdf().item(), rel=1e-12
    )
    theirs = exact(substitute(mixture, data={"a": torch.tensor(0)})())
    assert eliminate(substitute(mixture, data={"a": torch.tensor(0)})()).log_evidence.item() == pytest.approx(theirs.log_evidence.item())


def test_params_are_learned():
    def model():
        w = yield Param("w", torch.tensor(0.0, dtype=F64))
        z = yield Sample("z", td.Bernoulli(logits=w))
        yield Observe("y", normal(3 * z), Y[0, 0] * 0 + 3.0)

    store = ParamStore()
    eliminate(model, store).log_evidence.backward()
    (gradient,) = [parameter.grad for parameter in store.parameters()]
    assert gradient > 0


def test_the_best_values_in_a_plain_run_have_the_density_that_they_are_said_to_have():
    arguments = [tensor.detach() for tensor in setting(4, 9)]
    best = eliminate(Program(hmm, *arguments, True)).most_probable()
    t = run(trace(substitute(hmm, data=best)).traced(*arguments, False))
    step_by_step = eliminate(Program(hmm, *arguments, False)).most_probable()
    assert {name: int(value) for name, value in best.items()} == {name: int(value) for name, value in step_by_step.items()}
    assert t.log_pdf() > run(trace(hmm).traced(*arguments, False)).log_pdf()


def test_one_run():
    started = []

    def counted():
        started.append(1)
        yield from mixture()

    eliminate(counted, max_plate_nesting=1)
    assert len(started) == 1
    assert eliminate(counted, max_plate_nesting=0).log_evidence.isfinite()  # the plate has a dimension more: once again
    assert len(started) == 3
    eliminate(counted)
    assert len(started) == 3 + 1 + 1 + 3, "a plain run, that for all values, and plain ones to compare with"


def test_a_hundred_sites_of_a_sequential_plate_use_dimensions_again():
    def many():
        @plate("rows", 100, vectorized=False)
        def rows(i):
            z = yield Sample(f"z{i}", td.Bernoulli(P2[0]))
            yield Observe(f"y{i}", normal(z), Y[0, 0])

        yield from rows()

    one = sum(float(p * normal(z).log_prob(Y[0, 0]).exp()) for z, p in enumerate((1 - P2[0], P2[0])))
    assert eliminate(many).log_evidence.item() == pytest.approx(100 * math.log(one), rel=1e-12)


def test_finite_choices_that_torch_does_not_list():
    for dist in (
        td.Independent(td.Bernoulli(P3), 1),
        td.Multinomial(2, P3),
        td.MixtureSameFamily(td.Categorical(P2), td.Categorical(T2)),
        td.Binomial(torch.tensor([2.0, 3.0], dtype=F64), P2),
    ):
        program = Program(seen_in_a_plate, dist)
        theirs, ours = exact(program), eliminate(program)
        assert ours.log_evidence.item() == pytest.approx(theirs.log_evidence.item(), rel=1e-12)
        mean = theirs.expectation(lambda t: t["x"].value.to(F64))
        probability, values = ours.marginal("x"), ours.values("x").to(F64)
        assert torch.allclose(torch.tensordot(probability, values, 1).reshape(mean.shape), mean, rtol=1e-12)


def seen_in_a_plate(dist):
    @plate("rows", *dist.batch_shape)
    def rows(i):
        yield from seen(dist)

    yield from (rows() if dist.batch_shape else seen(dist))


def seen(dist):
    x = yield Sample("x", dist)
    yield Observe("y", normal(x.sum(-1) if dist.event_shape else x), Y[0, 0])


def test_no_posterior_is_told():
    def impossible():
        k = yield Sample("k", td.Bernoulli(P2[0]))
        yield factor("f", torch.where(k >= 0, -math.inf, 0.0))

    posterior = eliminate(impossible)
    assert posterior.log_evidence == -math.inf
    for ask in (
        lambda: posterior.marginal("k"),
        posterior.most_probable,
        lambda: run(Program(posterior.sample, 5)),
        lambda: posterior.expectation(abs, "k"),
    ):
        with pytest.raises(DegenerateWeights, match="no posterior: the log evidence is -inf"):
            ask()


REDUCED = {
    "sum": lambda z: z.sum(),
    "max": lambda z: z.max(),
    "min": lambda z: z.min(),
    "mean": lambda z: z.mean(),
    "product": lambda z: z.prod(),
    "any": lambda z: (z.sum() > 0) * 1.0,
    "all": lambda z: 5.0 * (z > 0).all(),
    "first": lambda z: z[0],
    "turned": lambda z: z.flip(0)[0],
}


@pytest.mark.parametrize("probability", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("size", [1, 2, 30])
@pytest.mark.parametrize("how", REDUCED)
def test_what_does_not_broadcast_is_refused_whatever_is_drawn(how, size, probability):
    """Each is right at some values: the largest of z is 1 wherever one of them is."""

    def model():
        @plate("rows", size)
        def rows(i):
            return (yield Sample("z", td.Bernoulli(torch.tensor(probability, dtype=F64))))

        z = yield from rows()
        yield Observe("y", normal(REDUCED[how](torch.atleast_1d(z))), Y[0, 0])

    with pytest.raises(NotVectorizable, match="site 'y'"):
        eliminate(model)

    def with_continuous():
        yield from model()
        yield Sample("mu", normal(0.0))

    with pytest.raises(NotVectorizable, match="site 'y'"):
        density(with_continuous)


# What is refused


def sites(*made):
    def model():
        for each in made:
            _ = yield each  # a tuple cannot be sent values

    return model


def branching():
    x = yield Sample("x", td.Bernoulli(P2[0]))
    if x:
        yield Sample("z", td.Bernoulli(0.5))


def summing():
    x = yield Sample("x", td.Categorical(P3))
    yield Observe("y", normal(x.sum()), Y[0, 0])


def leaving_its_plate():
    @plate("rows", 3)
    def rows(i):
        return (yield Sample("z", td.Categorical(P2)))

    z = yield from rows()
    yield Observe("y", normal(z), Y[:3, 0])


def crossing():
    @plate("rows", 2)
    def rows(i):
        return (yield Sample("r", td.Categorical(P2)))

    @plate("columns", 2, dim=-2)
    def columns(j):
        return (yield Sample("c", td.Categorical(P2)))

    r = yield from rows()
    c = yield from columns()

    @plate("columns", 2, dim=-2)
    def both(j):
        @plate("rows", 2, dim=-1)
        def cells(i):
            yield Observe("y", normal(r + c), Y[:2])

        yield from cells()

    yield from both()


def computed_state():
    @markov("time", 4, vectorized=True)
    def step(t, x):
        u = yield Sample("u", td.Bernoulli(P2[0]))
        return u if x is None else (x + u) % 2

    yield from step()


def too_many():
    for i in range(70):
        yield Sample(f"z{i}", td.Bernoulli(P2[0]))


def of_another_shape():
    x = yield Sample("x", td.Bernoulli(P2[0]))
    yield Sample("z", td.Bernoulli(torch.full((2 + x.dim(),), 0.5, dtype=F64)))


def all_joined():
    z = []
    for i in range(40):
        z.append((yield Sample(f"z{i}", td.Bernoulli(P2[0]))))
    for i in range(40):
        for j in range(i):
            yield factor(f"f{i},{j}", z[i] * z[j] * 0.1)


def wide_states():
    @markov("time", 4, vectorized=True)
    def step(t, state):
        made = []
        for i in range(14):
            made.append((yield Sample(f"x{i}", td.Bernoulli(P2[0] if state is None else 0.1 + 0.5 * state[i]))))
            yield factor(f"f{i}", 0.1 * made[i] * made[i - 1])
        return tuple(made)

    yield from step()


@pytest.mark.parametrize(("model", "error", "problem"), [
    (all_joined, NotVectorizable, r"sites z\d+, .* and .* more depend on one another: .* combinations.*are too many; condition"),
    (wide_states, NotVectorizable, r"sites .* and .* more depend on one another: .* are too many"),
    (sites(Sample("x", td.Normal(0.0, 1.0))), NotFinite, "site 'x'.*is continuous"),
    (sites(Sample("x", td.Poisson(1.0))), NotFinite, "site 'x'.*infinitely many values"),
    (sites(Sample("x", td.Bernoulli(torch.full((40,), 0.5)))), NotFinite, "site 'x'.*values, more than 100000; put it into a plate"),
    (branching, NotVectorizable, "all values at once of x.*Boolean value.*torch.where.*enumeration.exact"),
    (summing, NotVectorizable, "site 'y': its log density at values of a plain run.*does the program broadcast"),
    (leaving_its_plate, NotVectorizable, "site 'y' is outside of plate 'rows' and depends on 'z'"),
    (crossing, NotVectorizable, "sites 'c', 'r' of different plates.*exponential"),
    (computed_state, NotVectorizable, "markov loop 'time': its steps cannot be taken at once"),
    (of_another_shape, NotVectorizable, "site 'z': its values have another shape when all values are taken at once"),
    (too_many, NotVectorizable, "site 'z5.'.*torch has 64 dimensions.*markov"),
])  # fmt: skip
def test_what_cannot_be_batched_is_refused_by_name(model, error, problem):
    with pytest.raises(error, match=problem):
        eliminate(model)


@pytest.mark.parametrize("series", [1, 2, 3])
@pytest.mark.parametrize("layout", [(), (1, 0)], ids=["series first", "time first"])
def test_the_number_of_a_step_broadcasts_with_the_index_of_a_plate(series: int, layout: tuple[int, ...]):
    """As many series as steps but the first one, or one, or another number: the indices of both are no diagonal."""
    data = 3 * torch.rand(series, 4, dtype=F64, generator=torch.Generator().manual_seed(series))

    def model(vectorized):
        @plate("series", series)
        def part(i):
            @markov("time", 4, vectorized=vectorized)
            def step(t, x):
                x = yield Sample("x", td.Categorical(P2 if x is None else T2[x]))
                yield Observe("y", normal(x), data.permute(layout)[(t, i)] if layout else data[i, t])
                return x

            yield from step()

        yield from part()

    expected = eliminate(Program(model, False)).log_evidence.item()
    for nesting in (None, 2):
        assert eliminate(Program(model, True), max_plate_nesting=nesting).log_evidence.item() == pytest.approx(expected, rel=1e-12)
    assert evidence(Program(model, True), ParamStore())().item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("series", [2, 3, 4])
def test_rows_of_data_have_no_place_in_the_steps_of_a_loop_in_a_plate(series: int):
    @plate("series", series)
    def model(i):
        @markov("time", 4, vectorized=True)
        def step(t, x):
            x = yield Sample("x", td.Categorical(P3 if x is None else T3[x]))
            yield Observe("y", normal(x), torch.arange(16.0, dtype=F64).reshape(4, 4)[t, :series])
            return x

        yield from step()

    with pytest.raises(PoutineError, match="site 'y_1") as refused:
        eliminate(model())
    assert "in the steps of 'time' t is a column beside the indices of the plates around: index data with all of them, y[i, t]" in "".join(
        (str(refused.value), *getattr(refused.value, "__notes__", ()))
    )


def test_elements_of_a_plate_are_not_addressed_outside_of_it():
    def model():
        @plate("rows", 3)
        def rows(i):
            return (yield Sample("a", td.Bernoulli(P2[0])))

        a = yield from rows()
        yield Observe("y", normal(a[..., 0] - 2 * a[..., 1]), Y[0, 0])

    with pytest.raises(
        NotVectorizable, match=r"all values at once of a.*IndexError.*elements of plate 'rows' are not addressed.*vectorized=False"
    ):
        eliminate(model)


def test_an_observation_that_some_values_exclude_has_probability_zero_there():
    """Counts of animals that are seen: there are no fewer than that."""
    seen = torch.tensor([[3, 0], [2, 4]])

    def model():
        @plate("places", 2)
        def places(i):
            n = yield Sample("n", td.Binomial(torch.tensor(6), P2[0]))
            for k in range(2):
                yield Observe(f"y{k}", td.Binomial(n, P3[0]), seen[k][i])

        yield from places()

    def log_binomial(k: int, n: int, p: float) -> float:
        return math.log(math.comb(n, k)) + k * math.log(p) + (n - k) * math.log1p(-p)

    expected = 0.0
    for i in range(2):
        each = [
            log_binomial(n, 6, P2[0].item()) + sum(log_binomial(k, n, P3[0].item()) for k in seen[:, i].tolist())
            for n in range(int(seen[:, i].max()), 7)
        ]
        expected += torch.logsumexp(torch.tensor(each, dtype=F64), 0).item()
    for found in (exact(model), eliminate(model), eliminate(model, max_plate_nesting=1)):
        assert found.log_evidence.item() == pytest.approx(expected, rel=1e-12)
    assert evidence(model, ParamStore())().item() == pytest.approx(expected, rel=1e-12)
    assert eliminate(model).marginal("n")[:, :3].tolist() == [[0.0] * 3] * 2


def in_an_event():
    n = yield Sample("n", td.Independent(td.Binomial(torch.tensor([3, 4]), P2), 1))
    yield Observe("y", td.Independent(td.Binomial(n, P3[0]), 1), torch.tensor([2, 1]))


def in_a_mixture():
    n = yield Sample("n", td.Binomial(4, P2[0]))
    parts = td.Binomial(torch.stack([n, n + 1], -1), P2)
    yield Observe("y", td.MixtureSameFamily(td.Categorical(P2), parts), 3)


def moved():
    n = yield Sample("n", td.Categorical(P3))
    waiting = td.TransformedDistribution(td.Exponential(P2), [td.AffineTransform(n.to(F64).unsqueeze(-1) * P2, 1.0)])
    yield Observe("y", td.Independent(waiting, 1), torch.tensor([0.7, 0.9], dtype=F64))


@pytest.mark.parametrize("nesting", [None, 0, 1, 2])
@pytest.mark.parametrize("program", [in_an_event, in_a_mixture, moved])
def test_what_a_bound_depends_on_is_seen_beside_its_own_dimensions(program, nesting):
    assert eliminate(program, max_plate_nesting=nesting).log_evidence.item() == pytest.approx(exact(program).log_evidence.item(), rel=1e-12)


@pytest.mark.parametrize("enumerated", [exact, eliminate])
def test_an_observation_that_nothing_can_explain_is_told(enumerated):
    def model():
        yield Sample("z", td.Bernoulli(P2[0]))
        yield Observe("y", td.Uniform(0.0, 1.0), torch.tensor(2.0))

    with pytest.raises(DistributionError, match="site 'y': cannot score a value of shape .* under Uniform"):
        enumerated(model)


def test_a_budget_that_ends_among_impossible_traces_is_no_error():
    def model():
        n = yield Sample("n", td.Binomial(3, P2[0]))
        yield Observe("y", td.Binomial(n, P3[0]), 2)

    found = exact(model, budget=2)
    assert found.log_densities.tolist() == [-math.inf] * 2 and found.uncovered > 0.0
    assert exact(model).log_densities.isfinite().tolist() == [False, False, True, True]


def test_which_step_it_is_does_not_decide():
    @markov("time", 4, vectorized=True)
    def model(t, x):
        x = yield Sample("x", td.Categorical(P2 if x is None else T2[x]))
        yield Observe("y", normal(x), Y[int(t), 0])
        return x

    with pytest.raises(NotVectorizable, match=r"nor on the step of 'time', whose steps are taken at once \(int\(t\)\)"):
        eliminate(model())


def test_errors_of_the_program_come_through():
    def failing():
        yield Sample("x", td.Bernoulli(0.5))
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        eliminate(failing)


def test_a_lockstep_batch_is_refused_with_the_way_out():
    def one():
        z = yield Sample("z", td.Bernoulli(torch.tensor(0.3, dtype=F64)))
        yield Observe("y", td.Normal(z, 1.0), torch.tensor(1.0, dtype=F64))
        return z

    batch = Program(lockstep, one, 3)
    with pytest.raises(NotVectorizable, match=r"the program runs a batch.*all values of .*; eliminate the program of one instance, or use"):
        eliminate(batch)
    assert exact(batch).log_evidence.item() == pytest.approx(3 * eliminate(one).log_evidence.item(), rel=1e-12)


def test_a_site_that_is_hidden_is_told_from_one_that_is_not_there():
    def two():
        z = yield Sample("z", td.Bernoulli(torch.tensor(0.3, dtype=F64)))
        yield Sample("w", td.Bernoulli(0.1 + 0.5 * z))

    with pytest.raises(KeyError, match=r"no site z among those summed out: w \(and 1 that block hides, which are in no result\)"):
        eliminate(block(two, hide=["z"])()).marginal("z")


def in_a_plate(look):
    @plate("p", 3)
    def part(index):
        return (yield Sample("z", td.Categorical(torch.ones(5, dtype=F64))))

    z = yield from part()
    f = look(z, torch.tensor([1, 3, 2]))
    yield Observe("y", td.Normal(5.0 * f, 1.0), torch.tensor(3.0, dtype=F64))


def alone(look):
    z = yield Sample("z", td.Categorical(torch.ones(30, dtype=F64)))
    if look(z, torch.tensor(17)):
        yield Observe("y", td.Normal(0.0, 1.0), torch.tensor(3.0, dtype=F64))


@pytest.mark.parametrize("program", [in_a_plate, alone])
@pytest.mark.parametrize("look", [
    lambda z, t: bool((z == t).all()),
    lambda z, t: float((z == t).all()),
    lambda z, t: (z - t).abs().sum().item() == 0,
    lambda z, t: torch.equal(z, t),
    lambda z, t: z.tolist() == t.tolist(),
    lambda z, t: (z == t).nonzero().numel() == 3,
    lambda z, t: torch.stack([z + 0 * t, t + 0 * z]).unique().numel() == 1,
    lambda z, t: torch.allclose(z.double(), t.double()),
    lambda z, t: (z == t).all().numpy() == 1,
])  # fmt: skip
def test_a_look_at_what_is_enumerated_is_refused_where_no_plain_run_meets_it(program, look):
    """The draws with which it is compared rarely are the one of thousands for which the branch is taken."""
    with pytest.raises(
        NotVectorizable,
        match="with all values at once of z, the program (asks for|raises).*which value it is.*interpreters.enumeration.exact",
    ):
        eliminate(Program(program, look))


def test_a_look_at_what_is_not_enumerated_and_torchs_own_validation_are_none():
    def model(y):
        z = yield Sample("z", td.Categorical(torch.ones(3, dtype=F64)))
        one = yield Sample("one", td.Categorical(torch.ones(1, dtype=F64)))
        assert bool((y > 0).all()) and int(one) == 0
        yield Observe("y", td.Normal(z.double(), 1.0 + z, validate_args=True), y)

    program = Program(model, torch.tensor(2.0, dtype=F64))
    assert eliminate(program).log_evidence.item() == pytest.approx(exact(program).log_evidence.item(), rel=1e-12)
