"""Those of the posteriors in Pyro that a chain gets through in about a minute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import pyro
import pyro.distributions as dist
import torch

F64: Final = torch.float64


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=F64)


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=F64)


def eight_schools(J: int, y: torch.Tensor, sigma: torch.Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(number(0.0), 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(number(5.0)))
    theta_trans = pyro.sample("theta_trans", dist.Normal(zeros(J), 1.0).to_event(1))
    pyro.sample("y", dist.Normal(mu + tau * theta_trans, sigma).to_event(1), obs=y)


def logistic(N: int, D: int, x: torch.Tensor, y: torch.Tensor) -> None:
    alpha = pyro.sample("alpha", dist.Normal(number(0.0), 1.0))
    beta = pyro.sample("beta", dist.Normal(zeros(D), 1.0).to_event(1))
    pyro.sample("y", dist.Bernoulli(logits=alpha + x @ beta).to_event(1), obs=y.double())


def gp_regr(N: int, x: torch.Tensor, y: torch.Tensor) -> None:
    rho = pyro.sample("rho", dist.Gamma(number(25.0), 4.0))
    alpha = pyro.sample("alpha", dist.HalfNormal(number(2.0)))
    sigma = pyro.sample("sigma", dist.HalfNormal(number(1.0)))
    covariance = alpha**2 * torch.exp(-0.5 * ((x[:, None] - x) / rho) ** 2) + sigma * torch.eye(N, dtype=F64)
    pyro.sample("y", dist.MultivariateNormal(zeros(N), covariance), obs=y)


MODELS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType({fn.__name__: fn for fn in (eight_schools, logistic, gp_regr)})
