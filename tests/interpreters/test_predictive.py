"""Predictions: their distribution, their shapes, and that they do not depend on how many draws run at once."""

from __future__ import annotations

from functools import partial

import attrs
import pytest
import torch
from torch.distributions import Bernoulli, Categorical, HalfNormal, Independent, MultivariateNormal, Normal, constraints

from interpreters.density import density
from interpreters.discrete import with_discrete
from interpreters.importance import infer
from interpreters.predictive import predict, predict_prior, predictions
from interpreters.sampled_posterior import SampledPosterior
from poutine import Deterministic, DistributionError, ImproperUniform, Observe, Program, Sample, block, factor, plate, run, trace

F64 = torch.float64
X = torch.tensor([0.0, 1.0, 5.0], dtype=F64)
Y = torch.tensor([1.0, 2.0, 4.0], dtype=F64)


@attrs.frozen
class Somewhere:
    """Positions that nobody sampled: what is predicted from them is known all the same."""

    positions: torch.Tensor

    @property
    def statistics(self) -> dict[str, torch.Tensor]:
        zeros = torch.zeros(self.positions.shape[:2], dtype=F64)
        return {"diverging": zeros, "energy": zeros}


def model(x: torch.Tensor = X, y: torch.Tensor = Y):
    slope = yield Sample("slope", Normal, 0.0, 2.0)
    sigma = yield Sample("sigma", HalfNormal, torch.tensor(1.0, dtype=F64))

    @plate("rows", len(x))
    def rows(i):
        mean = yield Deterministic("mean", slope * x)
        yield Observe("y", Normal, y, mean, sigma)

    yield from rows()
    yield Observe("many", Normal(slope, 1.0), Y)  # one distribution, three observations
    yield factor("f", -(slope**2))


def branching(x: torch.Tensor = X, y: torch.Tensor = Y):
    slope = yield Sample("slope", Normal, 0.0, 2.0)
    yield Observe("y", Normal, y, x if slope > 0 else -x, 1.0)


def of_vectors():
    loc = yield Sample("loc", Normal(torch.zeros(2, dtype=F64), 1.0))
    yield Observe("y", MultivariateNormal(torch.zeros(2, dtype=F64) + loc.sum(), torch.eye(2, dtype=F64)), torch.zeros(3, 2, dtype=F64))


def of_vectors_by_a_single_matrix(is_deferred: bool = False):
    """Single precision is torch's default; latent values are double."""
    loc = yield Sample("loc", Normal(torch.zeros(2, dtype=F64), 1.0))
    y = torch.zeros(3, 2)
    yield Observe("y", MultivariateNormal, y, loc, torch.eye(2)) if is_deferred else Observe("y", MultivariateNormal(loc, torch.eye(2)), y)


@pytest.mark.parametrize("is_deferred", [False, True])
def test_what_the_density_makes_double_is_drawn_as_double(is_deferred: bool):
    program, posterior = at(partial(of_vectors_by_a_single_matrix, is_deferred), 500)
    new = predict(program, posterior).predictive["y"]
    assert new.shape == (2, 500, 3, 2) and new.dtype == F64
    residuals = new - posterior.draws["loc"][:, :, None]
    assert abs(residuals.mean()) < 4 / 6000**0.5 and abs(residuals.var() - 1) < 4 * (2 / 6000) ** 0.5
    assert predict_prior(program, posterior, 20).prior_predictive["y"].shape == (1, 20, 3, 2)


def at(fn, draws: int = 500, spread: float = 0.5) -> tuple[Program, SampledPosterior]:
    target = density(Program(fn))
    noise = torch.randn(2, draws, target.dim, generator=torch.Generator().manual_seed(0), dtype=F64)
    return target.program, SampledPosterior.of(target, Somewhere(spread * noise))


