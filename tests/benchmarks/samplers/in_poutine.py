"""The posteriors as programs of this library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import torch
import torch.distributions as td
from torch.distributions import constraints

from poutine import ImproperUniform, Observe, Sample, ordered

F64: Final = torch.float64


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=F64)


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=F64)


def eight_schools(J: int, y: torch.Tensor, sigma: torch.Tensor) -> Any:
    mu = yield Sample("mu", td.Normal(number(0.0), 5.0))
    tau = yield Sample("tau", td.HalfCauchy(number(5.0)))
    theta_trans = yield Sample("theta_trans", td.Normal(zeros(J), 1.0))
    yield Observe("y", td.Normal(mu + tau * theta_trans, sigma), y)


def kidscore_momhsiq(N: int, kid_score: torch.Tensor, mom_hs: torch.Tensor, mom_iq: torch.Tensor) -> Any:
    beta = yield Sample("beta", ImproperUniform(constraints.real, (3,)))
    sigma = yield Sample("sigma", td.HalfCauchy(number(2.5)))
    yield Observe("kid_score", td.Normal(beta[0] + beta[1] * mom_hs + beta[2] * mom_iq, sigma), kid_score)


def radon(N: int, J: int, county: torch.Tensor, floor_measure: torch.Tensor, y: torch.Tensor) -> Any:
    mu_alpha = yield Sample("mu_alpha", td.Normal(number(0.0), 10.0))
    mu_beta = yield Sample("mu_beta", td.Normal(number(0.0), 10.0))
    sigma_alpha = yield Sample("sigma_alpha", td.HalfNormal(number(1.0)))
    sigma_beta = yield Sample("sigma_beta", td.HalfNormal(number(1.0)))
    alpha_raw = yield Sample("alpha_raw", td.Normal(zeros(J), 1.0))
    beta_raw = yield Sample("beta_raw", td.Normal(zeros(J), 1.0))
    sigma_y = yield Sample("sigma_y", td.HalfNormal(number(1.0)))
    alpha, beta = mu_alpha + sigma_alpha * alpha_raw, mu_beta + sigma_beta * beta_raw
    yield Observe("y", td.Normal(alpha[county - 1] + beta[county - 1] * floor_measure, sigma_y), y)


def logistic(N: int, D: int, x: torch.Tensor, y: torch.Tensor) -> Any:
    alpha = yield Sample("alpha", td.Normal(number(0.0), 1.0))
    beta = yield Sample("beta", td.Normal(zeros(D), 1.0))
    yield Observe("y", td.Bernoulli(logits=alpha + x @ beta), y.double())


def arK(K: int, T: int, y: torch.Tensor) -> Any:
    alpha = yield Sample("alpha", td.Normal(number(0.0), 10.0))
    beta = yield Sample("beta", td.Normal(zeros(K), 10.0))
    sigma = yield Sample("sigma", td.HalfCauchy(number(2.5)))
    lags = torch.stack([y[K - 1 - k : T - 1 - k] for k in range(K)], dim=1)
    yield Observe("y", td.Normal(alpha + lags @ beta, sigma), y[K:])


def garch11(T: int, y: torch.Tensor, sigma1: float) -> Any:
    mu = yield Sample("mu", ImproperUniform(constraints.real))
    alpha0 = yield Sample("alpha0", ImproperUniform(constraints.positive))
    alpha1 = yield Sample("alpha1", td.Uniform(number(0.0), 1.0))
    beta1 = yield Sample("beta1", ImproperUniform(constraints.interval(0.0, 1.0 - alpha1)))
    variances = [number(sigma1**2)]
    for before in y[:-1]:
        variances.append(alpha0 + alpha1 * (before - mu) ** 2 + beta1 * variances[-1])
    yield Observe("y", td.Normal(mu, torch.stack(variances).sqrt()), y)


def gp_regr(N: int, x: torch.Tensor, y: torch.Tensor) -> Any:
    rho = yield Sample("rho", td.Gamma(number(25.0), 4.0))
    alpha = yield Sample("alpha", td.HalfNormal(number(2.0)))
    sigma = yield Sample("sigma", td.HalfNormal(number(1.0)))
    distance = (x[:, None] - x) / rho
    covariance = alpha**2 * torch.exp(-0.5 * distance**2) + sigma * torch.eye(N, dtype=F64)
    yield Observe("y", td.MultivariateNormal(zeros(N), covariance, validate_args=False), y)


def low_dim_gauss_mix(N: int, y: torch.Tensor) -> Any:
    mu = yield Sample("mu", ImproperUniform(ordered, event_shape=(2,)))
    yield Observe("prior of mu", td.Normal(zeros(2), 2.0), mu)
    sigma = yield Sample("sigma", td.HalfNormal(2.0 * torch.ones(2, dtype=F64)))
    theta = yield Sample("theta", td.Beta(number(5.0), 5.0))
    parts = td.Categorical(probs=torch.stack([theta, 1.0 - theta]))
    yield Observe("y", td.MixtureSameFamily(parts, td.Normal(mu, sigma)), y)


MODELS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {fn.__name__: fn for fn in (eight_schools, kidscore_momhsiq, radon, logistic, arK, garch11, gp_regr, low_dim_gauss_mix)}
)
