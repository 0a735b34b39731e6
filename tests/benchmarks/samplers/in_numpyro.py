"""The posteriors in NumPyro."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints


def eight_schools(J: int, y: Any, sigma: Any) -> None:
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    theta_trans = numpyro.sample("theta_trans", dist.Normal(jnp.zeros(J), 1.0))
    numpyro.sample("y", dist.Normal(mu + tau * theta_trans, sigma), obs=y)


def kidscore_momhsiq(N: int, kid_score: Any, mom_hs: Any, mom_iq: Any) -> None:
    beta = numpyro.sample("beta", dist.ImproperUniform(constraints.real_vector, (), (3,)))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    numpyro.sample("kid_score", dist.Normal(beta[0] + beta[1] * mom_hs + beta[2] * mom_iq, sigma), obs=kid_score)


def radon(N: int, J: int, county: Any, floor_measure: Any, y: Any) -> None:
    mu_alpha = numpyro.sample("mu_alpha", dist.Normal(0.0, 10.0))
    mu_beta = numpyro.sample("mu_beta", dist.Normal(0.0, 10.0))
    sigma_alpha = numpyro.sample("sigma_alpha", dist.HalfNormal(1.0))
    sigma_beta = numpyro.sample("sigma_beta", dist.HalfNormal(1.0))
    alpha_raw = numpyro.sample("alpha_raw", dist.Normal(jnp.zeros(J), 1.0))
    beta_raw = numpyro.sample("beta_raw", dist.Normal(jnp.zeros(J), 1.0))
    sigma_y = numpyro.sample("sigma_y", dist.HalfNormal(1.0))
    alpha, beta = mu_alpha + sigma_alpha * alpha_raw, mu_beta + sigma_beta * beta_raw
    numpyro.sample("y", dist.Normal(alpha[county - 1] + beta[county - 1] * floor_measure, sigma_y), obs=y)


def logistic(N: int, D: int, x: Any, y: Any) -> None:
    alpha = numpyro.sample("alpha", dist.Normal(0.0, 1.0))
    beta = numpyro.sample("beta", dist.Normal(jnp.zeros(D), 1.0))
    numpyro.sample("y", dist.Bernoulli(logits=alpha + x @ beta), obs=y)


def arK(K: int, T: int, y: Any) -> None:
    alpha = numpyro.sample("alpha", dist.Normal(0.0, 10.0))
    beta = numpyro.sample("beta", dist.Normal(jnp.zeros(K), 10.0))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    lags = jnp.stack([y[K - 1 - k : T - 1 - k] for k in range(K)], axis=1)
    numpyro.sample("y", dist.Normal(alpha + lags @ beta, sigma), obs=y[K:])


def garch11(T: int, y: Any, sigma1: float) -> None:
    mu = numpyro.sample("mu", dist.ImproperUniform(constraints.real, (), ()))
    alpha0 = numpyro.sample("alpha0", dist.ImproperUniform(constraints.positive, (), ()))
    alpha1 = numpyro.sample("alpha1", dist.Uniform(0.0, 1.0))
    # Flat on (0, 1 - alpha1): a uniform density would bring a factor of the inverse of its length.
    beta1 = numpyro.sample("beta1", dist.Uniform(0.0, 1.0 - alpha1))
    numpyro.factor("flat", jnp.log1p(-alpha1))

    def step(variance: Any, before: Any) -> Any:
        variance = alpha0 + alpha1 * (before - mu) ** 2 + beta1 * variance
        return variance, variance

    _, variances = jax.lax.scan(step, sigma1**2, y[:-1])
    variances = jnp.concatenate([jnp.array([sigma1**2]), variances])
    numpyro.sample("y", dist.Normal(mu, jnp.sqrt(variances)), obs=y)


def gp_regr(N: int, x: Any, y: Any) -> None:
    rho = numpyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = numpyro.sample("alpha", dist.HalfNormal(2.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    covariance = alpha**2 * jnp.exp(-0.5 * ((x[:, None] - x) / rho) ** 2) + sigma * jnp.eye(N)
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(N), covariance), obs=y)


def low_dim_gauss_mix(N: int, y: Any) -> None:
    mu = numpyro.sample("mu", dist.ImproperUniform(constraints.ordered_vector, (), (2,)))
    numpyro.factor("prior of mu", dist.Normal(0.0, 2.0).log_prob(mu).sum())
    sigma = numpyro.sample("sigma", dist.HalfNormal(2.0 * jnp.ones(2)))
    theta = numpyro.sample("theta", dist.Beta(5.0, 5.0))
    parts = dist.Categorical(probs=jnp.stack([theta, 1.0 - theta]))
    numpyro.sample("y", dist.MixtureSameFamily(parts, dist.Normal(mu, sigma)), obs=y)


MODELS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {fn.__name__: fn for fn in (eight_schools, kidscore_momhsiq, radon, logistic, arK, garch11, gp_regr, low_dim_gauss_mix)}
)