def test_each_draw_predicts_by_its_own_values():
    program, posterior = at(model)
    predicted = predict(program, posterior, seed=1).predictive
    assert {name: tuple(values.shape) for name, values in predicted.items()} == {"y": (2, 500, 3), "many": (2, 500, 3)}
    sigma, slope = posterior.draws["sigma"].unsqueeze(-1), posterior.draws["slope"].unsqueeze(-1)
    for scores in ((predicted["y"] - posterior.draws["mean"]) / sigma, predicted["many"] - slope):
        n = scores.numel()
        assert abs(float(scores.mean())) < 4 / n**0.5
        assert abs(float(scores.var()) - 1) < 4 * (2 / n) ** 0.5
        # no two observations or draws share their noise
        assert abs(float(scores.flatten(0, 1).T.corrcoef()[0, 1])) < 4 / 1000**0.5
        assert len(scores.unique()) == n


def test_the_seed_governs_and_new_data_gives_new_predictions():
    program, posterior = at(model, 50)
    one, same, other = (predict(program, posterior, seed=seed).predictive["y"] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    four = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=F64)
    assert predict(Program(model, four, four), posterior).predictive["y"].shape == (2, 50, 4)
    sites = run(trace(predictions).traced(program, posterior), seed=1)
    assert [name for name in sites if not name.startswith("_")] == ["batch_0/y", "batch_0/many"]


def regression(x, y):
    slope = yield Sample("slope", Independent(Normal(torch.zeros(2), 1.0), 1))
    yield Observe("y", Normal(x @ slope, 1.0), y)


def test_ordinary_tensors_are_converted_as_the_density_did():
    x, y = torch.ones(3, 2), torch.zeros(3)
    program = Program(regression, x, y)
    posterior = SampledPosterior.of(density(program), Somewhere(torch.zeros(1, 5, 2, dtype=F64)))
    assert predict(program, posterior).predictive["y"].shape == (1, 5, 3)


def mixture(y):
    loc = yield Sample("loc", Normal(0.0, 2.0))

    @plate("rows", len(y))
    def rows(i):
        z = yield Sample("z", Bernoulli(0.5))
        yield Observe("y", Normal(loc * z, 1.0), y[i])

    yield from rows()


def test_mixtures_are_predicted_many_at_once():
    """Their likelihood, in which the components are summed out, is another one than that at the components that were drawn."""
    program = Program(mixture, Y)
    posterior = SampledPosterior.of(density(program), Somewhere(torch.linspace(0, 2, 50, dtype=F64).reshape(1, 50, 1)))
    posterior = with_discrete(program, posterior)
    assert set(posterior.likelihood) == {"y"}
    sites = run(trace(predictions).traced(program, posterior), seed=1)
    assert [name for name in sites if not name.startswith("_")] == ["batch_0/y"]


def test_a_model_that_does_not_broadcast_runs_one_by_one():
    program, posterior = at(branching, 100)
    predicted = predict(program, posterior).predictive["y"]
    scores = predicted - torch.where(posterior.draws["slope"].unsqueeze(-1) > 0, X, -X)
    assert abs(float(scores.mean())) < 4 / 600**0.5 and abs(float(scores.var()) - 1) < 4 * (2 / 600) ** 0.5
    program, posterior = at(of_vectors, 100)  # silently wrong, if it ran at once: sum() is over all draws
    scores = predict(program, posterior).predictive["y"] - posterior.draws["loc"].sum(-1)[..., None, None]
    assert scores.shape == (2, 100, 3, 2)
    assert abs(float(scores.var()) - 1) < 4 * (2 / 1200) ** 0.5


def test_the_prior_and_what_it_predicts():
    program, posterior = at(model, 10)
    posterior = predict_prior(program, posterior, 2000, seed=3)
    assert {name: tuple(values.shape) for name, values in posterior.prior.items()} == {
        "slope": (1, 2000), "sigma": (1, 2000), "mean": (1, 2000, 3),
    }  # fmt: skip
    assert abs(float(posterior.prior["slope"].std()) / 2 - 1) < 4 / 4000**0.5
    variance = posterior.prior_predictive["y"].var(dim=(0, 1))
    assert torch.allclose(variance, 4 * X**2 + 1, rtol=4 * (6 / 2000) ** 0.5)
    assert posterior.prior_predictive["many"].shape == (1, 2000, 3)
    groups = predict(program, posterior).to_arviz().groups()
    assert {"posterior_predictive", "prior", "prior_predictive"} <= set(groups)


