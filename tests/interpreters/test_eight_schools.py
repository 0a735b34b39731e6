"""The main job, against what is known about it.

Reference: posteriordb (https://github.com/stan-dev/posteriordb, BSD-3-Clause), eight_schools-eight_schools_noncentered: mean, sd
and Monte Carlo standard error of the mean from 10,000 independent reference draws of Stan.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.distributions import HalfCauchy, Normal

from interpreters.command.data_file import load_data
from interpreters.examples.eight_schools import model
from interpreters.importance import infer
from interpreters.posterior import Posterior
from interpreters.results.summary import Summary
from poutine import Program

DATA = load_data(Path(__file__).parents[2] / "interpreters" / "examples" / "eight_schools.json")
REFERENCE = [
    ("mu", 4.410518, 3.309296, 0.033093),
    ("tau", 3.602060, 3.198478, 0.031985),
    ("theta[0]", 6.150502, 5.615863, 0.056159),
    ("theta[1]", 4.939581, 4.645578, 0.046456),
    ("theta[2]", 3.905906, 5.280712, 0.052807),
    ("theta[3]", 4.796017, 4.770938, 0.047709),
    ("theta[4]", 3.614436, 4.614721, 0.046147),
    ("theta[5]", 4.051148, 4.796248, 0.047963),
    ("theta[6]", 6.317170, 5.002855, 0.050029),
    ("theta[7]", 4.883997, 5.317692, 0.053177),
]


@pytest.fixture(scope="module")
def posterior() -> Posterior:
    return infer(Program(model, **DATA), 20_000, seed=0)


@pytest.fixture(scope="module")
def summary(posterior: Posterior) -> Summary:
    return posterior.summary()


@pytest.mark.parametrize("name, mean, sd, mcse", REFERENCE)
def test_the_posterior_agrees_with_the_reference(summary: Summary, name: str, mean: float, sd: float, mcse: float):
    row = summary[name]
    assert abs(row.mean - mean) < 4 * math.hypot(row.mcse, mcse)
    # An sd from n draws has the relative error sqrt((kurtosis - 1) / 4n); no number here has a kurtosis above 9 (tau's).
    assert row.sd / sd == pytest.approx(1, abs=4 * math.sqrt(2 / row.ess + 2 / 10_000))


def test_the_error_is_small(posterior: Posterior, summary: Summary):
    assert posterior.ess > 2_000 and posterior.problem is None
    assert summary["mu"].mcse < 0.1 and summary["tau"].mcse < 0.1


def test_the_log_evidence_agrees_with_quadrature(posterior: Posterior):
    """theta integrates out, y_j ~ N(mu, sigma_j² + tau²); mu and tau (by its quantile, uniform) by the midpoint rule."""
    y, sigma = DATA["y"].double(), DATA["sigma"].double()
    prior_mu, prior_tau = Normal(torch.tensor(0.0, dtype=torch.float64), 5.0), HalfCauchy(torch.tensor(5.0, dtype=torch.float64))
    mu = torch.linspace(-40, 40, 401, dtype=torch.float64)
    tau = prior_tau.icdf((torch.arange(2000, dtype=torch.float64) + 0.5) / 2000)
    likelihood = sum(Normal(mu[:, None], (s**2 + tau**2).sqrt()).log_prob(each) for each, s in zip(y, sigma, strict=True))
    exact = torch.logsumexp((prior_mu.log_prob(mu)[:, None] + likelihood).flatten(), dim=0) + math.log(0.2 / 2000)
    assert abs(posterior.log_evidence - exact.item()) < 4 * posterior.log_evidence_error < 0.1


@pytest.mark.slow
def test_a_hundred_thousand_particles():
    posterior = infer(Program(model, **DATA), 100_000, seed=1)
    summary = posterior.summary()
    for name, mean, _, mcse in REFERENCE:
        assert abs(summary[name].mean - mean) < 4 * math.hypot(summary[name].mcse, mcse)
    assert len(posterior.log_weights) == 100_000 and posterior.ess > 10_000
