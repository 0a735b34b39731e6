"""Values outside of the range of a distribution have no density, whatever torch's ``log_prob`` gives for them unvalidated."""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributions as td
from torch.distributions.transforms import AffineTransform, ExpTransform

from interpreters.compiled import compile_density
from interpreters.density import density
from interpreters.elimination import eliminate
from interpreters.enumeration import exact
from interpreters.errors import NotContinuous, StructureChanged
from poutine import DistributionError, ImproperUniform, Observe, Program, Sample, mask

F64 = torch.float64
Y = torch.tensor([1.6, 1.9, 2.4, 1.7], dtype=F64)


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=F64)


def shifted(by, base=None):
    return td.TransformedDistribution(td.Exponential(number(2.0)) if base is None else base, [AffineTransform(by, number(1.0))])


def pareto(y=Y):
    a = yield Sample("a", td.Uniform(number(0.0), 3.0))
    yield Observe("y", td.Pareto(a, 3.0), y)


def exponential(y=Y):
    a = yield Sample("a", td.Normal(number(0.0), 5.0))
    yield Observe("y", shifted(a), y)


def log_normal(y=Y):
    a = yield Sample("a", td.Normal(number(0.0), 5.0))
    yield Observe("y", shifted(a, td.LogNormal(number(0.0), 1.0)), y)


def vector(y=Y):
    a = yield Sample("a", td.Normal(number(0.0), 5.0))
    yield Observe("y", td.Independent(td.Uniform(a, torch.full_like(y, 9.0)), 1), y)


def difference(y=Y):
    a = yield Sample("a", td.Normal(number(0.0), 5.0))
    yield Observe("y", td.Exponential(number(1.0)), y - a)


def truncated(y=Y):
    a = yield Sample("a", td.Normal(number(0.0), 5.0))
    yield Observe("y", ImproperUniform(td.constraints.greater_than(a), (4,)), y)


MODELS = [pareto, exponential, log_normal, vector, difference, truncated]


@pytest.mark.parametrize("model", MODELS)
def test_an_observation_outside_of_a_range_that_depends_on_latents_has_no_density(model):
    d = density(model)
    for a, inside in ((0.5, True), (1.59, True), (1.61, False), (2.9, False)):
        named = d.log_prob({"a": number(a)})
        position = d.unconstrain({"a": number(a)})
        value, gradient = d.value_and_grad(position)
        assert bool(named.isfinite()) is bool(value.isfinite()) is inside
        assert named == -math.inf or inside
        assert gradient.isfinite().all()


def test_a_value_that_cannot_be_drawn_has_no_density_whatever_is_computed_from_it():
    def scaled():
        s = yield Sample("s", td.HalfNormal(number(1.0)))
        yield Observe("y", td.Normal(number(0.0), s), Y)

    def factored():
        s = yield Sample("s", td.HalfNormal(number(1.0)))
        yield Observe("y", td.MultivariateNormal(torch.zeros(4, dtype=F64), s * torch.eye(4, dtype=F64)), Y)

    def mixed():
        s = yield Sample("s", td.HalfNormal(number(1.0)))
        z = yield Sample("z", td.Bernoulli(number(0.5)))
        yield Observe("y", td.Normal(z, s), Y)

    for model in (scaled, factored, mixed):
        d = density(model)
        assert d.log_prob({"s": number(-1.0)}) == -math.inf
        assert d.log_prob({"s": number(1.0)}).isfinite()

    def broken():
        s = yield Sample("s", td.HalfNormal(number(1.0)))
        yield Observe("y", td.MultivariateNormal(torch.zeros(4, dtype=F64), (1.5 - s) * torch.eye(4, dtype=F64)), Y)

    with pytest.raises(torch.linalg.LinAlgError):  # a value that can be
        density(broken).log_prob({"s": number(2.0)})


@pytest.mark.parametrize(("low", "high"), [(0.0, math.inf), (-math.inf, math.inf)])
def test_a_uniform_distribution_over_an_infinite_range_is_refused(low, high):
    with pytest.raises(NotContinuous, match=r"site 'x'.*Uniform.* infinite range.*ImproperUniform\(constraints.positive\)"):
        density(lambda: (yield Sample("x", td.Uniform(number(low), number(high)))))


