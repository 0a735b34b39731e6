"""Normal regressions with flat priors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, HalfCauchy, Normal, constraints

from poutine import Coroutine, ImproperUniform, Observe, Sample


def linear(x: Tensor, y: Tensor, prior_of_sigma: Distribution) -> Coroutine[None]:
    """``y`` [n] on ``x`` [n, k], which has a column of ones."""
    beta = yield Sample("beta", ImproperUniform(constraints.real, (x.shape[1],)))
    sigma = yield Sample("sigma", prior_of_sigma)
    yield Observe("y", Normal(x @ beta, sigma), y)


def positive() -> Distribution:
    return ImproperUniform(constraints.positive)


def columns(*each: Tensor) -> Tensor:
    """A column of ones, then these."""
    return torch.stack([torch.ones(len(each[0]), dtype=torch.float64), *(one.double() for one in each)], dim=1)


def kidscore_momhsiq(kid_score: Tensor, mom_hs: Tensor, mom_iq: Tensor) -> Coroutine[None]:
    yield from linear(columns(mom_hs, mom_iq), kid_score.double(), HalfCauchy(2.5))


def logearn_interaction(earn: Tensor, height: Tensor, male: Tensor) -> Coroutine[None]:
    yield from linear(columns(height, male, height * male), earn.double().log(), positive())


def nes(
    partyid7: Tensor, real_ideo: Tensor, race_adj: Tensor, age_discrete: Tensor, educ1: Tensor, gender: Tensor, income: Tensor
) -> Coroutine[None]:
    ages = (age_discrete == age for age in (2, 3, 4))
    yield from linear(columns(real_ideo, race_adj, *ages, educ1, gender, income), partyid7.double(), positive())


def logmesquite(
    weight: Tensor, diam1: Tensor, diam2: Tensor, canopy_height: Tensor, total_height: Tensor, density: Tensor, group: Tensor
) -> Coroutine[None]:
    logs = (column.double().log() for column in (diam1, diam2, canopy_height, total_height, density))
    yield from linear(columns(*logs, group), weight.double().log(), positive())
