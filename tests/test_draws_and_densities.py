"""Every distribution of torch's is drawn from its density, at odd parameters.

A continuous one by Stein's identity. Let z be a draw in unconstrained space, p its density there, f a bounded function: then
``E[f(z_j) d/dz_i log p(z) + df(z_j)/dz_i] = 0``, which asks for no normaliser, no moment and no distribution function. A density that is
on a circle has no boundary, and f is periodic. A discrete one by how often each of its values is drawn.

Each mean is to lie within 5.5 of its Monte Carlo standard errors of zero: of the ten thousand here, one in 2,000 tests would by chance not.
Source of the identity: Gorham and Mackey, "Measuring sample quality with Stein's method" (2015).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributions as td

from poutine import Observe, Sample, batch_log_density, run
from poutine.bijections import bijection_to
from poutine.supports import support_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Singular sample detected:UserWarning")]

N, ERRORS = 100_000, 5.5


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


FACTOR = torch.tensor([[1.2, 0, 0, 0], [-0.4, 0.7, 0, 0], [0.9, 0.3, 1.6, 0], [-1.1, 0.2, 0.5, 0.8]], dtype=torch.float64)
MATRIX = FACTOR @ FACTOR.mT
CONTINUOUS: dict[str, list[Any]] = {
    "Beta": [td.Beta(t(0.7), t(0.4)), td.Beta(t(3.3), t(0.6))],
    "Cauchy": [td.Cauchy(t(-1.3), t(0.4))],
    "Chi2": [td.Chi2(t(0.8)), td.Chi2(t(5.7))],
    "ContinuousBernoulli": [td.ContinuousBernoulli(t(p)) for p in (0.07, 0.4985, 0.5, 0.502, 0.55, 0.93)],
    "Dirichlet": [td.Dirichlet(t(0.6, 1.7, 3.1, 0.9))],
    "Exponential": [td.Exponential(t(3.3))],
    "FisherSnedecor": [td.FisherSnedecor(t(3.7), t(5.2)), td.FisherSnedecor(t(1.2), t(0.9))],
    "Gamma": [td.Gamma(t(0.45), t(3.0)), td.Gamma(t(7.2), t(0.3))],
    "GeneralizedPareto": [td.GeneralizedPareto(t(0.3), t(1.7), t(c)) for c in (-0.35, 0.0, 0.4, 1.5)],
    "Gumbel": [td.Gumbel(t(-0.7), t(2.3))],
    "HalfCauchy": [td.HalfCauchy(t(2.3))],
    "HalfNormal": [td.HalfNormal(t(2.3))],
    "Independent": [td.Independent(td.Gumbel(t(0.4, -1.0), t(0.7, 3.0)), 1)],
    "InverseGamma": [td.InverseGamma(t(2.4), t(3.3)), td.InverseGamma(t(0.6), t(0.2))],
    "Kumaraswamy": [td.Kumaraswamy(t(0.6), t(3.2)), td.Kumaraswamy(t(4.2), t(0.7))],
    "LKJCholesky": [td.LKJCholesky(dim, t(c)) for dim in (2, 3, 5) for c in (0.6, 1.0, 2.7)],
    "Laplace": [td.Laplace(t(0.4), t(1.7))],
    "LogNormal": [td.LogNormal(t(0.4), t(0.7))],
    "LogisticNormal": [td.LogisticNormal(t(0.4, -1.0, 0.2), t(0.7, 1.3, 0.5))],
    "LowRankMultivariateNormal": [td.LowRankMultivariateNormal(t(0.4, -1.0, 0.2, 0.5), FACTOR[:, :2], t(0.7, 1.3, 0.5, 2.0))],
    "MixtureSameFamily": [
        td.MixtureSameFamily(td.Categorical(t(0.2, 0.5, 0.3)), td.Normal(t(-2.0, 0.4, 3.0), t(0.4, 1.2, 0.6))),
        td.MixtureSameFamily(td.Categorical(t(0.2, 0.8)), td.Gamma(t(0.8, 5.0), t(2.0, 1.0))),
        td.MixtureSameFamily(td.Categorical(t(0.2, 0.8)), td.Dirichlet(torch.stack([t(0.8, 2.0, 1.0), t(3.0, 0.7, 2.0)]))),
    ],
    "MultivariateNormal": [
        td.MultivariateNormal(t(0.4, -1.0, 0.2, 0.5), MATRIX),
        td.MultivariateNormal(t(0.4, -1.0, 0.2, 0.5), precision_matrix=MATRIX),
    ],
    "Normal": [td.Normal(t(-0.4), t(2.7))],
    "Pareto": [td.Pareto(t(1.3), t(2.4)), td.Pareto(t(0.3), t(0.6))],
    "RelaxedBernoulli": [td.RelaxedBernoulli(t(0.6), t(0.3)), td.RelaxedBernoulli(t(2.2), t(0.85))],
    "RelaxedOneHotCategorical": [
        td.RelaxedOneHotCategorical(t(0.7), t(0.2, 0.5, 0.3)),
        td.RelaxedOneHotCategorical(t(2.7), t(0.2, 0.1, 0.4, 0.3)),
    ],
    "StudentT": [td.StudentT(t(2.4), t(0.3), t(1.7)), td.StudentT(t(0.7))],
    "TransformedDistribution": [
        td.TransformedDistribution(td.Normal(t(0.4, -1.0, 0.2), t(0.7, 1.3, 0.5)), [td.StickBreakingTransform()]),
        td.TransformedDistribution(td.Normal(t(0.1, 0, 0, 0, 0, 0), t(0.3, 0.4, 0.5, 0.6, 0.7, 0.8)), [td.CorrCholeskyTransform()]),
        td.TransformedDistribution(td.LKJCholesky(3, t(1.3)), [td.CorrCholeskyTransform().inv]),
        td.TransformedDistribution(td.Gumbel(t(0.2), t(0.9)), [td.AffineTransform(0.3, -0.6), td.TanhTransform()]),
        td.TransformedDistribution(td.Normal(t(0.1), t(0.8)), [td.CumulativeDistributionTransform(td.Normal(t(0.3), t(1.4)))]),
        td.TransformedDistribution(td.Normal(t(0.0), t(1.0)), [td.SoftplusTransform()]),
        td.TransformedDistribution(td.Gamma(t(1.4), t(0.8)), [td.PowerTransform(t(-0.6))]),
    ],
    "Uniform": [td.Uniform(t(-0.4), t(2.7))],
    "VonMises": [td.VonMises(t(loc), t(c)) for loc in (0.7, -2.9, 3.1) for c in (0.03, 0.4, 4.0, 80.0)],
    "Weibull": [td.Weibull(t(1.4), t(0.7)), td.Weibull(t(0.4), t(3.7))],
    # With three degrees of freedom and a bit, many are singular to rounding.
    "Wishart": [td.Wishart(t(5.3), MATRIX), td.Wishart(t(4.6), precision_matrix=MATRIX), td.Wishart(t(9.7), scale_tril=FACTOR)],
}
DISCRETE: dict[str, list[Any]] = {
    "Bernoulli": [td.Bernoulli(t(0.03)), td.Bernoulli(logits=t(1.7))],
    "Binomial": [td.Binomial(7, t(0.3)), td.Binomial(40, t(0.93)), td.Binomial(5, logits=t(-1.3))],
    "Categorical": [td.Categorical(t(0.2, 0.05, 0.35, 0.4)), td.Categorical(logits=t(0.2, -2.0, 0.35))],
    "Geometric": [td.Geometric(t(0.23)), td.Geometric(t(0.93)), td.Geometric(logits=t(-1.0))],
    "MixtureSameFamily": [td.MixtureSameFamily(td.Categorical(t(0.2, 0.8)), td.Poisson(t(0.4, 5.0)))],
    "Multinomial": [td.Multinomial(4, t(0.2, 0.5, 0.3))],
    "NegativeBinomial": [td.NegativeBinomial(t(2.7), t(0.6)), td.NegativeBinomial(t(0.4), logits=t(1.0))],
    "OneHotCategorical": [td.OneHotCategorical(t(0.2, 0.5, 0.3))],
    "OneHotCategoricalStraightThrough": [td.OneHotCategoricalStraightThrough(t(0.2, 0.5, 0.3))],
    "Poisson": [td.Poisson(t(0.7)), td.Poisson(t(6.3)), td.Poisson(t(31.3))],
}


def test_none_of_torchs_distributions_is_left_out():
    known = {name for name, cls in vars(td).items() if inspect.isclass(cls) and issubclass(cls, td.Distribution)}
    assert CONTINUOUS.keys() | DISCRETE.keys() == known - {"Distribution", "ExponentialFamily"}


def drawn(dist: Any) -> torch.Tensor:
    return run(lambda: (yield Sample("x", dist.expand([N]))), seed=7).detach()  # type: ignore[no-any-return]


def functions(z: torch.Tensor, is_angle: bool) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Bounded functions of each coordinate, [N, d], with their derivatives."""
    centre, width = (torch.zeros(1), torch.ones(1)) if is_angle else (z.mean(0), z.std(0).clamp(max=1e3))
    u = (z - centre) / width
    yield torch.ones_like(z), torch.zeros_like(z)
    for k in (1, 2, 4):
        yield (k * u).sin(), (k * u).cos() * k / width
        yield (k * u).cos(), -(k * u).sin() * k / width
    if not is_angle:
        yield u.tanh(), (1 - u.tanh() ** 2) / width