@pytest.mark.parametrize("model", [pareto, exponential])
def test_kernels_give_none_either(model, tmp_path):
    d = density(model)
    kernel = compile_density(d, cache_dir=tmp_path)
    assert kernel.tier == "native"
    for a in (0.5, 1.59, 1.61, 2.9):
        (value, gradient), (exact, slope) = (f(d.unconstrain({"a": number(a)})) for f in (kernel.value_and_grad, d.value_and_grad))
        assert torch.isclose(value, exact, rtol=1e-12)
        assert torch.allclose(gradient, slope, rtol=1e-12)


def test_what_the_origin_does_not_allow_is_no_error():
    """a is 1.5 there."""
    d = density(Program(pareto, Y - 1))
    assert d(torch.zeros(1, dtype=F64)) == -math.inf
    assert d(torch.full((1,), -3.0, dtype=F64)).isfinite()


def test_a_range_that_does_not_depend_on_latents_is_asked_once():
    def model(y, start):
        a = yield Sample("a", td.Normal(number(0.0), 5.0))
        yield Observe("y", shifted(start, td.Exponential(a.exp())), y)

    assert not density(Program(model, Y, number(1.0))).bounded
    with pytest.raises(DistributionError, match="'y'"):
        density(Program(model, Y, number(1.7)))

    def binomial(y):
        p = yield Sample("p", td.Uniform(number(0.0), 1.0))
        yield Observe("y", td.Binomial(torch.tensor([3, 4]), p), y)

    d = density(Program(binomial, torch.tensor([1.0, 4.0])))
    assert not d.bounded
    with pytest.raises(DistributionError, match="'y'"):
        d.at(Program(binomial, torch.tensor([4.0, 4.0])))


def test_values_given_by_name_are_looked_at():
    def model():
        yield Sample("x", td.Exponential(number(1.0)))
        yield Sample("p", td.Dirichlet(torch.ones(3, dtype=F64)))

    d = density(model)
    fits = {"x": number(1.0), "p": torch.full((3,), 1 / 3, dtype=F64)}
    assert d.log_prob(fits).isfinite()
    assert d.log_prob(fits | {"x": number(-1.0)}) == -math.inf
    assert d.log_prob(fits | {"p": torch.ones(3, dtype=F64)}) == -math.inf
    with pytest.raises(ValueError, match=r"site 'x'.*outside of the range of Exponential"):
        d.unconstrain(fits | {"x": number(-1.0)})


def test_swapped_data_is_looked_at():
    def model(y):
        a = yield Sample("a", td.Normal(number(0.0), 1.0))
        yield Observe("y", td.Exponential(a.exp()), y)

    d = density(Program(model, torch.ones(3)))
    with pytest.raises(DistributionError, match="'y'"):
        d.at(Program(model, -torch.ones(3)))
    with pytest.raises(StructureChanged, match="site 'x' was not there before"):
        d.at(Program(_one_site))


def _one_site():
    yield Sample("x", td.Normal(0.0, 1.0))


def test_where_a_mask_is_off_nobody_looks():
    present = Y < 1.8

    def model():
        a = yield Sample("a", td.Normal(number(0.0), 5.0))
        y = torch.where(present, Y, torch.nan)
        yield from mask(lambda: observed(a, y), mask=present)()

    def observed(a, y):
        yield Observe("y", shifted(a), y)

    d = density(model)
    u = torch.ones(1, dtype=F64)
    expected = td.Normal(number(0.0), 5.0).log_prob(u[0]) + td.Exponential(number(2.0)).log_prob(Y[present] - 1.0).sum()
    assert torch.isclose(d(u), expected)
    assert d.value_and_grad(u)[1].isfinite().all()
    assert d(1.65 * u) == -math.inf


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_of_several_discrete_values_those_that_forbid_the_observation_count_nothing(power):
    """Their gradient is zero, not zero times the nan of a root of a negative number."""

    def model():
        a = yield Sample("a", td.Normal(number(0.0), 5.0))
        z = yield Sample("z", td.Categorical(logits=torch.zeros(2, dtype=F64)))
        start = torch.stack([a, a + 10.0])[z]
        root = td.transforms.PowerTransform(number(1.0 / power))
        yield Observe("y", td.TransformedDistribution(td.Exponential(number(2.0)), [root, AffineTransform(start, number(1.0))]), Y[0])

    def one():
        a = yield Sample("a", td.Normal(number(0.0), 5.0))
        root = td.transforms.PowerTransform(number(1.0 / power))
        yield Observe("y", td.TransformedDistribution(td.Exponential(number(2.0)), [root, AffineTransform(a, number(1.0))]), Y[0])

    u = torch.tensor([0.7], dtype=F64)
    (value, gradient), (expected, slope) = (density(m).value_and_grad(u) for m in (model, one))
    assert torch.isclose(value, expected - math.log(2.0))
    assert torch.allclose(gradient, slope)


