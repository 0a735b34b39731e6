"""Models of one thing after another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import HalfCauchy, Independent, Normal, Uniform, constraints

from poutine import Coroutine, ImproperUniform, Observe, Sample, factor, positive_ordered

F64 = torch.float64


def ark(y: Tensor, K: int) -> Coroutine[None]:
    order = int(K)
    alpha = yield Sample("alpha", Normal, 0.0, 10.0)
    beta = yield Sample("beta", Normal(torch.zeros(order, dtype=F64), 10.0))
    sigma = yield Sample("sigma", HalfCauchy, 2.5)
    past = y.unfold(0, order, 1)[:-1].flip(1)  # row t: y[t - 1], ..., y[t - order]
    yield Observe("y", Normal(alpha + past @ beta, sigma), y[order:])


def arma11(y: Tensor) -> Coroutine[None]:
    mu = yield Sample("mu", Normal, 0.0, 10.0)
    phi = yield Sample("phi", Normal, 0.0, 2.0)
    theta = yield Sample("theta", Normal, 0.0, 2.0)
    sigma = yield Sample("sigma", HalfCauchy, 2.5)
    predictions = [mu + phi * mu]
    for before in y[:-1]:
        predictions.append(mu + phi * before + theta * (before - predictions[-1]))
    yield Observe("y", Normal(torch.stack(predictions), sigma), y)


def garch11(y: Tensor, sigma1: Tensor) -> Coroutine[None]:
    mu = yield Sample("mu", ImproperUniform(constraints.real))
    alpha0 = yield Sample("alpha0", ImproperUniform(constraints.positive))
    alpha1 = yield Sample("alpha1", Uniform, torch.zeros((), dtype=F64), 1.0)
    beta1 = yield Sample("beta1", ImproperUniform(constraints.interval(0.0, 1.0 - alpha1)))
    variances = [sigma1.double() ** 2]
    for before in y[:-1]:
        variances.append(alpha0 + alpha1 * (before - mu) ** 2 + beta1 * variances[-1])
    yield Observe("y", Normal(mu, torch.stack(variances).sqrt()), y)


def hidden_states(y: Tensor) -> Coroutine[None]:
    """Two states, summed out by the forward algorithm."""
    theta1 = yield Sample("theta1", ImproperUniform(constraints.simplex, event_shape=(2,)))
    theta2 = yield Sample("theta2", ImproperUniform(constraints.simplex, event_shape=(2,)))
    mu = yield Sample("mu", ImproperUniform(positive_ordered, event_shape=(2,)))
    yield Observe("mu_prior", Independent(Normal(mu, 1.0), 1), torch.tensor([3.0, 10.0], dtype=F64))  # Normal is symmetric
    transition = torch.stack([theta1, theta2]).log()  # from row to column
    emission = Normal(mu, 1.0).log_prob(y.unsqueeze(1))
    forward = emission[0] - torch.log(torch.tensor(2.0, dtype=F64))
    for now in emission[1:]:
        forward = torch.logsumexp(forward.unsqueeze(1) + transition, dim=0) + now
    yield factor("y", torch.logsumexp(forward, dim=0))
