"""Which models run for many particles at once, and that the others are found out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Dirichlet, HalfCauchy, Independent, MultivariateNormal, Normal

from interpreters.errors import NotVectorizable, SubsampledWeight
from interpreters.importance import importance, infer
from interpreters.weighted.varying import Lockstep
from interpreters.weighted.vectorization import vectorize
from poutine import Coroutine, Deterministic, Observe, Param, Program, Sample, factor, plate, run, scope, substitute, trace

X = torch.tensor([[0.0, 1.0], [1.0, -1.0], [2.0, 0.5]])
Y = torch.tensor([1.0, 2.0, 3.0])


def scalar() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    yield Observe("y", Normal, torch.tensor(1.0), z, 1.0)


def plated() -> Coroutine[None]:
    mu = yield Sample("mu", Normal, 0.0, 1.0)

    @plate("outer", 3)
    def outer(_: Any) -> Coroutine[None]:
        theta = yield Sample("theta", Normal, mu, 1.0)

        @plate("inner", 2)
        def inner(_: Any) -> Coroutine[None]:
            yield Observe("x", Normal, X.T, theta, 1.0)

        yield from inner()

    yield from outer()


def regression() -> Coroutine[None]:
    beta = yield Sample("beta", Independent(Normal(torch.zeros(2), 1.0), 1))
    mean = yield Deterministic("mean", (X * beta).sum(dim=-1))
    yield Observe("y", Normal, Y, mean, 1.0)


def shared_distribution() -> Coroutine[None]:
    """The data has more dimensions than the distribution."""
    mu = yield Sample("mu", Normal, 0.0, 1.0)
    yield Observe("y", Normal, Y, mu, 1.0)


def multivariate() -> Coroutine[None]:
    z = yield Sample("z", MultivariateNormal(torch.zeros(3), torch.eye(3)))
    w = yield Sample("w", Dirichlet(torch.ones(3)))
    yield Observe("y", MultivariateNormal, Y, z * w, torch.eye(3))


def discrete() -> Coroutine[None]:
    k = yield Sample("k", Categorical(torch.ones(3)))
    yield Observe("y", Normal, torch.tensor(1.0), torch.tensor([0.0, 1.0, 2.0])[k], 1.0)


def with_a_factor_and_a_constant() -> Coroutine[None]:
    z = yield Sample("z", Normal, 0.0, 1.0)
    yield Deterministic("constant", Y)
    yield Observe("w", Normal(0.0, 1.0), torch.tensor(1.0))
    yield factor("penalty", -z.square())


@attrs.frozen
class Die:
    """A distribution that does not tell its shapes."""

    def sample(self) -> torch.Tensor:
        return torch.randint(6, ())

    def log_prob(self, value: torch.Tensor, /) -> torch.Tensor:
        return torch.full(value.shape, -1.8)


def with_dice() -> Coroutine[None]:
    """What is the same for all particles counts in each."""
    yield Observe("dice", Die(), torch.tensor([3, 4]))
    z = yield Sample("z", Normal, 0.0, 1.0)
    yield Observe("y", Normal, torch.ones(7, 2), z, 1.0)


def with_a_drawn_die() -> Coroutine[None]:
    x = yield Sample("x", Die())
    yield Observe("y", Normal, torch.tensor(1.0), x, 1.0)


def with_a_parameter() -> Coroutine[None]:
    loc = yield Param("loc", torch.zeros(3))
    z = yield Sample("z", Normal, loc, 1.0)
    yield Observe("y", Normal, Y, z, 1.0)


def subsampled(index: torch.Tensor | None = None) -> Coroutine[None]:
    mu = yield Sample("mu", Normal, 0.0, 1.0)

    @plate("data", 3, 2, index)
    def data(index: torch.Tensor) -> Coroutine[None]:
        yield Observe("y", Normal, Y[index], mu, 1.0)

    yield from data()


def in_a_loop() -> Coroutine[None]:
    """Sequential plates and scopes have names of their own; they need no dimension."""
    mu = yield Sample("mu", Normal, 0.0, 1.0)

    @plate("steps", 3, vectorized=False)
    def step(i: int) -> Coroutine[None]:
        x = yield from scope(scalar, prefix=f"step_{i}")()
        yield Observe(f"y_{i}", Normal, Y[i], mu if x is None else x, 1.0)

    yield from step()


@pytest.mark.parametrize(
    "model, dim",
    [
        (scalar, -1),
        (plated, -3),
        (regression, -2),
        (shared_distribution, -2),
        (multivariate, -1),
        (discrete, -1),
        (with_a_factor_and_a_constant, -2),
        (with_dice, -3),
        (with_a_drawn_die, -1),
        (with_a_parameter, -2),
        (partial(subsampled, torch.tensor([0, 2])), -2),
        (in_a_loop, -1),
    ],
)
def test_a_model_that_broadcasts_runs_at_once_left_of_its_dimensions(model: Callable[..., Any], dim: int):
    plan = vectorize(Program(model))
    assert plan.dim == dim
    particles = run(Program(importance, Program(model), 7, None, plan))
    assert particles.log_weights.shape == (7,)
    assert all(values.shape == (7, *plan.shapes[name]) for name, values in particles.draws.items())
    alone = run(trace(substitute(model, {name: values[3] for name, values in particles.draws.items()}, strict=False)).traced())
    assert particles.log_weights[3].item() == pytest.approx(alone.log_pdf(lambda _, site: site.is_observed).item(), rel=1e-5)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_plate_that_draws_its_index_makes_no_weight(at_once: bool):
    plan = vectorize(Program(subsampled)) if at_once else Lockstep()
    with pytest.raises(SubsampledWeight, match="site 'data': it draws the index of a subsampled plate.*take the whole"):
        run(Program(importance, Program(subsampled), 7, None, plan))


def _rare(bound: float) -> Coroutine[None]:
    """Written for one particle; a batch of thousands takes another branch than a few."""
    r = yield Sample("r", Normal, 0.0, 1.0)
    if (r.abs() > bound).any():
        r = r * 0.0
    yield Observe("y", Normal, torch.tensor(1.5), r, 1.0)


def test_a_batch_that_takes_another_branch_than_a_few_is_noticed(caplog: pytest.LogCaptureFixture):
    model = Program(_rare, 3.0)
    plan = vectorize(model)  # a few cannot tell
    with pytest.raises(NotVectorizable, match="site 'y': its log density is .* when this one is run alone"):
        run(Program(importance, model, 3000, None, plan))
    posterior = infer(model, 3000, seed=0)
    assert "particles run in lockstep, which is slower: site 'y'" in caplog.text
    exact = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    weights = (-(exact**2) / 2 - (1.5 - torch.where(exact.abs() > 3, 0.0, exact)) ** 2 / 2).exp()
    mean, found = (weights * exact).sum() / weights.sum(), posterior.summary()["r"]
    assert abs(found.mean - mean) < 4 * found.mcse


def test_a_maximum_over_the_batch_is_noticed():
    def model() -> Coroutine[None]:
        r = yield Sample("r", Normal, 0.0, 1.0)
        yield Observe("y", Normal, torch.tensor(1.5), r + torch.relu(r - 3.0).max(), 1.0)

    with pytest.raises(NotVectorizable, match="site 'y'"):
        run(Program(importance, Program(model), 3000, None, vectorize(Program(model))), 1)


# What is silently wrong, or raises


def summed() -> Coroutine[None]:
    theta = yield Sample("theta", Normal(torch.zeros(3), 1.0))
    yield Observe("y", Normal, torch.tensor(1.0), theta.sum(), 1.0)


def first() -> Coroutine[None]:
    theta = yield Sample("theta", Normal(torch.zeros(3), 1.0))
    yield Observe("y", Normal, torch.tensor(1.0), theta[0], 1.0)


def averaged_only_in_what_is_computed() -> Coroutine[None]:
    theta = yield Sample("theta", Normal(0.0, 1.0))
    yield Deterministic("mean", theta.mean())
    yield Observe("y", Normal, torch.tensor(1.0), theta, 1.0)


def branching() -> Coroutine[None]:
    z = yield Sample("z", Bernoulli(0.5))
    yield Observe("y", Normal, torch.tensor(1.0), 1.0 if z else -1.0, 1.0)


def branching_on_all() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    yield Observe("y", Normal, torch.tensor(1.0), 2.0 if (z > 0).any() else -1.0, 1.0)


def other_sites() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    for i in range(z.numel()):
        yield Sample(f"x_{i}", Normal(0.0, 1.0))


def itemized() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    yield Observe("y", Normal, torch.tensor(1.0), z.item(), 1.0)


def matrix_product() -> Coroutine[None]:
    beta = yield Sample("beta", Independent(Normal(torch.zeros(2), 1.0), 1))
    yield Observe("y", Normal, Y, X @ beta, 1.0)


def event_and_batch() -> Coroutine[None]:
    """With n particles mu is [n, 1], theta is [n, 1, 3], and their sum is [n, n, 3]."""
    mu = yield Sample("mu", Normal, 0.0, 1.0)
    theta = yield Sample("theta", Independent(Normal(torch.zeros(3), 1.0), 1))
    yield Observe("y", Normal, Y, mu + theta, 1.0)


def shared_call() -> Coroutine[None]:
    x = yield Sample("x", lambda: torch.randn(()))
    yield Observe("y", Normal, torch.tensor(1.0), x, 1.0)


@pytest.mark.parametrize(
    "model, text",
    [
        (summed, "'y': its log density"),
        (first, "'y'"),
        (averaged_only_in_what_is_computed, "'mean': its value"),
        (branching, "raises RuntimeError: Boolean value"),
        (branching_on_all, "'y': its log density"),
        (other_sites, "its sites are"),
        (itemized, "raises RuntimeError"),
        (matrix_product, "raises"),
        (event_and_batch, "'y'"),
        (shared_call, "'x': .* is a bare callable, which draws for all elements"),
    ],
)
def test_a_model_that_does_not_broadcast_is_found_out(model: Callable[..., Any], text: str):
    with pytest.raises(NotVectorizable, match=text):
        vectorize(Program(model))


def test_a_guide_that_does_not_broadcast_is_found_out():
    def guide() -> Coroutine[None]:
        z = yield Sample("z", Normal(0.0, 1.0))
        yield Deterministic("twice", 2 * z.sum())

    with pytest.raises(NotVectorizable, match="'twice'"):
        vectorize(Program(scalar), Program(guide))


def test_a_guide_may_need_more_dimensions_than_the_model():
    def guide() -> Coroutine[None]:
        yield Deterministic("table", torch.zeros(2, 3))
        yield Sample("z", Normal(0.0, 1.0))

    plan = vectorize(Program(scalar), Program(guide))
    assert plan.dim == -3
    assert run(Program(importance, Program(scalar), 4, Program(guide), plan)).draws["z"].shape == (4,)


def test_an_error_of_the_model_itself_is_no_matter_of_particles():
    def broken() -> Coroutine[None]:
        yield Sample("x", HalfCauchy(1.0))
        raise ZeroDivisionError("in the model")

    with pytest.raises(ZeroDivisionError, match="in the model"):
        vectorize(Program(broken))


def test_batches_are_smaller_where_a_particle_is_larger():
    def large() -> Coroutine[None]:
        yield Sample("x", Normal(torch.zeros(2_000), 1.0))

    assert vectorize(Program(large)).batch_size == 524
    assert vectorize(Program(scalar)).batch_size > 100_000