def test_a_range_that_depends_on_a_discrete_site():
    def model():
        a = yield Sample("p", td.Beta(number(1.0), number(1.0)))
        n = yield Sample("n", td.Categorical(logits=torch.zeros(6, dtype=F64)))
        yield Observe("y", td.Binomial(n, a), number(3.0))

    expected = torch.stack([td.Binomial(n, number(0.4)).log_prob(number(3.0)) for n in (3, 4, 5)]).logsumexp(0) - math.log(6.0)
    assert torch.isclose(density(model).log_prob({"p": number(0.4)}), expected)


def test_a_mixture_is_what_its_components_allow():
    def model():
        a = yield Sample("a", td.Uniform(number(0.0), 1.0))
        components = td.Pareto(torch.stack([a, a + 1.0]), number(3.0))
        yield Observe("y", td.MixtureSameFamily(td.Categorical(torch.ones(2, dtype=F64)), components), Y)

    d = density(model)
    a = number(0.65)
    low, high = td.Pareto(a, 3.0, validate_args=False), td.Pareto(a + 1, 3.0, validate_args=False)
    each = torch.stack([low.log_prob(Y), torch.where(a + 1 <= Y, high.log_prob(Y), -math.inf)])
    assert torch.isclose(d.log_prob({"a": a}), (each.logsumexp(0) - math.log(2.0)).sum())
    assert d.value_and_grad(d.unconstrain({"a": a}))[1].isfinite().all()


@pytest.mark.parametrize("model", [
    lambda start: shifted(start, td.Exponential(torch.ones(2, dtype=F64))),
    lambda start: td.Independent(shifted(start, td.LogNormal(torch.zeros(2, dtype=F64), 1.0)), 1),
    lambda start: td.TransformedDistribution(td.Normal(torch.zeros(2, dtype=F64), 1.0), [ExpTransform(), AffineTransform(start, -1.0)]),
])  # fmt: skip
def test_a_latent_site_has_coordinates_of_its_range_not_of_what_torch_calls_its_support(model):
    def program():
        a = yield Sample("a", td.Normal(number(0.0), 1.0))
        yield Sample("x", model(a))

    d = density(program)
    u = torch.tensor([0.3, -1.2, 2.3], dtype=F64)
    values = d.constrain(u)
    assert torch.allclose(d.unconstrain(values), u)
    jacobian = torch.autograd.functional.jacobian(lambda x: d.constrain(torch.cat([u[:1], x]))["x"], u[1:])
    assert torch.isclose(d(u), d.log_prob(values) + jacobian.det().abs().log())
    assert d.log_prob(values | {"x": values["x"].flip(0) * torch.tensor([-100.0, 100.0], dtype=F64)}) == -math.inf


def test_a_nan_is_outside_of_no_range_but_an_error():
    def model(y, present=True):
        n = yield Sample("n", td.Categorical(torch.full((4,), 0.25, dtype=F64)))
        yield from mask(lambda: observed(n, y), mask=present)()

    def observed(n, y):
        yield Observe("y", td.Binomial(n, number(0.5)), y)

    def vector(y):
        n = yield Sample("n", td.Categorical(torch.full((4,), 0.25, dtype=F64)))
        yield Observe("y", td.Independent(td.Uniform(torch.zeros(2, dtype=F64), 0.5 + n.unsqueeze(-1)), 1), y)

    for program in (Program(model, number(math.nan)), Program(vector, torch.tensor([0.25, math.nan], dtype=F64))):
        for elimination in (eliminate, lambda p: eliminate(p, max_plate_nesting=0), exact):
            with pytest.raises(DistributionError, match="site 'y': cannot score a value of shape .* to be within the support"):
                elimination(program)
    off = eliminate(Program(model, number(math.nan), torch.tensor(False)), max_plate_nesting=0)
    assert off.log_evidence.item() == pytest.approx(0.0, abs=1e-12)
    inside = sum(math.comb(n, 2) * 0.5**n / 4 for n in (2, 3))
    assert eliminate(Program(model, number(2.0)), max_plate_nesting=0).log_evidence.item() == pytest.approx(math.log(inside))
