"""Observations as terms of a weight: what is outside of the range of a distribution weighs nothing, and what is inside counts in full."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.distributions as td

from interpreters.enumeration import exact
from interpreters.importance import importance
from interpreters.weighted.scores import score
from poutine import DistributionError, Observe, Program, Sample

F64 = torch.float64
WEIGHTS = torch.tensor([0.3, 0.7], dtype=F64)


def of_two(first: int, second: int) -> td.Distribution:
    """A mixture of counts: one may come of a component that has so many, although it is too many for the other."""
    return td.MixtureSameFamily(td.Categorical(WEIGHTS), td.Binomial(torch.tensor([first, second]), WEIGHTS))


def delayed(by: float) -> td.Distribution:
    return td.TransformedDistribution(td.Exponential(WEIGHTS[0]), td.AffineTransform(torch.tensor(by, dtype=F64), 1.0))


CASES: list[tuple[td.Distribution, float, float]] = [
    (of_two(2, 4), 3.0, math.log(0.7 * 4 * 0.7**3 * 0.3)),
    (of_two(4, 2), 3.0, math.log(0.3 * 4 * 0.3**3 * 0.7)),
    (of_two(2, 2), 3.0, -math.inf),
    (td.Uniform(0.0, torch.tensor(1.0, dtype=F64)), 2.0, -math.inf),
    (delayed(1.0), 0.5, -math.inf),
    (delayed(0.25), 0.75, math.log(0.3) - 0.15),
]


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("convert", [float, lambda x: torch.tensor(x, dtype=F64)], ids=["number", "tensor"])
def test_what_is_outside_weighs_nothing_and_what_is_inside_all(case: int, convert: Callable[[float], object]):
    dist, value, expected = CASES[case]
    site = Observe("y", dist, convert(value))
    assert score(site).item() == pytest.approx(expected, rel=1e-12)
    if expected == -math.inf:
        assert score(site.evolve(mask=False)).item() == 0.0
    assert score(site.evolve(scale=2.0)).item() == pytest.approx(2 * expected, rel=1e-12)


@pytest.mark.parametrize("value", [torch.nan, torch.tensor([1.0, 2.0, 3.0])])
def test_what_is_wrong_otherwise_remains_an_error(value: object):
    with pytest.raises(DistributionError, match="site 'y'"):
        score(Observe("y", td.Uniform(torch.zeros(2), 4.0), value))
    with pytest.raises(DistributionError, match="site 'y'"):
        score(Sample("y", td.Uniform(0.0, 1.0)).evolve(value=2.0))


def test_importance_sampling_weighs_mixtures_by_the_components_that_can():
    def model():
        n = yield Sample("n", td.Binomial(4, WEIGHTS[0]))
        yield Observe("y", td.MixtureSameFamily(td.Categorical(WEIGHTS), td.Binomial(torch.stack([n, n + 1], -1), WEIGHTS)), 3)

    one = exact(Program(importance, model, 1))
    mean = one.expectation(lambda t: t["_RETURN"].value.log_weights.exp().squeeze())
    by_hand = exact(model).log_evidence.exp().item()
    assert mean.item() == pytest.approx(by_hand, rel=1e-12)
