"""A Gaussian process, and a mixture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Beta, Categorical, Gamma, HalfNormal, MixtureSameFamily, MultivariateNormal, Normal

from poutine import Coroutine, ImproperUniform, Observe, Sample, factor, ordered

F64 = torch.float64


def gp_regr(x: Tensor, y: Tensor) -> Coroutine[None]:
    rho = yield Sample("rho", Gamma, torch.tensor(25.0, dtype=F64), 4.0)
    alpha = yield Sample("alpha", HalfNormal, 2.0)
    sigma = yield Sample("sigma", HalfNormal, 1.0)
    covariance = alpha**2 * torch.exp(-0.5 * ((x.unsqueeze(1) - x) / rho) ** 2) + sigma * torch.eye(len(x), dtype=F64)
    yield Observe("y", MultivariateNormal(torch.zeros(len(x), dtype=F64), covariance), y)


def low_dim_gauss_mix(y: Tensor) -> Coroutine[None]:
    mu = yield Sample("mu", ImproperUniform(ordered, event_shape=(2,)))
    yield factor("mu_prior", Normal(0.0, 2.0).log_prob(mu))
    sigma = yield Sample("sigma", HalfNormal(torch.full((2,), 2.0, dtype=F64)))
    theta = yield Sample("theta", Beta, torch.tensor(5.0, dtype=F64), 5.0)
    yield Observe("y", MixtureSameFamily(Categorical(torch.stack([theta, 1 - theta])), Normal(mu, sigma)), y)
