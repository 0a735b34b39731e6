"""Discrete sites of a subsample: what is left out is like what is there, and so each element's own sum is taken to a power.

The law that all of this rests on: a subsample of n elements out of w * n counts as the whole plate would in which each of the n
were there w times.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.distributions import Categorical, Normal

from interpreters.density import density
from interpreters.discrete import discrete_draws
from interpreters.elimination import eliminate
from interpreters.enumeration import exact
from interpreters.errors import NotVectorizable
from interpreters.evidence import evidence
from poutine import Observe, Program, Sample, block, factor, markov, mask, plate, replay, run, scale, trace

F64 = torch.float64
GENERATOR = torch.Generator().manual_seed(0)
P2, P3 = torch.tensor([0.3, 0.7], dtype=F64), torch.tensor([0.5, 0.2, 0.3], dtype=F64)
T = torch.rand(2, 2, dtype=F64, generator=GENERATOR)
T2 = T / T.sum(-1, keepdim=True)
Y = 3 * torch.rand(8, 8, dtype=F64, generator=GENERATOR) - 1


def some(whole, name, elements, times, **options):
    """A decorator: a plate of which ``elements`` are a subsample, or of ``times`` copies of them."""
    every = torch.tensor(elements * times)
    if not whole:
        return plate(name, len(every), subsample=torch.tensor(elements), **options)

    def decorate(fn):
        return plate(name, len(every), **options)(lambda i: fn(every[i]))

    return decorate


def normal(loc):
    return Normal(torch.as_tensor(loc).to(F64), 1.0)


def mixture(whole, elements=(1, 3), times=2):
    a = yield Sample("a", Categorical(P2))

    @some(whole, "rows", elements, times)
    def rows(i):
        z = yield Sample("z", Categorical(T2[a]))
        w = yield Sample("w", Categorical(P3))
        yield Observe("y", normal(2.0 * z + w), Y[0, i])
        yield factor("f", 0.3 * a * Y[1, i])

    yield from rows()


def nested(whole):
    a = yield Sample("a", Categorical(P2))

    @some(whole, "rows", (0, 2), 2)
    def rows(i):
        b = yield Sample("b", Categorical(T2[a]))

        @some(whole, "columns", (1, 4, 5), 2)
        def columns(j):
            c = yield Sample("c", Categorical(T2[b]))
            yield Observe("y", normal(b + 2.0 * c), Y[j[:, None], i])

        yield from columns()

    yield from rows()


def nested_the_other_way(whole):
    """The outer plate is there in full."""

    @plate("rows", 3)
    def rows(i):
        b = yield Sample("b", Categorical(P2))

        @some(whole, "columns", (2,), 3)
        def columns(j):
            c = yield Sample("c", Categorical(T2[b]))
            yield Observe("y", normal(b + 2.0 * c), Y[j[:, None], i])

        yield from columns()

    yield from rows()


def chain_in_a_subsample(whole, vectorized):
    k = yield Sample("k", Categorical(P2))

    @some(whole, "series", (1, 2), 2)
    def series(j):
        @markov("time", 4, vectorized=vectorized)
        def step(t, x):
            x = yield Sample("x", Categorical(T2[k] if x is None else T2[x]))
            yield Observe("y", normal(2.0 * x), Y[t].reshape(-1, 8)[:, j])
            return x

        yield from step()

    yield from series()


def subsample_in_a_chain(whole, vectorized):
    @markov("time", 4, vectorized=vectorized)
    def step(t, x):
        x = yield Sample("x", Categorical(P2 if x is None else T2[x]))

        @some(whole, "features", (0, 3), 2, dim=-2)
        def features(j):
            u = yield Sample("u", Categorical(T2[x]))
            yield Observe("y", normal(u + x), Y[j][:, t].reshape(len(j), -1))
            yield factor("constant", torch.tensor(-0.3, dtype=F64))

        yield from features()
        return x

    yield from step()


def scaled(whole):
    """A factor of its own is taken at its word, inside of the sum."""

    def element(i):
        z = yield Sample("z", Categorical(P2))
        yield from mask(lambda: (yield Observe("y", normal(2.0 * z), Y[0, i])), mask=i > 1)()

    yield from scale(some(whole, "rows", (1, 3), 2)(lambda i: scale(element, scale=0.7)(i)), scale=1.3)()


def hidden(whole):
    yield from block(partial(mixture, whole), hide=["z"])()


MODELS = {
    "mixture": mixture,
    "of one element": partial(mixture, elements=(2,), times=3),
    **{model.__name__: model for model in (nested, nested_the_other_way, scaled, hidden)},
    **{
        f"{model.__name__}, {how}": partial(model, vectorized=how == "vectorized")
        for model in (chain_in_a_subsample, subsample_in_a_chain)
        for how in ("vectorized", "step by step")
    },
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]


def test_a_subsample_is_the_whole_of_copies(model):
    ours, theirs = eliminate(Program(model, False)), eliminate(Program(model, True))
    assert ours.log_evidence.item() == pytest.approx(theirs.log_evidence.item(), rel=1e-12)
    here, there = ours.most_probable(), theirs.most_probable()
    assert set(here) == set(there)
    for name, value in here.items():
        first = tuple(slice(size) for size in value.shape)
        assert torch.equal(there[name][first], value), name
        probability = ours.marginal(name)
        rest = tuple(slice(size) for size in probability.shape)
        torch.testing.assert_close(probability, theirs.marginal(name)[rest], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(probability, ours.marginal(name, differentiable=True), rtol=1e-12, atol=1e-12)
    draws = run(Program(ours.sample, 4000), seed=0)
    for name, value in here.items():
        probability = ours.marginal(name)[..., 1].reshape(value.shape)
        assert ((draws[name] == 1).to(F64).mean(0) - probability).abs().max() < 4.5 * 0.5 / 4000**0.5, name


def test_recorded_and_as_a_density(model):
    expected = eliminate(Program(model, False)).log_evidence.item()
    assert eliminate(Program(model, False), max_plate_nesting=2).log_evidence.item() == pytest.approx(expected, rel=1e-12)
    assert evidence(Program(model, False))().item() == pytest.approx(expected, rel=1e-12)
    if model is not hidden:
        assert density(Program(model, False))(torch.zeros(0, dtype=F64)).item() == pytest.approx(expected, rel=1e-12)


def test_minibatches():
    def model(index, y):
        @plate("data", 6, subsample=index)
        def points(i):
            z = yield Sample("z", Categorical(P2))
            yield Observe("y", normal(2.0 * z), y[i])

        yield from points()

    recorded = evidence(Program(model, torch.tensor([1, 3]), Y[0]))
    for index in torch.tensor([[1, 3], [5, 0]]):
        assert recorded(index, Y[0]).item() == pytest.approx(eliminate(Program(model, index, Y[0])).log_evidence.item(), rel=1e-12)


def test_the_scale_is_outside_of_the_sum():
    """As Pyro and NumPyro have it, where nothing is outside of the plate."""
    w, loc, index = T2[0], torch.tensor([-1.0, 1.5], dtype=F64), torch.tensor([1, 3])

    @plate("data", 6, subsample=index)
    def points(i):
        z = yield Sample("z", Categorical(w))
        yield Observe("y", normal(loc[z]), Y[0, i])

    each = (w.log() + normal(loc).log_prob(Y[0, index].unsqueeze(-1))).logsumexp(-1)
    assert eliminate(points).log_evidence.item() == pytest.approx(3 * each.sum().item(), rel=1e-12)


def sequential(vectorized):
    a = yield Sample("a", Categorical(P2))

    @plate("rows", 4, subsample=torch.tensor([1, 3]), vectorized=vectorized)
    def rows(i):
        name = "" if vectorized else f"_{i}"
        b = yield Sample(f"b{name}", Categorical(T2[a]))

        @markov(f"time{name}", 3)
        def step(t, x):
            x = yield Sample(f"x{name}", Categorical(T2[b if x is None else x]))
            yield Observe(f"y{name}", normal(x + b), Y[i, t])
            return x

        @plate(f"columns{name}", 6, subsample=torch.tensor([0, 4]), vectorized=vectorized)
        def columns(j):
            each = name if vectorized else f"{name}{j}"
            c = yield Sample(f"c{each}", Categorical(T2[b]))
            yield Observe(f"u{each}", normal(2.0 * c), Y[i, j.unsqueeze(-1) if vectorized else j])

        yield from step()
        yield from columns()

    yield from rows()


def test_a_sequential_plate_is_the_same():
    ours, theirs = eliminate(Program(sequential, False)), eliminate(Program(sequential, True))
    assert ours.log_evidence.item() == pytest.approx(theirs.log_evidence.item(), rel=1e-12)
    torch.testing.assert_close(torch.stack([ours.marginal("b_1"), ours.marginal("b_3")]), theirs.marginal("b"))
    torch.testing.assert_close(torch.stack([ours.marginal("x_1_2"), ours.marginal("x_3_2")]), theirs.marginal("x_2"))
    torch.testing.assert_close(torch.stack([ours.marginal("c_1" + j) for j in "04"]), theirs.marginal("c")[:, 0])
    assert {name: value.dim() for name, value in ours.most_probable().items() if value.dim()} == {}
    assert evidence(Program(sequential, False))().item() == pytest.approx(theirs.log_evidence.item(), rel=1e-12)


@pytest.mark.parametrize("vectorized", [True, False])
def test_what_joins_elements_of_a_subsample_has_no_meaning(vectorized):
    def model():
        @plate("rows", 4, subsample=torch.tensor([1, 3]), vectorized=vectorized)
        def rows(i):
            return (yield Sample("z" if vectorized else f"z{i}", Categorical(P2)))

        z = yield from rows()
        yield Observe("y", normal(z if vectorized else sum(z)), Y[0, 0])

    with pytest.raises(NotVectorizable, match="site 'y' is outside of plate 'rows' and depends on 'z[13]?', which is local to it"):
        eliminate(model, max_plate_nesting=1)


def test_joint_marginals():
    ours, theirs = eliminate(Program(mixture, False)), eliminate(Program(mixture, True))
    torch.testing.assert_close(ours.marginal("z", "w"), theirs.marginal("z", "w")[:2])


def with_locations(whole, elements=(1, 3, 4), times=2):
    loc = yield Sample("loc", Normal(0.0, 1.0))

    @some(whole, "rows", elements, times)
    def rows(i):
        z = yield Sample("z", Categorical(P2))
        yield Observe("y", normal(loc * z), Y[0, i])
        yield Observe("u", normal(loc), Y[1, i])

    yield from rows()


def test_given_continuous_sites():
    """Their gradient, the discrete sites of each draw, and what each observation adds: a part of the log density, as often as it counts."""
    ours, theirs = (density(Program(with_locations, whole)) for whole in (False, True))
    for position in torch.tensor([[0.3], [-1.0]], dtype=F64):
        torch.testing.assert_close(ours.value_and_grad(position), theirs.value_and_grad(position))
    loc = {"loc": torch.tensor([0.3, -1.0], dtype=F64)}
    found, whole = (run(Program(discrete_draws, target, loc, run(Program(trace(target.program.fn).traced, *target.program.args))))
                    for target in (ours, theirs))  # fmt: skip
    assert found.draws["z"].shape == (2, 3)
    torch.testing.assert_close(found.likelihood["y"].sum(-1), whole.likelihood["y"].sum(-1))


@pytest.mark.parametrize("inside", [True, False])
def test_another_scale_in_a_plate_is_taken_at_its_word(inside):
    def element(i):
        z = yield Sample("z", Categorical(P2))
        yield Observe("y", normal(z), Y[0, i])

    powers = torch.tensor([0.5, 0.8, 2.0], dtype=F64)
    if inside:
        model = plate("rows", 3)(lambda i: scale(element, scale=powers)(i))
    else:
        model = scale(plate("rows", 3)(element), scale=0.7)
    ours, theirs = eliminate(model), exact(model)
    assert ours.log_evidence.item() == pytest.approx(theirs.log_evidence.item(), rel=1e-12)


def test_a_guide_may_draw_the_subsample():
    def model():
        mu = yield Sample("mu", normal(0.0))

        @plate("rows", 8, 2)
        def rows(i):
            z = yield Sample("z", Categorical(P2))
            yield Observe("y", normal(mu + z), Y[0, i])

        yield from rows()

    def guide():
        yield Sample("mu", normal(1.0))
        yield from plate("rows", 8, 2)(nothing)()

    def nothing(i):
        return i
        yield

    t = run(trace(guide).traced(), seed=1)
    mu, index = t["mu"].value, t["rows"].value
    each = (P2.log() + normal(mu + torch.arange(2)).log_prob(Y[0, index][:, None])).logsumexp(1)
    expected = normal(0.0).log_prob(mu) + 4.0 * each.sum()
    assert torch.isclose(eliminate(Program(replay(model, t))).log_evidence, expected)
    with pytest.raises(NotVectorizable, match="site 'rows' draws the index of a subsampled plate"):
        eliminate(Program(replay(model, t, sites=["mu"])))
