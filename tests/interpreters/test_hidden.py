"""What ``block`` hides is in no result, whichever method it is; what of it is drawn counts with its probability, and nothing else does."""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributions as td

from interpreters import importance, nuts
from interpreters.density import density
from interpreters.discrete import with_discrete
from interpreters.elimination import eliminate
from interpreters.enumeration import exact
from interpreters.hamiltonian.sampling import sampled
from interpreters.predictive import predict
from interpreters.sampled_posterior import SampledPosterior
from poutine import Deterministic, Observe, Program, Sample, block, condition, markov, mask, plate, run, scale, trace

F64 = torch.float64
Y = torch.tensor([1.0, 1.5], dtype=F64)


def number(x):
    return torch.tensor(x, dtype=F64)


def normal(loc, spread):
    return td.Normal(number(loc) if isinstance(loc, float) else loc, spread)


def conjugate(y):
    a = yield Sample("a", normal(0.0, 1.0))
    b = yield Sample("b", normal(0.0, 0.5))
    yield Deterministic("double", 2 * b)
    yield Deterministic("sum", a + b)
    yield Observe("y", normal(a + b, 0.5), y)
    return a


def mixed(y):
    mu = yield Sample("mu", normal(0.0, 1.0))
    shift = yield Sample("shift", normal(0.0, 0.5))
    z = yield Sample("z", td.Bernoulli(number(0.3)))
    w = yield Sample("w", td.Bernoulli(number(0.6)))
    yield Deterministic("sum", mu + shift + z + w)
    yield Observe("y", normal(mu + shift + z + w, 0.5), y)


def coins(y):
    z = yield Sample("z", td.Categorical(torch.tensor([0.2, 0.5, 0.3])))
    w = yield Sample("w", td.Bernoulli(number(0.6)))
    yield Observe("y", td.Bernoulli((1.0 + z + w) / 5.0), y)


def fitted(program, num_chains=2, num_draws=300, seed=0):
    return nuts.infer(program, num_chains, 200, num_draws, seed=seed)


def names_of(program):
    found = trace(program.fn).get_trace(*program.args)
    return [name for name in found if found[name].type in ("sample", "deterministic")]


def test_all_methods_name_the_same_and_have_the_same_posterior_of_what_is_visible():
    program = block(conjugate, hide=["b", "double"])(Y)
    chains, weighted = fitted(program, 2, 2000), importance.infer(program, 20_000, seed=0)
    assert list(chains.draws) == list(weighted.draws) == names_of(program) == ["a", "sum"]
    assert list(density(program).constrain(torch.zeros(2, dtype=F64))) == ["a", "sum"]
    # Of a with b integrated out: the mean of two observations has variance 0.25 + 0.125, the prior 1.
    precision = 1.0 + 1.0 / 0.375
    mean, sd = 1.25 / 0.375 / precision, precision**-0.5
    row = chains.summary().rows["a"]
    assert abs(row.mean - mean) < 4.5 * row.mcse
    assert abs(row.sd / sd - 1.0) < 0.1
    row = weighted.summary().rows["a"]
    assert abs(row.mean - mean) < 4.5 * row.mcse


def test_what_is_hidden_is_in_no_result(tmp_path):
    program = block(conjugate, hide=["b", "double"])(Y)
    posterior = fitted(program, 2, 20)
    text = str(posterior.summary())
    assert "double" not in text and "hidden" not in text and "b " not in text
    inference = posterior.to_arviz()
    assert list(inference.posterior.data_vars) == ["a", "sum"]
    posterior.save(tmp_path / "p.nc")
    assert list(SampledPosterior.load(tmp_path / "p.nc").draws) == ["a", "sum"]
    assert list(posterior.likelihood) == ["y"]


def test_a_scale_and_a_mask_leave_what_is_drawn_out_of_sight_as_it_is():
    """As in importance sampling, where it is drawn from its prior; what is visible has them."""

    def model():
        yield Sample("b", normal(0.0, 0.5))
        yield Sample("c", normal(0.0, 1.0))

    u = torch.tensor([0.3, 0.7], dtype=F64)
    b, c = normal(0.0, 0.5).log_prob(u[0]), normal(0.0, 1.0).log_prob(u[1])
    for changed, expected in ((scale(model, 3.0), b + 3.0 * c), (mask(model, False), b)):
        torch.testing.assert_close(density(block(changed, hide=["b"])())(u), expected, rtol=1e-12, atol=0.0)