def errors(terms: torch.Tensor) -> float:
    """How many standard errors the mean of terms is from zero."""
    return abs(float(terms.mean() / (terms.std() / math.sqrt(len(terms)))))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous(name: str):
    for dist in CONTINUOUS[name]:
        wide = dist.expand([N])
        bijection = bijection_to(support_of(wide))
        z = bijection.inv(drawn(dist)).detach().requires_grad_()
        x = bijection(z)
        density = batch_log_density(Observe("x", wide, x)).sum() + bijection.log_abs_det_jacobian(z, x).sum()
        (gradient,) = torch.autograd.grad(density, z)
        gradient, flat = gradient.reshape(N, -1), z.detach().reshape(N, -1)
        for values, slopes in functions(flat, name == "VonMises"):
            for i in range(flat.shape[1]):
                for j in range(flat.shape[1]):
                    terms = values[:, j] * gradient[:, i] + (slopes[:, i] if i == j else 0.0)
                    assert errors(terms) < ERRORS, (dist, i, j)


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete(name: str):
    for dist in DISCRETE[name]:
        values, counts = drawn(dist).unique(dim=0, return_counts=True)
        exact = dist.log_prob(values).exp()
        common = exact * N > 10
        far = (counts / N - exact).abs() / (exact * (1 - exact) / N).sqrt()
        assert float(far[common].max()) < ERRORS, dist
        assert float(exact.sum()) == pytest.approx(1.0, abs=1e-3), dist  # nothing that is often is never drawn
