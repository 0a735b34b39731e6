"""Which models run for many particles at once, that each particle is what it is alone, and that the others are found out."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import numpy
import pytest
import torch
from torch.distributions import (
    AffineTransform,
    Bernoulli,
    Categorical,
    Dirichlet,
    ExpTransform,
    HalfCauchy,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
)

from interpreters.errors import NotVectorizable, SubsampledWeight
from interpreters.importance import Plan, importance, in_lockstep_if_not, infer
from interpreters.weighted.varying import Lockstep
from interpreters.weighted.vectorization import try_two, vectorize, weighed
from poutine import (
    Coroutine,
    Deterministic,
    Message,
    Observe,
    Param,
    Program,
    Sample,
    SubstitutePoutine,
    batch_log_density,
    factor,
    mask,
    plate,
    run,
    scale,
    scope,
    trace,
)

X = torch.tensor([[0.0, 1.0], [1.0, -1.0], [2.0, 0.5]])
Y = torch.tensor([1.0, 2.0, 3.0])


def scalar() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    yield Observe("y", Normal, torch.tensor(1.0), z, 1.0)


def plated() -> Coroutine[None]:
    mu = yield Sample("mu", Normal, 0.0, 1.0)
    yield from effects(mu)


def effects(mu: torch.Tensor) -> Coroutine[None]:
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


# What does not broadcast over a leading dimension: inside of vmap, nobody needs to


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


def as_many_sites_as_numbers() -> Coroutine[None]:
    z = yield Sample("z", Normal(torch.zeros(2), 1.0))
    for i in range(z.numel()):
        yield Observe(f"y_{i}", Normal(z[i], 1.0), torch.tensor(1.0))


def matrix_product() -> Coroutine[None]:
    beta = yield Sample("beta", Independent(Normal(torch.zeros(2), 1.0), 1))
    yield Observe("y", Normal, Y, X @ beta, 1.0)


def event_and_batch() -> Coroutine[None]:
    mu = yield Sample("mu", Normal, 0.0, 1.0)
    theta = yield Sample("theta", Independent(Normal(torch.zeros(3), 1.0), 1))
    yield Observe("y", Normal, Y, mu + theta, 1.0)


def with_a_maximum() -> Coroutine[None]:
    r = yield Sample("r", Normal(torch.zeros(4), 1.0))
    yield Observe("y", Normal, torch.tensor(1.5), torch.relu(r - 1.0).max(), 1.0)


def mixed() -> Coroutine[None]:
    """Distributions that are made of distributions, with parameters that differ from particle to particle."""
    w = yield Sample("w", Dirichlet(torch.ones(3)))
    m = yield Sample("m", MixtureSameFamily(Categorical(w), Normal(torch.tensor([-1.0, 0.0, 1.0]), 1.0)))
    a = yield Sample("a", TransformedDistribution(Normal(torch.zeros(2), 1.0), [AffineTransform(m, 2.0), ExpTransform()]))
    yield Observe("y", MixtureSameFamily(Categorical(w), Normal(torch.tensor([-1.0, 0.0, 1.0]) * a.sum(), 1.0)), Y)


def scaled_and_masked() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    yield from scale(mask(effects, Y > z), scale=z.exp())(z)


@pytest.mark.parametrize(
    "model",
    [
        scalar,
        plated,
        regression,
        shared_distribution,
        multivariate,
        discrete,
        with_a_factor_and_a_constant,
        with_dice,
        with_a_parameter,
        partial(subsampled, torch.tensor([0, 2])),
        in_a_loop,
        summed,
        first,
        averaged_only_in_what_is_computed,
        as_many_sites_as_numbers,
        matrix_product,
        event_and_batch,
        with_a_maximum,
        mixed,
        scaled_and_masked,
    ],
)
def test_a_particle_is_what_it_is_alone(model: Callable[..., Any]):
    """The law of ``vmapped``."""
    plan = vectorize(Program(model))
    particles = run(Program(importance, Program(model), 7, None, plan), 3)
    assert particles.log_weights.shape == (7,)
    for k in (0, 3, 6):
        own = {name: values[k] for name, values in particles.draws.items() if plan.trace[name].type == "sample"}
        given = SubstitutePoutine(model, own)
        alone = run(trace(given).traced())
        drawn = sum((batch_log_density(alone[name].evolve(scale=1.0)).sum() for name in own), start=torch.zeros(()))
        assert particles.log_weights[k].item() == pytest.approx((alone.log_pdf() - drawn).item(), rel=1e-5, abs=1e-5)
        for name, values in particles.draws.items():
            assert torch.allclose(values[k], torch.as_tensor(alone[name].value), atol=1e-6)


@pytest.mark.parametrize("model", [scalar, plated, matrix_product, mixed])
def test_each_particle_has_draws_of_its_own(model: Callable[..., Any]):
    draws = run(Program(importance, Program(model), 7, None, vectorize(Program(model)))).draws
    assert all(len(values.reshape(7, -1).unique(dim=0)) == 7 for values in draws.values())


@pytest.mark.parametrize("at_once", [True, False])
def test_a_plate_that_draws_its_index_makes_no_weight(at_once: bool):
    with pytest.raises(SubsampledWeight, match="site 'data': it draws the index of a subsampled plate.*take the whole"):
        plan = vectorize(Program(subsampled)) if at_once else Lockstep()
        run(Program(importance, Program(subsampled), 7, None, plan))


def test_a_particle_that_alone_takes_another_branch_takes_it():
    """One in 64 does; no reduction over particles hides it."""

    def model(y: torch.Tensor) -> Coroutine[None]:
        x = yield Sample("x", Independent(Normal(torch.zeros(6), 1.0), 1))
        yield Observe("y", Normal(3.0 if (x > 0).all() else 0.0, 0.3), y)

    posterior = infer(Program(model, torch.tensor(3.0)), 2000, seed=0)
    exact = torch.tensor([1 / 64, 63 / 64]).log() + Normal(torch.tensor([3.0, 0.0]), 0.3).log_prob(torch.tensor(3.0))
    assert abs(posterior.log_evidence - exact.logsumexp(0)) < 4 * posterior.log_evidence_error


# What vmap refuses


def branching() -> Coroutine[None]:
    z = yield Sample("z", Bernoulli(0.5))
    yield Observe("y", Normal, torch.tensor(1.0), 1.0 if z else -1.0, 1.0)


def branching_on_all() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    yield Observe("y", Normal, torch.tensor(1.0), 2.0 if (z > 0).any() else -1.0, 1.0)


def itemized() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    yield Observe("y", Normal, torch.tensor(1.0), z.item(), 1.0)


def named_by_a_value() -> Coroutine[None]:
    z = yield Sample("z", Bernoulli(0.5))
    yield Sample(f"x_{z:.0f}", Normal(0.0, 1.0))


def written_in_place() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    mean = torch.zeros(3)
    mean[0] = z
    yield Observe("y", Normal, Y, mean, 1.0)


def shared_call() -> Coroutine[None]:
    x = yield Sample("x", lambda: torch.randn(()))
    yield Observe("y", Normal, torch.tensor(1.0), x, 1.0)


def constant_call() -> Coroutine[None]:
    yield Sample("x", lambda: torch.zeros(()))


def random_by_itself() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    yield Observe("y", Normal, torch.tensor(1.0), z + torch.randn(()), 1.0)


def random_by_numpy() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    yield Observe("y", Normal, torch.tensor(1.0), z + numpy.random.randn(), 1.0)


GENERATOR = numpy.random.default_rng(0)


def random_by_a_generator(kind: Any = None) -> Coroutine[None]:
    """A coin, which falls twice the same in half of the trials."""
    z = yield Sample("z", Normal(0.0, 1.0))
    yield Observe("y", Normal(z + float(coin() if kind is None else kind.choice([0.0, 1.0])), 1.0), torch.tensor(1.0))


def coin() -> int:
    return int(GENERATOR.integers(2))


def random_by_a_new_generator() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    yield Observe("y", Normal(z + numpy.random.default_rng().normal(), 1.0), torch.tensor(1.0))


def random_by_a_generator_of_torch() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    yield Observe("y", Normal(z + torch.randn((), generator=torch.Generator()), 1.0), torch.tensor(1.0))


class Holder:
    generator = random.Random(0)

    def model(self) -> Coroutine[None]:
        yield from random_by_a_generator(self.generator)


def saved_from_an_invalid_argument() -> Coroutine[None]:
    """It is invalid in some particles."""
    z = yield Sample("z", Normal(0.0, 1.0))
    try:
        noise = Normal(z, z)
    except ValueError:
        noise = Normal(z, 1.0)
    yield Observe("y", noise, torch.tensor(1.0))


def saved_from_a_singular_matrix() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    try:
        root = torch.linalg.cholesky(z * torch.eye(2))
    except RuntimeError:
        root = torch.eye(2)
    yield Observe("y", MultivariateNormal(torch.zeros(2), scale_tril=root), torch.ones(2))


def saved_from_vmap() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    try:
        sign = 1.0 if z > 0 else -1.0
    except RuntimeError:
        sign = 0.0
    yield Observe("y", Normal(sign, 1.0), torch.tensor(1.0))


def with_a_parameter_of_its_own() -> Coroutine[None]:
    z = yield Sample("z", Normal(0.0, 1.0))
    yield Param("w", z)


@attrs.frozen(slots=False, eq=False)
class Ask(Message):
    """A message of the user's own."""


