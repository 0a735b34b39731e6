"""The posteriors in Pyro."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.transforms import OrderedTransform

F64: Final = torch.float64


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=F64)


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=F64)


def flat(name: str, like: Any) -> torch.Tensor:
    """A flat prior on the support of ``like``: Pyro's sampler begins with a draw from the prior, and an improper one has none."""
    value: torch.Tensor = pyro.sample(name, like)
    pyro.factor(f"{name} is flat", -like.log_prob(value))
    return value


def eight_schools(J: int, y: torch.Tensor, sigma: torch.Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(number(0.0), 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(number(5.0)))
    theta_trans = pyro.sample("theta_trans", dist.Normal(zeros(J), 1.0).to_event(1))
    pyro.sample("y", dist.Normal(mu + tau * theta_trans, sigma).to_event(1), obs=y)


def kidscore_momhsiq(N: int, kid_score: torch.Tensor, mom_hs: torch.Tensor, mom_iq: torch.Tensor) -> None:
    beta = flat("beta", dist.Normal(zeros(3), 1.0).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfCauchy(number(2.5)))
    pyro.sample("kid_score", dist.Normal(beta[0] + beta[1] * mom_hs + beta[2] * mom_iq, sigma).to_event(1), obs=kid_score)


def radon(N: int, J: int, county: torch.Tensor, floor_measure: torch.Tensor, y: torch.Tensor) -> None:
    mu_alpha = pyro.sample("mu_alpha", dist.Normal(number(0.0), 10.0))
    mu_beta = pyro.sample("mu_beta", dist.Normal(number(0.0), 10.0))
    sigma_alpha = pyro.sample("sigma_alpha", dist.HalfNormal(number(1.0)))
    sigma_beta = pyro.sample("sigma_beta", dist.HalfNormal(number(1.0)))
    alpha_raw = pyro.sample("alpha_raw", dist.Normal(zeros(J), 1.0).to_event(1))
    beta_raw = pyro.sample("beta_raw", dist.Normal(zeros(J), 1.0).to_event(1))
    sigma_y = pyro.sample("sigma_y", dist.HalfNormal(number(1.0)))
    alpha, beta = mu_alpha + sigma_alpha * alpha_raw, mu_beta + sigma_beta * beta_raw
    pyro.sample("y", dist.Normal(alpha[county - 1] + beta[county - 1] * floor_measure, sigma_y).to_event(1), obs=y)


def logistic(N: int, D: int, x: torch.Tensor, y: torch.Tensor) -> None:
    alpha = pyro.sample("alpha", dist.Normal(number(0.0), 1.0))
    beta = pyro.sample("beta", dist.Normal(zeros(D), 1.0).to_event(1))
    pyro.sample("y", dist.Bernoulli(logits=alpha + x @ beta).to_event(1), obs=y.double())


def arK(K: int, T: int, y: torch.Tensor) -> None:
    alpha = pyro.sample("alpha", dist.Normal(number(0.0), 10.0))
    beta = pyro.sample("beta", dist.Normal(zeros(K), 10.0).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfCauchy(number(2.5)))
    lags = torch.stack([y[K - 1 - k : T - 1 - k] for k in range(K)], dim=1)
    pyro.sample("y", dist.Normal(alpha + lags @ beta, sigma).to_event(1), obs=y[K:])


def garch11(T: int, y: torch.Tensor, sigma1: float) -> None:
    mu = flat("mu", dist.Normal(number(0.0), 1.0))
    alpha0 = flat("alpha0", dist.Exponential(number(1.0)))
    alpha1 = pyro.sample("alpha1", dist.Uniform(number(0.0), 1.0))
    # Flat on (0, 1 - alpha1), as a share of it: Pyro finds a support once, for the first values of what it depends on.
    beta1 = pyro.sample("share", dist.Uniform(number(0.0), 1.0)) * (1.0 - alpha1)
    pyro.factor("flat", torch.log1p(-alpha1))
    variances = [number(sigma1**2)]
    for before in y[:-1]:
        variances.append(alpha0 + alpha1 * (before - mu) ** 2 + beta1 * variances[-1])
    pyro.sample("y", dist.Normal(mu, torch.stack(variances).sqrt()).to_event(1), obs=y)


def with_beta1(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Draws of garch11 under the names of the others."""
    if "share" in values:
        values["beta1"] = values.pop("share") * (1.0 - values["alpha1"])
    return values


def gp_regr(N: int, x: torch.Tensor, y: torch.Tensor) -> None:
    rho = pyro.sample("rho", dist.Gamma(number(25.0), 4.0))
    alpha = pyro.sample("alpha", dist.HalfNormal(number(2.0)))
    sigma = pyro.sample("sigma", dist.HalfNormal(number(1.0)))
    covariance = alpha**2 * torch.exp(-0.5 * ((x[:, None] - x) / rho) ** 2) + sigma * torch.eye(N, dtype=F64)
    pyro.sample("y", dist.MultivariateNormal(zeros(N), covariance), obs=y)


def low_dim_gauss_mix(N: int, y: torch.Tensor) -> None:
    mu = flat("mu", dist.TransformedDistribution(dist.Normal(zeros(2), 1.0).to_event(1), OrderedTransform()))
    pyro.factor("prior of mu", dist.Normal(number(0.0), 2.0).log_prob(mu).sum())
    sigma = pyro.sample("sigma", dist.HalfNormal(2.0 * torch.ones(2, dtype=F64)).to_event(1))
    theta = pyro.sample("theta", dist.Beta(number(5.0), 5.0))
    parts = dist.Categorical(probs=torch.stack([theta, 1.0 - theta]))
    with pyro.plate("data", N):
        pyro.sample("y", dist.MixtureSameFamily(parts, dist.Normal(mu, sigma)), obs=y)


MODELS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {fn.__name__: fn for fn in (eight_schools, kidscore_momhsiq, radon, logistic, arK, garch11, gp_regr, low_dim_gauss_mix)}
)