def test_an_improper_prior_cannot_be_drawn_from():
    def flat():
        x = yield Sample("x", ImproperUniform(constraints.real))
        yield Observe("y", Normal(x, 1.0), Y)

    program, posterior = at(flat, 10)
    assert predict(program, posterior).predictive["y"].shape == (2, 10, 3)
    with pytest.raises(DistributionError, match="site 'x'.* flat prior"):
        predict_prior(program, posterior, 10)


@pytest.mark.parametrize("branches", [False, True])
def test_a_program_that_changes_a_draw_in_place_changes_no_posterior_and_no_prediction(branches: bool):
    def of_a_number(factor: float):
        x = yield Sample("x", Normal(torch.tensor(0.0, dtype=F64), 1.0))
        far = bool(x > 90.0) if branches else False
        y = yield Observe("y", Normal(x, 1e-3), torch.tensor(1.0, dtype=F64))
        if factor != 1.0:
            x.mul_(factor)
            y.zero_()
        return far

    _, posterior = at(lambda: of_a_number(1.0), 5)
    before = posterior.draws["x"].clone()
    predicted = run(Program(predictions, Program(of_a_number, 100.0), posterior))["y"]
    assert torch.equal(posterior.draws["x"], before) and torch.allclose(predicted, before, atol=0.1)


# Of weighted draws


def conjugate(y):
    z = yield Sample("z", Normal(0.0, 1.0))
    yield Observe("y", Normal(z, 1.0), y)


def test_equally_weighted_draws_of_importance_predict():
    """Given y, z is N(y / 2, 1 / 2), and a new observation N(y / 2, 3 / 2)."""
    program = Program(conjugate, torch.tensor(1.0))
    posterior = predict_prior(program, predict(program, infer(program, 20_000, num_draws=4000), seed=2), 3000, seed=3)
    predicted = posterior.predictive["y"]
    assert predicted.shape == (4000,)
    assert abs(float(predicted.mean()) - 0.5) < 4 * (1.5 / 4000) ** 0.5
    assert float(predicted.var()) == pytest.approx(1.5, rel=4 * (2 / 4000) ** 0.5)
    assert abs(float((predicted - posterior.resampled()["z"]).var()) - 1) < 4 * (2 / 4000) ** 0.5  # each by its own
    assert posterior.prior["z"].shape == posterior.prior_predictive["y"].shape == (3000,)
    data = posterior.to_arviz()
    assert data.posterior_predictive["y"].shape == data.posterior["z"].shape == (1, 4000)
    assert data.prior["z"].shape == data.prior_predictive["y"].shape == (1, 3000)


def wandering(y):
    """Whether there is a k, which it indexes with, and a w depends on a draw."""
    if (yield Sample("go", Bernoulli(0.5))):
        k = yield Sample("k", Categorical(torch.ones(3)))
        yield Deterministic("twice", 2 * k)
        yield Observe("w", Normal(torch.tensor([-100.0, 0.0, 100.0])[k], 1.0), torch.tensor(0.3))
    yield Observe("y", Normal(0.0, 1.0), y)


def test_of_sites_that_only_some_draws_have():
    program = Program(wandering, torch.tensor(1.0))
    posterior = predict(program, infer(program, 500, num_draws=100, seed=1), seed=1)
    go, w = posterior.resampled()["go"], posterior.predictive["w"]
    assert w.shape == posterior.predictive["y"].shape == (100,) and 0 < int(go.sum()) < 100
    assert torch.equal(w.isnan(), go == 0) and float(w.nan_to_num().abs().max()) < 6  # of k = 1, as fitted


def test_what_importance_sampling_did_not_see_predicts_nothing():
    program = Program(block(conjugate, hide=["z"]), torch.tensor(1.0))
    with pytest.raises(ValueError, match="no draws of z, which block hides"):
        predict(program, infer(program, 100, num_draws=10))
