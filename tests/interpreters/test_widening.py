"""The distribution of many runs' draws is, row by row, that of each run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import distributions as d
from torch.distributions import Distribution, Normal, constraints

from interpreters.batches.inside import Inside
from interpreters.batches.widening import widened
from interpreters.errors import NotVectorizable

P = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
EYE, ONES = torch.eye(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)

MAKERS: dict[str, Callable[[torch.Tensor], Distribution]] = {
    "Bernoulli": lambda p: d.Bernoulli(logits=p),
    "Beta": lambda p: d.Beta(p, 2.0),
    "Binomial": lambda p: d.Binomial(5, logits=p),
    "Categorical": lambda p: d.Categorical(p * ONES),
    "Cauchy": lambda p: d.Cauchy(0.0, p),
    "Chi2": lambda p: d.Chi2(p),
    "ContinuousBernoulli": lambda p: d.ContinuousBernoulli(p / 4),
    "Dirichlet": lambda p: d.Dirichlet(p * ONES),
    "Exponential": lambda p: d.Exponential(p),
    "FisherSnedecor": lambda p: d.FisherSnedecor(p, 3.0),
    "Gamma": lambda p: d.Gamma(p, torch.tensor([1.0, 2.0], dtype=torch.float64)),
    "Geometric": lambda p: d.Geometric(p / 4),
    "Gumbel": lambda p: d.Gumbel(p, 1.0),
    "HalfCauchy": lambda p: d.HalfCauchy(p),
    "HalfNormal": lambda p: d.HalfNormal(p),
    "Independent": lambda p: d.Independent(Normal(p * ONES, 1.0), 1),
    "InverseGamma": lambda p: d.InverseGamma(p, 1.0),
    "Kumaraswamy": lambda p: d.Kumaraswamy(p, torch.tensor(2.0, dtype=torch.float64)),
    "LKJCholesky": lambda p: d.LKJCholesky(3, p),
    "Laplace": lambda p: d.Laplace(p, 1.0),
    "LogNormal": lambda p: d.LogNormal(p, 1.0),
    "LogisticNormal": lambda p: d.LogisticNormal(p * ONES, ONES),
    "LowRankMultivariateNormal": lambda p: d.LowRankMultivariateNormal(p * ONES, torch.ones(3, 1, dtype=torch.float64), p * ONES),
    "MixtureSameFamily": lambda p: d.MixtureSameFamily(d.Categorical(ONES), Normal(p * ONES, ONES)),
    "Multinomial": lambda p: d.Multinomial(5, p * ONES),
    "MultivariateNormal": lambda p: d.MultivariateNormal(p * ONES, EYE),
    "MultivariateNormal of two": lambda p: d.MultivariateNormal(torch.zeros(2, 3, dtype=torch.float64), p * EYE),
    "NegativeBinomial": lambda p: d.NegativeBinomial(3, logits=p),
    "Normal": lambda p: Normal(p, 1.0),
    "OneHotCategorical": lambda p: d.OneHotCategorical(p * ONES),
    "Pareto": lambda p: d.Pareto(p, torch.tensor(2.0, dtype=torch.float64)),
    "Poisson": lambda p: d.Poisson(p),
    "RelaxedBernoulli": lambda p: d.RelaxedBernoulli(torch.tensor(0.5, dtype=torch.float64), logits=p),
    "RelaxedOneHotCategorical": lambda p: d.RelaxedOneHotCategorical(torch.tensor(0.5, dtype=torch.float64), p * ONES),
    "StudentT": lambda p: d.StudentT(3.0, p),
    "TransformedDistribution": lambda p: d.TransformedDistribution(
        Normal(ONES, 1.0), [d.ComposeTransform([d.AffineTransform(p, 2.0 * p), d.ExpTransform()]), d.AffineTransform(ONES, 2.0)]
    ),
    "TransformedDistribution of another shape": lambda p: d.TransformedDistribution(
        d.Independent(Normal(p * torch.ones(2, 3, 2, dtype=torch.float64), 1.0), 2),
        [d.ReshapeTransform((3, 2), (6,)), d.AffineTransform(p, 2.0 * p, 1)],
    ),
    "Uniform": lambda p: d.Uniform(0.0, p),
    "VonMises": lambda p: d.VonMises(p, 2.0),
    "Weibull": lambda p: d.Weibull(p, torch.tensor(2.0, dtype=torch.float64)),
    "the same for all": lambda _: Normal(ONES, 1.0),
}
REFUSED = {"ContinuousBernoulli"}


@pytest.mark.parametrize("name", [*MAKERS])
def test_each_row_is_the_distribution_of_its_run(name: str):
    inside, make = Inside(3), MAKERS[name]
    if name in REFUSED:
        with pytest.raises(NotVectorizable, match="site 'x': it is not known how"):
            inside.step(lambda p: widened("x", make(p), inside), P)
        return
    wide = inside.step(lambda p: widened("x", make(p), inside), P)
    alone = [make(p) for p in P]
    assert wide.batch_shape == (3, *alone[0].batch_shape) and wide.event_shape == alone[0].event_shape
    values = torch.stack([one.sample() for one in alone])
    assert wide.sample().shape == values.shape and wide.sample().dtype == values.dtype
    expected = torch.stack([one.log_prob(value) for one, value in zip(alone, values, strict=True)])
    assert torch.allclose(wide.log_prob(values), expected)


CAT = d.CatTransform([d.ExpTransform(), d.AffineTransform(0.0, 2.0)], 0, [1, 2])


class Own(Normal):
    """A distribution of the user's own, which does not say how it is made."""

    arg_constraints = {"loc": constraints.real}

    def expand(self, batch_shape: Any, _instance: Any = None) -> Own:
        raise NotImplementedError


