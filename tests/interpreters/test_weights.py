"""Statistics of weighted draws: what repeating each draw as often as it weighs would give."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from interpreters.results.summary import labels, summarize
from interpreters.weighted import weights
from interpreters.weighted.ancestors import Ancestors
from poutine import Program, Sample, run

GENERATOR = torch.Generator().manual_seed(0)
VALUES = torch.randn(7, 2, 3, generator=GENERATOR, dtype=torch.float64)
COUNTS = torch.tensor([1, 4, 2, 0, 3, 1, 5])
LOG_WEIGHTS = COUNTS.double().log() + 123.0
REPEATED = VALUES.repeat_interleave(COUNTS, dim=0).numpy()


def test_mean_and_sd():
    assert torch.allclose(weights.mean(VALUES, LOG_WEIGHTS), torch.from_numpy(REPEATED.mean(axis=0)))
    assert torch.allclose(weights.sd(VALUES, LOG_WEIGHTS), torch.from_numpy(REPEATED.std(axis=0)))


def test_quantiles():
    probabilities = [0.05, 0.3, 0.51, 0.9, 1.0]
    expected = np.quantile(REPEATED, probabilities, axis=0, method="inverted_cdf")
    assert torch.equal(weights.quantiles(VALUES, LOG_WEIGHTS, probabilities), torch.from_numpy(expected))


def test_equal_weights():
    equal = torch.full((7,), -3.0, dtype=torch.float64)
    assert weights.ess(equal) == pytest.approx(7)
    assert weights.log_mean(equal) == pytest.approx(-3)
    assert weights.log_mean_error(equal) == pytest.approx(0, abs=1e-12)
    assert torch.allclose(weights.mcse(VALUES, equal), VALUES.std(dim=0, correction=0) / math.sqrt(7))


def test_unequal_weights():
    w = COUNTS.double().numpy()
    assert weights.ess(LOG_WEIGHTS) == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert weights.log_mean(LOG_WEIGHTS) == pytest.approx(123 + math.log(w.mean()))
    assert weights.log_mean_error(LOG_WEIGHTS) == pytest.approx(w.std(ddof=1) / w.mean() / math.sqrt(7))
    deviations = VALUES.numpy() - REPEATED.mean(axis=0)
    expected = np.sqrt((w[:, None, None] ** 2 * deviations**2).sum(axis=0)) / w.sum()
    assert torch.allclose(weights.mcse(VALUES, LOG_WEIGHTS), torch.from_numpy(expected))


def test_what_is_missing_does_not_count():
    values, missing = VALUES[:, 0, 0].clone(), torch.tensor([1, 4])
    values[missing] = math.nan
    kept = torch.tensor([0, 2, 3, 5, 6])
    for statistic in (weights.mean, weights.sd, weights.mcse):
        assert torch.allclose(statistic(values, LOG_WEIGHTS), statistic(values[kept], LOG_WEIGHTS[kept]))
    quantiles = [weights.quantiles(x, w, [0.05, 0.5, 1.0]) for x, w in ((values, LOG_WEIGHTS), (values[kept], LOG_WEIGHTS[kept]))]
    assert torch.equal(*quantiles)


def test_a_draw_of_weight_zero_may_be_infinite():
    values = torch.tensor([1.0, math.inf, 2.0])
    assert weights.mean(values, torch.tensor([0.0, -math.inf, 0.0])) == 1.5


def test_the_mean_of_many_estimates_spreads_as_the_mcse_says():
    x = torch.randn(400, 500, generator=GENERATOR, dtype=torch.float64)  # 500 runs of 400 draws from N(0, 1), weighed to N(0.5, 1)
    log_w = 0.5 * x - 0.125
    runs = [(weights.mean(a, b).item(), weights.mcse(a, b).item()) for a, b in zip(x.T, log_w.T, strict=True)]
    means, errors = np.array(runs).T
    assert abs(means.mean() - 0.5) < 4 * means.std() / math.sqrt(500)
    assert means.std(ddof=1) / errors.mean() == pytest.approx(1.0, abs=4 / math.sqrt(2 * 499))


def test_a_summary():
    summary = summarize({"x": VALUES, "k": COUNTS, "b": COUNTS > 1}, LOG_WEIGHTS, ("a note",))
    assert list(summary.rows)[:7] == ["x[0,0]", "x[0,1]", "x[0,2]", "x[1,0]", "x[1,1]", "x[1,2]", "k"]
    assert summary["x[1,2]"].mean == pytest.approx(REPEATED[:, 1, 2].mean())
    assert summary["b"].mean == pytest.approx(14 / 16)
    row = summary["k"]
    assert row.ess == pytest.approx((row.sd / row.mcse) ** 2)
    assert row.quantiles[0.5] == 4
    with pytest.raises(KeyError, match=r"no row 'y' in this summary; it has x\[0,0\]"):
        summary["y"]


@pytest.mark.parametrize("second", [-1e4, -30.0, -3.0])
def test_of_one_draw_that_has_all_weight_no_error_is_told(second: float):
    """Its error seemed to be 1e-14, and its effective sample size 1e13."""
    values, log_weights = torch.linspace(-1.0, 1.0, 1000, dtype=torch.float64), torch.full((1000,), -1e4, dtype=torch.float64)
    log_weights[3], log_weights[5] = 0.0, second
    row = summarize({"x": values}, log_weights)["x"]
    assert math.isnan(row.mcse) and math.isnan(row.ess)
    assert row.mean == pytest.approx(values[3].item(), abs=1e-3)


def test_the_table_of_a_summary():
    summary = summarize({"x": torch.tensor([1.0, 2.0]), "long": torch.tensor([12345.0, 12345.0])}, torch.zeros(2), ("a note",))
    assert str(summary).splitlines() == [
        "           mean   sd         5%        25%        50%        75%        95%   mcse  ess",
        "x           1.5  0.5          1          1          1          2          2  0.354    2",
        "long  1.234e+04    0  1.234e+04  1.234e+04  1.234e+04  1.234e+04  1.234e+04      0  nan",
        "a note",
    ]
    assert str(summarize({}, torch.zeros(2), ("a note",))) == "a note"


def test_labels():
    assert labels("x", torch.Size()) == ["x"]
    assert labels("x", torch.Size((2, 1))) == ["x[0,0]", "x[1,0]"]


def test_ancestors_are_drawn_by_weight():
    log_weights = torch.tensor([0.1, 0.2, 0.0, 0.7]).log()
    drawn = run(Program(_drawing, Ancestors(log_weights, 10_000)))
    assert drawn.shape == (10_000,) and drawn.dtype == torch.int64
    counts = torch.bincount(drawn, minlength=4)
    assert counts[2] == 0
    error = (10_000 * log_weights.exp() * (1 - log_weights.exp())).sqrt()
    assert bool(((counts - 10_000 * log_weights.exp()).abs() <= 4 * error).all())


def _drawing(dist: Ancestors):
    return (yield Sample("ancestors", dist))


def test_ancestors_have_a_density_that_sums_to_one():
    ancestors = Ancestors(torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64), 2)
    values = ancestors.enumerate_support()
    assert values.shape == (9, 2)
    assert ancestors.log_prob(values).exp().sum().item() == pytest.approx(1, rel=1e-12)
    assert bool(ancestors.support.check(values).all())
