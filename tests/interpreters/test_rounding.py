"""A density is in double precision: where the program itself rounds what depends on a latent site, there is a warning at its line."""

from __future__ import annotations

import inspect
import math
import warnings

import pytest
import torch
import torch.distributions as td

from interpreters.density import density
from poutine import Observe, Program, Sample

F64 = torch.float64
Y = torch.tensor([0.1, 0.2, 0.4], dtype=F64)


def in_place(y):
    mu = yield Sample("mu", td.Normal(0.0, 1.0))
    errors = torch.zeros(len(y))
    for t in range(1, len(y)):
        errors[t] = y[t] - mu * errors[t - 1]  # here
    yield Observe("y", td.Normal(0.0, 1.0), errors)


def many_times_one(y):
    mu = yield Sample("mu", td.Normal(0.0, 1.0))
    mean = torch.ones(len(y)).mul(mu)  # here
    yield Observe("y", td.Normal(mean, 1.0), y)


@pytest.mark.parametrize("model", [in_place, many_times_one])
def test_the_line_that_rounds_is_told_once(model):
    with pytest.warns(
        RuntimeWarning, match=r"depends on a latent site is rounded to torch\.float32: .*torch\.zeros\(n, dtype=torch\.float64\)"
    ) as caught:
        density(Program(model, Y))
    lines, first = inspect.getsourcelines(model)
    (expected,) = (first + i for i, line in enumerate(lines) if "# here" in line)
    assert [(warning.filename, warning.lineno) for warning in caught] == [(__file__, expected)]


def test_what_is_asked_for_and_what_rounds_nothing_is_not_told():
    def model(y):
        mu = yield Sample("mu", td.Normal(torch.zeros(3), 1.0))
        s = yield Sample("s", td.Gamma(torch.full((3,), 2.0), 1.0))
        errors = y.new_zeros(3)
        errors[0] = mu[0]
        asked = mu.float() + mu.to(torch.float32) + mu.sum(dtype=torch.float32)
        yield Observe("y", td.Normal(torch.zeros(3) + errors + asked.double(), s), y)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        density(Program(model, Y))


def test_distributions_of_vectors_are_of_double_precision():
    """Torch solves in the type of the matrix."""

    def model(dtype):
        zeros, eye = torch.zeros(3, dtype=dtype), torch.eye(3, dtype=dtype)
        x = yield Sample("x", td.MultivariateNormal(zeros, eye))
        yield Observe("y", td.MixtureSameFamily(td.Categorical(logits=zeros[:1]), td.MultivariateNormal(x.expand(1, 3), 4 * eye)), Y)
        yield Sample("w", td.Independent(td.Normal(zeros, 1.0), 1))

    u = torch.tensor([0.1, 0.7, -0.3, 0.2, 1 / 3, math.pi], dtype=F64)
    single, double = (density(Program(model, dtype)).value_and_grad(u) for dtype in (torch.float32, F64))
    assert torch.allclose(single[0], double[0], rtol=1e-14)
    assert torch.allclose(single[1], double[1], rtol=1e-13)


def test_distributions_that_take_a_value_to_the_type_of_their_own_numbers_do_not_round_it():
    """Of numbers, torch makes tensors in single precision, and HalfCauchy and Gamma make of a value what those are."""

    def model(dtype):
        one, two, weights = torch.tensor(1.25, dtype=dtype), torch.tensor([2.0, 0.75], dtype=dtype), torch.ones(2, dtype=dtype)
        yield Sample("tau", td.HalfCauchy, one)
        yield Sample("g", td.Gamma(2.0 * one, one))
        yield Sample("i", td.InverseGamma(2.0 * one, one))
        yield Sample("c", td.Chi2(3.0 * one))
        yield Sample("m", td.MixtureSameFamily(td.Categorical(weights), td.Gamma(two, two)))
        yield Sample("u", td.Uniform(-one, one / 2))

    u = torch.tensor([0.1, 0.7, -0.3, 0.2, 1 / 3, math.pi], dtype=F64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        single, double = (density(Program(model, dtype)).value_and_grad(u) for dtype in (torch.float32, F64))
    assert torch.allclose(single[0], double[0], rtol=1e-14)
    assert torch.allclose(single[1], double[1], rtol=1e-13)