class Shifted(Normal):
    """What torch's ``expand`` makes of it has no shift."""

    has_rsample = False
    shift = 2.0

    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        return super().sample(sample_shape) + self.shift


def shifted(shift: float) -> Shifted:
    dist = Shifted(torch.zeros(()), 1.0)
    dist.shift = shift
    return dist


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda p: shifted(1.0), "Shifted.* loses shift when it is expanded"),
        (lambda p: d.TransformedDistribution(Normal(p * ONES, 1.0), [CAT.inv]), "Cat.* is along dimension 0, counted from the left"),
        (lambda p: d.TransformedDistribution(Normal(ONES, 1.0), [d.ComposeTransform([CAT])]), "Cat.* is along dimension 0"),
        (lambda p: Own(p, 1.0), "it is not known how"),
        (lambda p: d.RelaxedBernoulli(p, logits=0.0), "it is not known how RelaxedBernoulli"),
        (lambda p: Own(0.0, 1.0), "cannot be expanded"),
        (lambda p: d.TransformedDistribution(Normal(0.0, 1.0), [d.PowerTransform(p)]), "it is not known how PowerTransform"),
        (lambda p: d.Wishart(4.0, p * EYE), "it is not known how Wishart"),
        (lambda p: object(), "is none of torch's"),
    ],
)
def test_what_is_not_known_is_refused(make: Callable[..., Any], text: str):
    inside = Inside(3)
    with pytest.raises(NotVectorizable, match=f"site 'x': .*{text}"):
        inside.step(lambda p: widened("x", make(p), inside), P)


def test_what_is_invalid_in_one_run_is_invalid():
    with pytest.raises(ValueError, match=r"Expected parameter scale.*\n.*-2"):
        Inside(3).step(lambda p: Normal(0.0, p), torch.tensor([1.0, -2.0, 3.0]))
    not_symmetric = torch.stack([torch.eye(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]])])
    with pytest.raises(ValueError, match="Expected parameter covariance_matrix"):
        Inside(2).step(lambda m: d.MultivariateNormal(torch.zeros(2), m), not_symmetric)
    assert Inside(2).step(lambda m: d.MultivariateNormal(torch.zeros(2), m).event_shape, torch.eye(2).expand(2, 2, 2)) == (2,)


def test_the_runs_are_the_first_dimension_wherever_torch_puts_them():
    inside, x = Inside(3), torch.arange(10.0).reshape(5, 2)
    b = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    assert torch.equal(inside.step(lambda row: inside.rows(x @ row), b), b @ x.T)
    assert torch.equal(inside.step(lambda _: inside.rows(x), b), x.expand(3, 5, 2))


def test_there_is_no_whole_outside():
    inside, kept = Inside(2), []
    inside.step(kept.append, torch.ones(2))
    with pytest.raises(RuntimeError):
        inside.whole(kept[0])
