"""Discrete sites that were summed out, drawn for all draws of a posterior at once: from the exact posterior of each."""

from __future__ import annotations

import attrs
import pytest
import torch
from torch.distributions import Bernoulli, Beta, Binomial, LogNormal, Normal

from interpreters.density import density
from interpreters.discrete import Completion, discrete_draws, with_discrete
from interpreters.nuts import infer
from interpreters.predictive import predict
from interpreters.sampled_posterior import SampledPosterior, trace_at
from poutine import Observe, Program, Sample, plate, run
from tests.interpreters.test_summed_density import Y, hmm, mixture, somewhere

F64 = torch.float64
TIMES = 400  # each position, so that frequencies can be told


def asking(y):
    """Looks at a value, which no vmap answers."""
    z = yield from hmm(y, False)
    if float(y[0]) > 100.0:
        yield Sample("never", Normal(0.0, 1.0))
    return z


@pytest.mark.parametrize(
    ("program", "names"),
    [
        (Program(mixture, Y[:6]), ("z",)),
        (Program(hmm, Y[:5], True), ("x_0", "x_1", "x_4")),
        (Program(hmm, Y[:4], False), ("x_0", "x_3")),
        (Program(asking, Y[:3]), ("x_2",)),
    ],
    ids=["mixture", "vectorized chain", "chain", "one by one"],
)
def test_frequencies_are_the_exact_marginals_of_each_draw(program, names):
    target = density(program)
    positions = [somewhere(target.dim, seed) for seed in range(2)]
    places = [target.constrain(position) for position in positions]
    known = {name: torch.stack([place[name] for place in places]).repeat_interleave(TIMES, 0) for name in target.sites}
    drawn = run(Program(discrete_draws, target, known, trace_at(target, places[0])), 1).draws
    for i, position in enumerate(positions):
        exact = target.discrete(position)
        for name in names:
            mine = drawn[name][i * TIMES : (i + 1) * TIMES]
            expected = exact.marginal(name)
            for k in range(expected.shape[-1]):
                p = expected[..., k]
                error = (p * (1 - p) / TIMES).sqrt() + 1e-3
                assert bool((((mine == k).to(F64).mean(0) - p).abs() < 4.5 * error).all())


def test_neighbours_of_a_chain_are_drawn_together():
    target = density(Program(hmm, Y[:4], True))
    place = target.constrain(somewhere(target.dim, 3))
    known = {name: place[name].expand(4 * TIMES, *place[name].shape) for name in target.sites}
    drawn = run(Program(discrete_draws, target, known, trace_at(target, place)), 2).draws
    plain = density(Program(hmm, Y[:4], False)).discrete(somewhere(target.dim, 3)).marginal("x_1", "x_2")
    for a in range(3):
        for b in range(3):
            share = ((drawn["x_1"] == a) & (drawn["x_2"] == b)).to(F64).mean().item()
            p = plain[a, b].item()
            assert abs(share - p) < 4.5 * (p * (1 - p) / (4 * TIMES)) ** 0.5 + 1e-3


def test_a_count_that_the_plain_run_excludes_has_likelihoods_at_each_draw():
    """Shapes are those of a plain run, which may draw fewer than were seen."""
    seen = torch.tensor([3, 2])

    def model():
        p = yield Sample("p", Beta(torch.ones((), dtype=F64), 1.0))

        @plate("places", 2)
        def places(i):
            n = yield Sample("n", Binomial(torch.tensor(6), torch.tensor(0.1, dtype=F64)))
            yield Observe("y", Binomial(n, p), seen[i])

        yield from places()

    target = density(model)
    known = {"p": torch.tensor([0.2, 0.6, 0.9], dtype=F64)}
    found = run(Program(discrete_draws, target, known, trace_at(target, {"p": known["p"][0]})), 1)
    assert found.likelihood["y"].shape == (3, 2)
    # Of a Binomial number each is seen or not: the number of those that are is Binomial, too.
    expected = Binomial(6, 0.1 * known["p"][:, None]).log_prob(seen.to(F64))
    torch.testing.assert_close(found.likelihood["y"], expected, rtol=1e-12, atol=0.0)
    assert bool((found.draws["n"] >= seen).all())


def test_a_posterior_is_made_whole():
    program = Program(mixture, Y)
    target = density(program)
    places = [target.constrain(somewhere(target.dim, seed)) for seed in range(40)]
    draws = {name: torch.stack([place[name] for place in places]).unflatten(0, (2, 20)) for name in target.sites}
    posterior = SampledPosterior(draws, {"diverging": torch.zeros(2, 20)}, {}, {}, {}, {}, {})
    whole = with_discrete(program, posterior, seed=3)
    assert whole.draws["z"].shape == (2, 20, 40) and whole.dims["z"] == ("rows",)
    assert torch.equal(whole.draws["z"], with_discrete(program, posterior, seed=3).draws["z"])
    assert not torch.equal(whole.draws["z"], with_discrete(program, posterior, seed=4).draws["z"])
    assert "z" in whole.to_arviz().posterior
    with pytest.raises(ValueError, match="no discrete sites"):
        with_discrete(Program(continuous), posterior)


def continuous():
    yield Sample("a", Normal(0.0, 1.0))


def test_blocks_of_draws_are_made_whole_alike():
    """However many draws there are at a time, and in all."""
    target = density(Program(mixture, Y))
    places = [target.constrain(somewhere(target.dim, seed)) for seed in range(40)]
    draws = {name: torch.stack([place[name] for place in places]).unflatten(0, (2, 20)) for name in target.sites}

    def part(start, stop):
        cut = {name: values[:, start:stop] for name, values in draws.items()}
        return SampledPosterior(cut, {"diverging": torch.zeros(2, stop - start)})

    completion = attrs.evolve(Completion.of(target, part(0, 1), 3), size=4)
    whole = completion.whole(part(0, 20))
    assert whole.draws["which"].shape == (2, 20, 40)
    for start, stop in ((0, 8), (8, 12), (12, 20)):
        mine = completion.whole(part(start, stop), start)
        for name in ("z", "which"):
            assert torch.equal(mine.draws[name], whole.draws[name][:, start:stop])
    loc = torch.stack([torch.zeros(2, 20, dtype=F64), whole.draws["gap"]], -1)
    assert torch.equal(whole.draws["which"], loc.gather(-1, whole.draws["z"]))
    assert whole.dims["which"] == ("rows",)


def test_infer_and_predict_know_the_states_of_the_observations():
    """Two far components: what is predicted of an observation is of its own."""
    y = torch.tensor([-10.0, 10.0, -10.0, 10.0, 10.0], dtype=F64)

    def two(y):
        mu = yield Sample("mu", LogNormal(torch.tensor(2.3, dtype=F64), 0.1))

        @plate("rows", len(y))
        def rows(i):
            z = yield Sample("z", Bernoulli(torch.tensor(0.5, dtype=F64)))
            yield Observe("y", Normal(mu * (2 * z - 1), 1.0), y[i])

        yield from rows()

    posterior = infer(Program(two, y), 2, 50, 50)
    assert bool((posterior.draws["z"] == (y > 0)).all())
    again = predict(Program(two, y), posterior).predictive["y"]
    assert again.shape == (2, 50, 5)
    assert bool(((again > 0) == (y > 0)).all())
