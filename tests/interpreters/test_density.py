"""The log density of a program as a function: exact values, Jacobians, gradients, and structures that change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.distributions as td
from torch.distributions import constraints

from interpreters.density import Density, density
from interpreters.errors import NotContinuous, StructureChanged
from poutine import (
    Deterministic,
    ImproperUniform,
    NoDensity,
    Observe,
    Param,
    ParamStore,
    Program,
    Sample,
    bijection_to,
    condition,
    factor,
    ordered,
    plate,
    positive_ordered,
    run,
    scale,
    seed,
    substitute,
    trace,
)

F64 = torch.float64
Y = torch.tensor([1.0, 2.0, 4.0], dtype=F64)


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=F64)


def everything(y: torch.Tensor = Y):
    a = yield Sample("a", td.HalfNormal(number(1.0)))
    b = yield Sample("b", td.Uniform(number(0.0), 1.0 + a))
    s = yield Sample("s", td.Dirichlet(torch.ones(3, dtype=F64)))
    o = yield Sample("o", td.Independent(td.Normal(torch.zeros(2, dtype=F64), 1.0), 1))
    c = yield Sample("c", td.LKJCholesky(3, number(1.5)))

    @plate("data", len(y))
    def data(i):
        z = yield Sample("z", td.LogNormal(b, 1.0))
        yield Observe("y", td.Normal(a * z + s[0] + o.sum() + c[2, 0], 1.0), y[i])

    yield from data()
    yield Deterministic("t", a * b)


def somewhere(d: Density, seed: int = 0) -> torch.Tensor:
    return torch.randn(d.dim, dtype=F64, generator=torch.Generator().manual_seed(seed)) / 2


def test_structure():
    d = density(everything)
    assert {name: (tuple(site.shape), site.size, site.offset) for name, site in d.sites.items()} == {
        "a": ((), 1, 0),
        "b": ((), 1, 1),
        "s": ((3,), 2, 2),
        "o": ((2,), 2, 4),
        "c": ((3, 3), 3, 6),
        "z": ((3,), 3, 9),
    }
    assert d.dim == 12


def test_at_the_values_of_a_trace_it_is_the_traces_log_density():
    for s in range(5):
        t = run(trace(everything).traced(), seed=s)
        d = density(everything)
        assert torch.isclose(d.log_prob({name: t[name].value for name in d.sites}), t.log_pdf(), rtol=1e-12)


def test_constraining_and_unconstraining_go_round():
    d = density(everything)
    u = somewhere(d)
    values = d.constrain(u)
    assert torch.allclose(d.unconstrain(values), u, rtol=1e-10)
    assert torch.equal(values["t"], values["a"] * values["b"])
    for name, support in (("a", constraints.positive), ("s", constraints.simplex), ("c", constraints.corr_cholesky)):
        assert support.check(values[name])


def test_unconstrained_it_is_the_density_of_the_pushed_forward_variable():
    """log p(u) = log p(x(u)) + log |dx/du|, the determinant computed by autograd of the bijection."""

    def model():
        a = yield Sample("a", td.HalfNormal(number(1.0)))
        yield Sample("b", td.Uniform(number(0.0), 1.0 + a))

    d = density(model)
    u = somewhere(d)
    jacobian = torch.autograd.functional.jacobian(lambda u: torch.stack([d.constrain(u)["a"], d.constrain(u)["b"]]), u)
    assert torch.isclose(d(u), d.log_prob(d.constrain(u)) + jacobian.det().abs().log(), rtol=1e-10)


def test_gradients_batches_and_hessians():
    d = density(everything)
    u = somewhere(d)
    assert torch.autograd.gradcheck(d, u.clone().requires_grad_())
    value, gradient = d.value_and_grad(u)
    assert torch.isclose(value, d(u))
    v = somewhere(d, 1)
    step = 1e-5
    by_differences = (d.value_and_grad(u + step * v)[1] - d.value_and_grad(u - step * v)[1]) / (2 * step)
    assert torch.allclose(d.hessian_vector_product(u, v), by_differences, rtol=1e-5, atol=1e-6)
    assert torch.allclose(d.batch(torch.stack([u, v])), torch.stack([d(u), d(v)]), rtol=1e-12)
    assert gradient.shape == (d.dim,)


@pytest.mark.parametrize(("support", "shape"), [
    (constraints.real, (3,)),
    (constraints.positive, (2,)),
    (constraints.interval(-1.0, 2.0), ()),
    (constraints.greater_than(3.0), ()),
    (constraints.less_than(3.0), ()),
    (constraints.simplex, (4,)),
    (constraints.corr_cholesky, (3, 3)),
    (constraints.lower_cholesky, (3, 3)),
    (constraints.positive_definite, (3, 3)),
    (constraints.positive_definite, (2, 1, 1)),
    (ordered, (4,)),
    (positive_ordered, (3,)),
])  # fmt: skip
def test_flat_priors_on_any_support(support, shape):
    event_dim = support.event_dim
    flat = ImproperUniform(support, shape[: len(shape) - event_dim], shape[len(shape) - event_dim :])

    def model():
        yield Sample("x", flat)

    d = density(model)
    u = somewhere(d)
    x = d.constrain(u)["x"]
    assert x.shape == shape
    assert support.check(x).all()
    assert d.log_prob({"x": x}) == 0
    bijection = bijection_to(support)
    assert torch.isclose(d(u), bijection.log_abs_det_jacobian(d.sites["x"].of(u), x).sum())
    with pytest.raises(NotImplementedError, match="cannot be drawn"):
        flat.sample()


@pytest.mark.parametrize("support", [ordered, positive_ordered])
def test_the_jacobian_of_ordered_vectors(support):
    bijection = bijection_to(support)
    x = torch.tensor([0.3, -0.7, 0.2], dtype=F64)
    y = bijection(x)
    jacobian = torch.autograd.functional.jacobian(bijection, x)
    assert torch.isclose(bijection.log_abs_det_jacobian(x, y), jacobian.det().log())
    assert torch.allclose(bijection.inv(y), x)
    assert not support.check(torch.tensor([2.0, 1.0]))
    assert bool(support.check(torch.tensor([-1.0, 1.0]))) is (support is ordered)
    assert repr(support) == ("Ordered()" if support is ordered else "PositiveOrdered()")


@pytest.mark.parametrize("support", [constraints.lower_cholesky, constraints.positive_definite])
def test_the_jacobian_of_matrices_is_that_of_their_lower_triangles(support):
    bijection = bijection_to(support)
    x = somewhere(density(Program(flat, support, (3, 3))))
    y = bijection(x)
    rows, columns = torch.tril_indices(3, 3)
    jacobian = torch.autograd.functional.jacobian(lambda x: bijection(x)[rows, columns], x)
    assert torch.isclose(bijection.log_abs_det_jacobian(x, y), jacobian.det().abs().log())
    assert torch.allclose(bijection.inv(y), x)
    assert support.check(bijection(torch.stack([x, -x, 2 * x]))).all()
    with pytest.raises(ValueError, match="a lower triangle, got 5"):
        bijection(x[:5])


def flat(support, shape):
    yield Sample("x", ImproperUniform(support, (), shape))


def test_wishart():
    """A density of its flat coordinates that integrates to one; the mean is ``df`` times the scale."""

    def model():
        yield Sample("s", td.Wishart(number(5.0), torch.eye(2, dtype=F64)))

    d = density(model)
    assert d.dim == 3
    grid = torch.cartesian_prod(torch.linspace(-2, 3, 41), torch.linspace(-8, 8, 61), torch.linspace(-2, 3, 41)).to(F64)
    mass = d.batch(grid).exp() * (5 / 40) ** 2 * (16 / 60)
    assert torch.isclose(mass.sum(), number(1.0), atol=2e-2)
    means = (mass[:, None, None] * torch.func.vmap(lambda u: d.constrain(u)["s"])(grid)).sum(0)
    assert torch.allclose(means, 5 * torch.eye(2, dtype=F64), atol=0.2)


def test_a_mixture_is_a_prior_where_its_components_have_one_support():
    def model(components, weights):
        yield Sample("x", td.MixtureSameFamily(td.Categorical(weights), components))

    weights = torch.tensor([0.3, 0.7], dtype=F64)
    components = td.LogNormal(torch.tensor([[0.0, 1.0]] * 3, dtype=F64), 1.0)
    d = density(Program(model, components, weights.expand(3, 2)))
    u = somewhere(d)
    x = d.constrain(u)["x"]
    assert torch.equal(x, u.exp())
    assert torch.isclose(d(u), td.MixtureSameFamily(td.Categorical(weights.expand(3, 2)), components).log_prob(x).sum() + u.sum())
    vectors = td.Independent(td.Normal(torch.zeros(2, 4, dtype=F64), 1.0), 1)
    assert density(Program(model, vectors, weights)).dim == 4
    with pytest.raises(NotContinuous, match="no bijection onto the support MixtureSameFamilyConstraint"):
        density(Program(model, td.Uniform(torch.tensor([0.0, 1.0]), 3.0), weights))


def test_flat_priors_off_their_support_and_wrong_shapes():
    assert ImproperUniform(constraints.positive).log_prob(number(-1.0)) == -math.inf
    with pytest.raises(ValueError, match="over 1 dimensions"):
        ImproperUniform(ordered)
    with pytest.raises(ValueError, match="continuous"):
        ImproperUniform(constraints.boolean)


def test_handlers_apply():
    d = density(scale(condition(everything, data={"a": number(1.0)}), scale=2.0)())
    assert list(d.sites) == ["b", "s", "o", "c", "z"]
    plain = density(everything)
    u = somewhere(d)
    values = d.constrain(u)
    assert torch.isclose(d.log_prob(values), 2 * plain.log_prob(values | {"a": number(1.0)}))


def test_decided_samples_count_and_have_no_coordinates():
    d = density(substitute(everything, data={"a": number(1.0)})())
    assert "a" not in d.sites
    plain = density(everything)
    values = d.constrain(somewhere(d))
    assert torch.isclose(d.log_prob(values), plain.log_prob(values | {"a": number(1.0)}))


def test_parameters_come_from_the_store_and_get_gradients():
    def model():
        w = yield Param("w", 2.0)
        yield Sample("x", td.Normal(w, 1.0))

    store = ParamStore()
    d = density(model, params=store)
    d.log_prob({"x": torch.tensor(5.0)}).backward()
    (parameter,) = store.parameters()
    assert parameter.grad == 3.0


def test_factors_count():
    def model():
        x = yield Sample("x", ImproperUniform(constraints.real))
        yield factor("f", -0.5 * x**2)

    assert density(model)(torch.tensor([2.0], dtype=F64)) == -2.0


def test_data_can_be_swapped():
    d = density(Program(everything, Y))
    other = d.at(Program(everything, Y + 1))
    u = somewhere(d)
    assert torch.isclose(other(u), density(Program(everything, Y + 1))(u))
    with pytest.raises(StructureChanged, match=r"site 'z' has shape \(2,\) and had \(3,\)"):
        d.at(Program(everything, Y[:2]))(u)


def test_data_in_single_precision_is_made_double():
    def regression(x, y, more):
        b = yield Sample("b", td.Normal(torch.zeros(2), 1.0))
        s = yield Param("s", torch.ones(2))
        yield Observe("y", td.Normal(x @ (b * s) + more["offset"][0], 1.0), y)
        yield Observe("z", td.Normal(b[0], 1.0), torch.full((3,), 0.1))

    x, y = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), torch.arange(5.0)
    d = density(Program(regression, x, y, more={"offset": [torch.tensor(0.1)]}))
    u = torch.tensor([0.3, -0.2], dtype=F64)
    value, gradient = d.value_and_grad(u)
    assert value.dtype == gradient.dtype == F64
    mean = x.double() @ u + torch.tensor(0.1).double()
    exact = td.Normal(number(0.0), 1.0).log_prob(u).sum() + td.Normal(mean, 1.0).log_prob(y.double()).sum()
    assert torch.isclose(value, exact + 3 * td.Normal(u[0], 1.0).log_prob(torch.tensor(0.1).double()), rtol=1e-14)
    assert d.log_prob({"b": u.float()}).dtype == F64

    def closed():
        b = yield Sample("b", td.Normal(torch.zeros(2), 1.0))
        yield Observe("y", td.Normal(x @ b, 1.0), y)

    with pytest.raises(RuntimeError, match="dtype") as caught:
        density(closed)
    assert "give the program its data as arguments" in str(caught.value.__notes__)


@pytest.mark.parametrize("kind", ["f4", ">f8", "i4", "u2"])
def test_arrays_of_numpy_become_tensors(kind: str):
    def regression(x, y):
        b = yield Sample("b", td.Normal(torch.zeros(2, dtype=F64), 1.0))
        yield Observe("y", td.Normal((b * x["x"]).sum(-1), 1.0), y)

    x, y = np.arange(6).reshape(3, 2)[::-1].astype(kind), np.array([0.5, 1.0, 2.0], dtype="f4")
    u = torch.tensor([0.3, -0.2], dtype=F64)
    exact = density(Program(regression, {"x": torch.tensor([[4.0, 5.0], [2.0, 3.0], [0.0, 1.0]], dtype=F64)}, torch.tensor(y)))
    assert torch.equal(density(Program(regression, {"x": x}, y))(u), exact(u))


def test_nothing_is_drawn_and_out_of_bounds_is_no_error():
    before = torch.get_rng_state()
    d = density(seed(everything, seed=1)())
    assert torch.isfinite(d(torch.full((d.dim,), 3.0, dtype=F64)))
    assert not torch.isfinite(d(torch.full((d.dim,), 1e6, dtype=F64)))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("positive", [True, False])
def test_a_structure_that_depends_on_values_is_refused_by_site(positive: bool):
    def model():
        x = yield Sample("x", td.Normal(number(0.0), 1.0))
        yield Sample("small" if x <= 0 else "large", td.Normal(number(0.0), 1.0))

    d = density(model)
    u = torch.tensor([1.0, 0.0] if positive else [-1.0, 0.0], dtype=F64)
    if positive:
        with pytest.raises(StructureChanged, match="site 'large' was not there before; which sites there are"):
            d(u)
    else:
        assert torch.isfinite(d(u))


def test_a_site_that_is_left_out_later_is_named():
    def model():
        x = yield Sample("x", td.Normal(number(0.0), 1.0))
        if x <= 0:
            yield Sample("extra", td.Normal(number(0.0), 1.0))

    with pytest.raises(StructureChanged, match="did not reach extra"):
        density(model)(torch.tensor([1.0, 0.0], dtype=F64))


def in_another_order():
    x = yield Sample("x", td.Normal(number(0.0), 1.0))
    for name in ("a", "b") if x <= 0 else ("b", "a"):
        yield Sample(name, td.Normal(x, 1.0))


def with_another_support():
    x = yield Sample("x", td.Normal(number(0.0), 1.0))
    yield Sample("a", td.Normal(x, 1.0) if x <= 0 else td.Exponential(x))


@pytest.mark.parametrize(("model", "problem"), [
    (in_another_order, "site 'b' comes before 'a', and came after it"),
    (with_another_support, "site 'a' has another kind of support than it had: ExpTransform and AffineTransform, not the identity"),
])  # fmt: skip
def test_an_order_or_a_support_that_depends_on_values_is_refused_by_site(model, problem):
    d = density(model)
    u = torch.ones(d.dim, dtype=F64)
    assert d(-u).isfinite()
    for call in (lambda: d(u), lambda: d.log_prob({name: number(1.0) for name in d.sites})):
        with pytest.raises(StructureChanged, match=problem):
            call()


def test_data_that_changes_the_order_is_no_swap():
    def model(names):
        for name in names:
            yield Sample(name, td.Normal(0.0, 1.0))

    with pytest.raises(StructureChanged, match="site 'b' comes before 'a'"):
        density(Program(model, "ab")).at(Program(model, "ba"))


@pytest.mark.parametrize("position", [
    torch.zeros(13, dtype=F64), torch.zeros(11, dtype=F64), torch.zeros(1, 12, dtype=F64), torch.zeros((), dtype=F64), torch.zeros(12),
])  # fmt: skip
def test_a_position_must_fit(position):
    d = density(everything)
    for call in (d, d.value_and_grad, d.constrain, d.log_likelihood, lambda u: d.hessian_vector_product(u, u)):
        with pytest.raises(ValueError, match="expected 12 numbers in double precision, got torch.float"):
            call(position)
    with pytest.raises(ValueError, match=r"a vector of 12 numbers, got one of shape \(3,\)"):
        d.hessian_vector_product(torch.zeros(12, dtype=F64), torch.zeros(3, dtype=F64))


def test_where_the_gradient_is_constant_the_hessian_is_zero():
    def model():
        x = yield Sample("x", ImproperUniform(constraints.real, (2,)))
        yield factor("f", 3.0 * x[0])

    d = density(model)
    u = torch.ones(2, dtype=F64)
    assert torch.equal(d.value_and_grad(u)[1], torch.tensor([3.0, 0.0], dtype=F64))
    assert torch.equal(d.hessian_vector_product(u, u), torch.zeros(2, dtype=F64))
    assert torch.equal(density(Program(flat, ordered, (1,))).value_and_grad(u[:1])[1], torch.zeros(1, dtype=F64))


def test_a_gaussian_process_of_several_positions_at_once_says_nothing():
    def model():
        scale = yield Sample("s", td.LogNormal(number(0.0), 1.0))
        distance = torch.arange(3, dtype=F64)[:, None] - torch.arange(3)
        yield Observe("y", td.MultivariateNormal(torch.zeros(3, dtype=F64), torch.exp(-((distance / scale) ** 2))), Y)

    assert density(model).batch(torch.zeros(2, 1, dtype=F64)).isfinite().all()


def subsampled():
    @plate("data", 10, subsample_size=2)
    def body(index):
        yield Sample("x", td.Normal(0.0, 1.0))

    yield from body()


def discrete():
    yield Sample("k", td.Poisson(0.5))


def bare():
    yield Sample("b", lambda: torch.zeros(()))


def without_bijection():
    yield Sample("m", ImproperUniform(constraints.symmetric, (), (2, 2)))


def half_infinite():
    yield Sample("h", ImproperUniform(constraints.interval(-torch.inf, 0.0)))


def twice():
    yield Sample("x", td.Normal(0.0, 1.0))
    yield Sample("x", td.Normal(0.0, 1.0))


@pytest.mark.parametrize(("model", "error", "problem"), [
    (discrete, NotContinuous, "site 'k'.*infinitely many values"),
    (subsampled, NotContinuous, "site 'data'.*no support"),
    (bare, NoDensity, "site 'b'.*bare callable"),
    (without_bijection, NotContinuous, "site 'm': no bijection onto the support"),
    (half_infinite, NotContinuous, "site 'h'.*lower_bound=-inf.*is not finite"),
    (twice, StructureChanged, "sampled twice"),
])  # fmt: skip
def test_sites_without_coordinates_are_refused_by_name(model, error, problem):
    with pytest.raises(error, match=problem):
        density(model)


def test_values_by_name_must_be_all_there_and_fit():
    d = density(everything)
    values = d.constrain(somewhere(d))
    with pytest.raises(KeyError, match="no value for z; the latent sites are a, b, s"):
        d.log_prob({name: value for name, value in values.items() if name != "z"})
    with pytest.raises(KeyError, match="the program has no y, zz; the latent sites are a, b, s"):
        d.log_prob(values | {"zz": number(1.0), "y": Y})
    with pytest.raises(ValueError, match=r"site 'z': expected a value of shape \(3,\), got \(2,\)"):
        d.log_prob(values | {"z": torch.ones(2, dtype=F64)})