def asking() -> Coroutine[None]:
    yield Ask("what", value=1.0)
    yield Ask("which")


@pytest.mark.parametrize(
    "model, text",
    [
        (branching, r"1.0 if z else -1.0.* \(test_vectorization.py:[0-9]+\) raises RuntimeError: .*data-dependent control flow$"),
        (branching_on_all, "data-dependent control flow"),
        (itemized, r"z.item\(\)"),
        (named_by_a_value, "x_"),
        (written_in_place, "mean.0. = z"),
        (shared_call, "random operation"),
        (constant_call, "'x': .* is a bare callable"),
        (random_by_itself, r"torch.randn\(\(\)\)"),
        (saved_from_an_invalid_argument, "goes on after .*an argument of a distribution is invalid"),
        (saved_from_a_singular_matrix, "goes on after .*factorization could not be completed"),
        (saved_from_vmap, "goes on after .*data-dependent"),
        (random_by_numpy, "draws from a generator of numpy or random"),
        (random_by_a_generator, "draws from a generator of numpy or random"),
        (partial(random_by_a_generator, random.Random(0)), "draws from a generator of numpy or random"),
        (partial(random_by_a_generator, numpy.random.RandomState(0)), "draws from a generator of numpy or random"),
        (Holder().model, "draws from a generator of numpy or random"),
        (random_by_a_new_generator, "run twice with the same draws, it computes different values"),
        (random_by_a_generator_of_torch, "random operation"),
        (with_a_drawn_die, r"'x': Die\(\) is none of torch's distributions"),
        (with_a_parameter_of_its_own, "'w'.* is each particle's own"),
    ],
)
def test_what_runs_for_one_particle_at_a_time_is_found_out(model: Callable[..., Any], text: str):
    with pytest.raises(NotVectorizable, match=text):
        try_two(lambda _: Program(weighed, Program(model), None))