def test_what_is_hidden_and_decided_or_observed_does_not_count():
    def model():
        a = yield Sample("a", normal(0.0, 1.0))
        yield Observe("y", normal(a, 1.0), number(1.0))
        yield Observe("x", normal(a, 1.0), number(2.0))
        c = yield Sample("c", normal(a, 1.0))
        return c

    def given():
        return (yield from block(condition(model, data={"c": number(3.0)}), hide=["x", "c"])())

    def decided():
        return (yield from block(lambda: (yield Sample("s", normal(0.0, 1.0)).evolve(value=number(4.0))))())

    target = density(given)
    at = torch.tensor([0.5], dtype=F64)
    values, likelihood = target.constrain(at), target.log_likelihood(at)
    assert list(values) == ["a"] and list(likelihood) == ["y"]
    found = trace(condition(given, data={"a": at[0]})).get_trace()
    assert "x" not in found and "c" not in found
    torch.testing.assert_close(target(at), found.log_pdf(), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(target.log_prob(values), found.log_pdf(), rtol=1e-12, atol=0.0)
    assert density(decided).dim == 0 and density(decided)(torch.zeros(0, dtype=F64)) == 0.0
    assert list(fitted(Program(given), 1, 10).observed) == ["y"]


def test_a_density_at_values_needs_those_that_nobody_has():
    target = density(block(conjugate, hide=["b"])(Y))
    values = target.constrain(torch.zeros(2, dtype=F64))
    for ask in (target.log_prob, target.unconstrain):
        with pytest.raises(KeyError, match="block hides b, so that its values are in no result.* without the block"):
            ask(values)
    with pytest.raises(KeyError, match="the latent sites are a"):
        density(block(conjugate, hide=["double"])(Y)).log_prob({"a": number(0.0), "b": number(0.0), "double": number(0.0)})


def test_discrete_sites_are_drawn_given_all_draws_also_those_that_are_hidden():
    plain = fitted(Program(mixed, Y), 2, 400)
    for hide in (["z"], ["mu"], ["shift", "w"], ["mu", "shift"], ["z", "w"]):
        hidden = block(mixed, hide=hide)(Y)
        mine, theirs = fitted(hidden, 2, 400), importance.infer(hidden, 2000)
        assert [name for name in plain.draws if name not in hide] == list(mine.draws)
        assert set(theirs.draws) == set(mine.draws) == set(names_of(hidden))
        draws = mine.draws
        assert all(torch.equal(draws[name], plain.draws[name]) for name in ("mu", "shift") if name in draws)
        # Each draw is given the same continuous values, under other streams: the difference of two indicators has a variance of at most 1/2.
        for name in {"z", "w"} & draws.keys():
            assert abs((draws[name] - plain.draws[name]).mean().item()) < 4.5 * (0.5 / 800) ** 0.5, (hide, name)
        rest = draws["sum"] - sum(draws[name] for name in ("mu", "shift", "z", "w") if name in draws)
        hidden_rest = sum(plain.draws[name] for name in hide)
        assert abs((rest - hidden_rest).mean().item()) < 4.5 * (len(hide) * 0.5 / 800) ** 0.5, hide
        if hide in (["z"], ["z", "w"]):
            assert set(rest.round(decimals=9).flatten().tolist()) == set(range(len(hide) + 1)), "what was drawn out of sight is in the sum"
        if hide == ["mu"]:
            torch.testing.assert_close(rest, plain.draws["mu"], rtol=0.0, atol=1e-12)


def test_the_posterior_that_the_sampler_gives_is_made_whole_and_a_stored_one_refused():
    program = block(mixed, hide=["shift", "z"])(Y)
    target = density(program)
    chains = run(Program(sampled, target, nuts.Options(), 2, 50, 30), 0)
    posterior = SampledPosterior.of(target, chains)
    assert list(posterior.draws) == ["mu"]
    whole = with_discrete(program, posterior)
    assert list(whole.draws) == ["mu", "w", "sum"]
    stored = SampledPosterior(posterior.draws, posterior.statistics)
    with pytest.raises(ValueError, match="block hides shift, so that the posterior has no draws of it.* nuts.infer draws them itself"):
        with_discrete(program, stored)


def test_elimination_and_enumeration_and_nuts_agree_on_what_is_hidden():
    y = number(1.0)
    program = block(coins, hide=["w"])(y)
    posterior, everything = eliminate(program), exact(program)

    def continued(y):
        yield Sample("a", normal(0.0, 1.0))
        yield from program

    chains = fitted(Program(continued, y), 2, 2000)
    assert list(chains.draws) == ["a", "z"]
    marginal, total = posterior.marginal("z"), chains.draws["z"].numel()
    for k, p in everything.marginal("z").items():
        assert math.isclose(marginal[int(k)].item(), p, rel_tol=1e-5)
        assert abs((chains.draws["z"] == k).double().mean().item() - p) < 4.5 * (p * (1 - p) / total) ** 0.5
    found = run(Program(posterior.sample, 3))
    assert list(found) == list(posterior.most_probable()) == ["z"]


@pytest.mark.parametrize("hide", [["x_2"], ["x_0", "x_1", "x_2"], ["y_1"], ["mu"]])
def test_a_vectorised_loop_of_which_a_step_is_hidden(hide):
    moves, y = torch.tensor([[0.8, 0.2], [0.3, 0.7]], dtype=F64), torch.tensor([0.1, 1.2, 1.0], dtype=F64)

    def chain(mu):
        @markov("weeks", 3, vectorized=True)
        def week(t, x):
            x = yield Sample("x", td.Categorical(moves[0] if x is None else moves[x]))
            yield Observe("y", normal(mu + x, 0.5), y[t])
            return x

        yield from week()

    def model():
        yield from chain((yield Sample("mu", normal(0.0, 1.0))))

    program, u = block(model, hide=hide)(), torch.tensor([0.2], dtype=F64)
    expected = eliminate(block(chain, hide=hide)(u[0])).log_evidence + normal(0.0, 1.0).log_prob(u[0])
    torch.testing.assert_close(density(program)(u), expected, rtol=1e-10, atol=0.0)
    assert set(fitted(program, 1, 10).draws) == {"mu", "x_0", "x_1", "x_2"} - set(hide)


def test_hidden_sites_may_have_one_name_and_that_of_another_site():
    def inner():
        first = yield Sample("a", normal(0.0, 1.0))
        second = yield Sample("a", normal(first, 2.0))
        return first + second

    def model():
        a = yield Sample("a", normal(0.0, 3.0))
        return a + (yield from block(inner)())

    target = density(model)
    u = torch.tensor([0.1, 0.2, 0.3], dtype=F64)
    expected = normal(0.0, 3.0).log_prob(u[0]) + normal(0.0, 1.0).log_prob(u[1]) + normal(u[1], 2.0).log_prob(u[2])
    torch.testing.assert_close(target(u), expected, rtol=1e-12, atol=0.0)
    assert target.constrain(u) == {"a": u[0]}


def test_a_site_of_ones_own_may_be_called_as_hidden_ones_are_here():
    def model():
        yield Sample("a (hidden)", normal(0.0, 1.0))
        yield Sample("z (hidden)", td.Bernoulli(number(0.3)))

    assert list(fitted(Program(model), 1, 10).draws) == ["a (hidden)", "z (hidden)"]

    def discrete():
        yield Sample("z (hidden)", td.Bernoulli(number(0.3)))

    assert eliminate(discrete).marginal("z (hidden)").shape == (2,)


def test_a_plate_in_which_all_is_hidden_has_its_dimension():
    def model():
        mu = yield Sample("mu", normal(0.0, 1.0))
        z = yield Sample("z", td.Bernoulli(number(0.3)))

        @plate("rows", 3)
        def rows(i):
            yield Observe("y", normal(mu + z, torch.tensor([1.0, 2.0, 3.0], dtype=F64)[i]), torch.zeros(3, dtype=F64)[i])

        yield from rows()
        yield Observe("last", normal(mu + z, 0.5), number(1.0))

    posterior = fitted(block(model, hide=["y"])(), 1, 10)
    assert list(posterior.draws) == ["mu", "z"] and list(posterior.likelihood) == ["last"]


def test_all_may_be_hidden():
    posterior = fitted(block(conjugate)(Y), 2, 20)
    assert not posterior.draws and not posterior.observed and not posterior.likelihood
    assert "2 chains of 20 draws" in str(posterior.summary())


def test_nothing_is_predicted_from_what_there_are_no_draws_of():
    hidden = block(conjugate, hide=["b"])(Y)
    posteriors = fitted(hidden, 1, 10), importance.infer(hidden, 20)
    for posterior in posteriors:
        with pytest.raises(ValueError, match="the posterior has no draws of b, which block hides, so nothing can be predicted"):
            predict(hidden, posterior)
    computed = block(conjugate, hide=["double"])(Y)
    assert list(predict(computed, fitted(computed, 1, 10)).predictive) == ["y"]


def test_in_a_subsample_what_is_hidden_counts_as_often_as_its_plate_does():
    def model():
        @plate("rows", 6, subsample=torch.tensor([0, 3]))
        def rows(i):
            b = yield Sample("b", normal(torch.zeros(2, dtype=F64), 1.0))
            yield Observe("y", normal(b, 0.5), Y)

        yield from rows()

    u = torch.tensor([0.3, 0.7], dtype=F64)
    torch.testing.assert_close(density(block(model, hide=["b"])())(u), density(model)(u), rtol=1e-12, atol=0.0)
