"""Closed forms for rows: torch's own draws, bit for bit, its densities, and its judgement at the edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Exponential, Gamma, Normal, Poisson, Uniform

from interpreters.batches.closed_forms import CLOSED_FORMS
from interpreters.lockstep import lockstep
from poutine import DistributionError, Observe, Program, Sample, batch_log_density, condition, mask, run, scale, trace
from poutine.randomness import draw, stream_seed

FORMS = pytest.mark.parametrize("cls", CLOSED_FORMS, ids=lambda cls: cls.__name__)
KEY = (3, "x", 1)


def columns_of(cls, rows=500):
    """Parameters in bounds, some large, some small."""
    generator = torch.Generator().manual_seed(0)
    low, high = torch.rand(2, rows, dtype=torch.float64, generator=generator) * 0.98 + 0.01
    if CLOSED_FORMS[cls].is_interval:
        return [low, low + high]
    return [(low if most < 2 else 10 ** (3 * low - 1)) for _, most in CLOSED_FORMS[cls].parameters]


def drawn(cls, columns):
    return CLOSED_FORMS[cls].draw(torch.Generator().manual_seed(stream_seed(KEY)), *columns)


@FORMS
def test_a_draw_is_the_one_of_the_distribution(cls):
    columns = columns_of(cls)
    assert torch.equal(drawn(cls, columns), draw(cls(*columns), KEY))


@FORMS
def test_a_density_is_the_one_of_the_distribution(cls):
    columns = columns_of(cls)
    values, form = drawn(cls, columns), CLOSED_FORMS[cls]
    arrays = [column.numpy() for column in columns]
    assert form.accepts(np.stack(arrays)) and form.supports(values.numpy(), arrays)
    ours = torch.from_numpy(form.log_prob(values.numpy(), *arrays))
    torch.testing.assert_close(ours, cls(*columns).log_prob(values), rtol=1e-10, atol=1e-10)


@FORMS
@pytest.mark.parametrize("odd", [torch.nan, -torch.inf])
def test_what_is_no_parameter_is_not_accepted(cls, odd):
    for i in range(len(CLOSED_FORMS[cls].parameters)):
        table = torch.stack(columns_of(cls)).numpy()
        table[i, 7] = odd
        assert not CLOSED_FORMS[cls].accepts(table)


def asking(cls, *args):
    return (yield Sample("x", cls, *args))


@pytest.mark.parametrize(
    ("cls", "args"),
    [
        (Normal, (0.0, 0.0)),
        (Normal, (float("nan"), 1.0)),
        (Exponential, (-1.0,)),
        (Uniform, (1.0, 1.0)),
        (Bernoulli, (1.5,)),
        (Gamma, (1, 0)),
    ],
)
def test_parameters_out_of_bounds_are_refused_by_torch(cls, args):
    with pytest.raises(DistributionError, match="site 'x'"):
        run(Program(lockstep, Program(asking, cls, *args), 4, numbers=True))


@pytest.mark.parametrize(
    ("cls", "args", "value"),
    [
        (Exponential, (1.0,), -1.0),
        (Uniform, (0.0, 1.0), 2.0),
        (Bernoulli, (0.5,), 0.5),
        (Poisson, (3.0,), 2.5),
        (Normal, (0.0, 1.0), torch.nan),
    ],
)
@pytest.mark.parametrize("is_given", [True, False])
def test_values_out_of_the_support_are_refused_by_torch(cls, args, value, is_given):
    def seeing():
        yield Observe("x", cls, value, *args)

    there = condition(lockstep, data={"x": torch.full((4,), value, dtype=torch.float64)}) if is_given else lockstep
    with pytest.raises(DistributionError, match="site 'x': cannot score"):
        run(Program(there, Program(asking, cls, *args) if is_given else seeing, 4, numbers=True))


@pytest.mark.parametrize(("cls", "args"), [(Bernoulli, (1.0,)), (Bernoulli, (0,)), (Poisson, (0.0,))])
def test_the_edge_is_torchs(cls, args):
    values = run(Program(lockstep, Program(asking, cls, *args), 4, numbers=True)).values
    assert values == (args[0],) * 4


def test_the_message_of_rows_is_a_sample_like_any_other():
    def model():
        x = yield Sample("x", Normal, 1.0, 2.0)
        yield Observe("n", Poisson, 3, 2.5)
        return x

    whole = run(scale(trace(lockstep), scale=0.5)(model, 6, numbers=True))
    site = trace_of(model)["x"]
    assert site.fn is Normal and site.dist.batch_shape == (6,) and site.evolve(fn=Uniform, args=(0.0, 1.0)).dist.high == 1.0
    assert torch.equal(batch_log_density(site), site.dist.log_prob(site.value))
    assert whole.log_densities.shape == (6,)


def trace_of(model):
    return run(trace(lockstep).traced(model, 6, numbers=True))


@pytest.mark.parametrize("around", [lambda p: scale(p, scale=0.5), lambda p: mask(p, mask=torch.tensor([True, False, True, True]))])
def test_what_is_around_the_batch_counts(around):
    sites = run(trace(around(lockstep)).traced(Program(asking, Exponential, 2.0), 4, numbers=True))
    batch = sites["_RETURN"].value
    assert batch.log_densities.tolist() == pytest.approx(sites.compute_batch_log_pdf()["x"].tolist())
    assert batch.log_densities.sum().item() != pytest.approx(Exponential(2.0).log_prob(torch.tensor(batch.values)).sum().item())