def test_a_line_without_a_text_is_told_by_its_number():
    names: dict[str, Any] = {"Sample": Sample, "Bernoulli": Bernoulli}
    exec("def model():\n    z = yield Sample('z', Bernoulli(0.5))\n    return 1.0 if z else 2.0", names)
    with pytest.raises(NotVectorizable, match="at once, <string>:3 raises RuntimeError"):
        vectorize(Program(names["model"]))


def test_a_generator_that_is_the_same_in_each_particle_and_one_that_is_not_drawn_from_are_no_matter():
    def model() -> Coroutine[None]:
        z = yield Sample("z", Normal(0.0, 1.0))
        assert GENERATOR is not None  # it is held, and not drawn from
        yield Observe("y", Normal(z + numpy.random.default_rng(0).normal(), 1.0), torch.tensor(1.0))

    vectorize(Program(model))


def test_a_message_of_the_users_own_is_asked_for_one_particle_at_a_time():
    with pytest.raises(NotVectorizable, match="Ask 'which' cannot be asked for all particles at once"):
        try_two(lambda _: Program(asking))


def test_a_guide_that_branches_is_found_out():
    def guide() -> Coroutine[None]:
        z = yield Sample("z", Normal(0.0, 1.0))
        yield Deterministic("sign", 1.0 if z > 0 else -1.0)

    with pytest.raises(NotVectorizable, match="if z > 0"):
        vectorize(Program(scalar), Program(guide))


def test_a_guide_may_have_more_dimensions_than_the_model():
    def guide() -> Coroutine[None]:
        yield Deterministic("table", torch.zeros(2, 3))
        yield Sample("z", Normal(0.0, 1.0))

    plan = vectorize(Program(scalar), Program(guide))
    assert run(Program(importance, Program(scalar), 4, Program(guide), plan)).draws["z"].shape == (4,)


def test_what_is_refused_in_a_whole_batch_only_ends_in_lockstep(caplog: pytest.LogCaptureFixture):
    plan, attempts = vectorize(Program(scalar)), []

    def algorithm(plan: Plan) -> int:
        attempts.append(plan)
        if not isinstance(plan, Lockstep):
            raise NotVectorizable("too many")
        return 1

    assert in_lockstep_if_not(algorithm, plan) == 1
    assert attempts[0] is plan and isinstance(attempts[1], Lockstep)
    assert "particles run in lockstep, which is slower: too many" in caplog.text
    with pytest.raises(NotVectorizable, match="not even so"):
        in_lockstep_if_not(lambda _: _raise(NotVectorizable("not even so")), plan)


def _raise(error: Exception) -> int:
    raise error


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
