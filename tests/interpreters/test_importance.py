"""Importance sampling: exact laws by enumeration and conjugacy, Monte Carlo error bars, and what is outside of it."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator
from typing import Any

import numpy
import pytest
import torch
from torch.distributions import Bernoulli, Categorical, HalfNormal, Normal, Uniform

from interpreters.errors import DegenerateWeights, GuideMismatch
from interpreters.importance import importance, importance_resampling, infer
from interpreters.posterior import Posterior
from interpreters.weighted.particles import Particles, joined
from interpreters.weighted.varying import Lockstep
from interpreters.weighted.vectorization import vectorize
from poutine import (
    Coroutine,
    Deterministic,
    DistributionError,
    DuplicateSite,
    MaskPoutine,
    Observe,
    Param,
    ParamStore,
    Program,
    Sample,
    ScalePoutine,
    SubstitutePoutine,
    Trace,
    log_density,
    plate,
    run,
    substitute,
    trace,
)
from tests.interpreters.enumeration import expectation, unnormalized


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


def finite() -> Coroutine[None]:
    """Two choices, the second of which depends on the first."""
    a = yield Sample("a", Bernoulli(f64(0.3)))
    b = yield Sample("b", Categorical, torch.stack([0.2 + 0.3 * a, 0.5 - 0.4 * a, 0.3 + 0.1 * a], dim=-1))
    yield Observe("y", Normal, f64(1.2), a + b, f64(0.8))


def finite_guide() -> Coroutine[None]:
    yield Sample("b", Categorical, f64(0.5, 0.2, 0.3))


def full_guide() -> Coroutine[None]:
    b = yield Sample("b", Categorical, f64(0.5, 0.2, 0.3))
    yield Sample("a", Bernoulli, f64(0.1) + f64(0.4) * b)


def bounded(y: torch.Tensor) -> Coroutine[None]:
    """A draw of theta below an observation is impossible."""
    theta = yield Sample("theta", HalfNormal(f64(5.0)))
    yield Observe("y", Uniform, y, f64(0.0), theta)


def scaled_guide() -> Coroutine[None]:
    """It draws as before: a scale is no part of what is drawn."""
    yield from ScalePoutine(full_guide, 0.5)()


def branching() -> Coroutine[None]:
    """Which sites there are depends on a draw."""
    a = yield Sample("a", Bernoulli(f64(0.3)))
    if a:
        b = yield Sample("b", Bernoulli(f64(0.9)))
        yield Observe("y", Bernoulli(0.25 + 0.5 * b), f64(1.0))


def scaled() -> Coroutine[None]:
    yield from ScalePoutine(finite, 2.5)()


def decided() -> Coroutine[None]:
    """One choice is taken inside of the model: it is no draw, and its density counts."""
    yield from SubstitutePoutine(finite, {"b": torch.tensor(2)})()


def masked() -> Coroutine[None]:
    a = yield Sample("a", Bernoulli(f64(0.3)))
    yield from MaskPoutine(noisy, torch.tensor(False))(a)
    yield from MaskPoutine(noisier, torch.tensor(True))(a)


def noisy(a: torch.Tensor) -> Coroutine[None]:
    yield Observe("y", Normal, f64(9.0), a, f64(0.1))


def noisier(a: torch.Tensor) -> Coroutine[None]:
    yield Observe("x", Normal, f64(0.4), a, f64(2.0))


MODELS = [
    pytest.param(finite, None, id="prior"),
    pytest.param(finite, finite_guide, id="partial guide"),
    pytest.param(finite, full_guide, id="guide in another order"),
    pytest.param(finite, scaled_guide, id="scaled guide"),
    pytest.param(branching, None, id="branching"),
    pytest.param(scaled, None, id="scaled"),
    pytest.param(scaled, finite_guide, id="scaled, with a guide"),
    pytest.param(decided, None, id="decided"),
    pytest.param(masked, None, id="masked"),
]
BROADCASTING = [case for case in MODELS if case.values[0] is not branching]


def point_of_trace(t: Any) -> tuple[float, ...]:
    return tuple(t[name].value.item() if name in t else math.nan for name in ("a", "b"))


def points(draws: Any, n: int) -> list[tuple[float, ...]]:
    return [tuple(draws[name][i].item() if name in draws else math.nan for name in ("a", "b")) for i in range(n)]


def weighted_points(particles: Particles) -> Iterator[tuple[Any, float]]:
    n = len(particles.log_weights)
    for point, log_weight in zip(points(particles.draws, n), particles.log_weights.tolist(), strict=True):
        yield repr(point), math.exp(log_weight) / n


def resampled_points(posterior: Posterior) -> Iterator[tuple[Any, float]]:
    n = len(posterior.ancestors)
    for point in points(posterior.resampled(), n):
        yield repr(point), math.exp(posterior.log_evidence) / n


def exactly(measure: Any) -> Any:
    return pytest.approx({repr(point): weight for point, weight in measure.items()}, abs=0, rel=1e-12)


@pytest.mark.parametrize("num_particles", [1, 2])
@pytest.mark.parametrize("model, guide", MODELS)
def test_the_expected_weighted_output_is_the_models_measure(model: Any, guide: Any, num_particles: int):
    algorithm = Program(importance, Program(model), num_particles, guide and Program(guide))
    assert expectation(algorithm, weighted_points) == exactly(unnormalized(Program(model), point_of_trace))


@pytest.mark.parametrize("num_particles", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("model, guide", MODELS)
def test_so_it_is_in_lockstep(model: Any, guide: Any, num_particles: int):
    algorithm = Program(importance, Program(model), num_particles, guide and Program(guide), Lockstep())
    assert expectation(algorithm, weighted_points) == exactly(unnormalized(Program(model), point_of_trace))


@pytest.mark.parametrize("num_particles", [1, 2])
@pytest.mark.parametrize("model, guide", BROADCASTING)
def test_so_it_is_for_particles_at_once(model: Any, guide: Any, num_particles: int):
    guided = guide and Program(guide)
    algorithm = Program(importance, Program(model), num_particles, guided, vectorize(Program(model), guided))
    assert expectation(algorithm, weighted_points) == exactly(unnormalized(Program(model), point_of_trace))


@pytest.mark.parametrize("num_draws", [1, 2, None])
def test_so_it_is_for_resampled_draws_weighted_by_the_estimated_evidence(num_draws: int | None):
    algorithm = Program(importance_resampling, Program(finite), 2, Program(finite_guide), None, num_draws)
    assert expectation(algorithm, resampled_points) == exactly(unnormalized(Program(finite), point_of_trace))


# Conjugate normal: z ~ N(0, 1), y | z ~ N(z, 1)


def conjugate(y: torch.Tensor) -> Coroutine[None]:
    z = yield Sample("z", Normal, f64(0.0), f64(1.0))
    yield Observe("y", Normal, y, z, f64(1.0))


def exact_posterior(y: torch.Tensor) -> Coroutine[None]:
    yield Sample("z", Normal, y / 2, f64(0.5).sqrt())


Y = f64(1.7)
LOG_EVIDENCE = Normal(f64(0.0), f64(2.0).sqrt()).log_prob(Y).item()


@pytest.mark.parametrize("at_once", [False, True])
def test_with_the_exact_posterior_as_guide_every_weight_is_the_evidence(at_once: bool):
    model, guide = Program(conjugate, Y), Program(exact_posterior, Y)
    particles = run(Program(importance, model, 50, guide, vectorize(model, guide) if at_once else None))
    assert particles.log_weights.tolist() == pytest.approx([LOG_EVIDENCE] * 50, abs=1e-12)


@pytest.mark.parametrize("at_once", [False, True])
def test_with_the_prior_as_guide_the_weight_is_the_density_of_the_observations(at_once: bool):
    model = Program(conjugate, Y)
    particles = run(Program(importance, model, 50, None, vectorize(model) if at_once else None))
    assert torch.equal(particles.log_weights, Normal(particles.draws["z"], f64(1.0)).log_prob(Y))
    assert len(particles.draws["z"].unique()) == 50


@pytest.mark.parametrize("at_once", [False, True])
def test_the_log_evidence_lies_within_its_error_bar(at_once: bool):
    n = 20_000 if at_once else 500
    model = Program(conjugate, Y)
    posterior = run(Program(importance_resampling, model, n, None, vectorize(model) if at_once else None), seed=1)
    assert abs(posterior.log_evidence - LOG_EVIDENCE) < 4 * posterior.log_evidence_error < 0.3
    row = posterior.summary()["z"]
    assert abs(row.mean - Y.item() / 2) < 4 * row.mcse
    assert row.sd == pytest.approx(math.sqrt(0.5), abs=4 * row.mcse)  # the sd of the sd is below that of the mean


def test_the_error_bar_of_the_log_evidence_is_as_wide_as_it_spreads():
    model = Program(conjugate, Y)
    plan = vectorize(model)
    results = [run(Program(importance_resampling, model, 1000, None, plan), seed) for seed in range(100)]
    spread = numpy.std([result.log_evidence for result in results], ddof=1)
    claimed = numpy.mean([result.log_evidence_error for result in results])
    assert spread / claimed == pytest.approx(1.0, abs=4 / math.sqrt(2 * 99))  # the relative error of a standard deviation


# The algorithm as a program


def schools(y: torch.Tensor) -> Coroutine[None]:
    mu = yield Sample("mu", Normal, 0.0, 5.0)

    @plate("school", len(y))
    def school(_: torch.Tensor) -> Coroutine[None]:
        theta = yield Sample("theta", Normal, mu, 3.0)
        yield Deterministic("twice", 2 * theta)
        yield Observe("y", Normal, y, theta, 1.0)

    yield from school()


SCHOOLS = Program(schools, torch.tensor([1.0, 2.0, 4.0]))


def test_an_outer_trace_sees_the_draws_each_under_its_own_name():
    one_by_one = run(trace(importance_resampling).traced(SCHOOLS, 2, None, None, 1))
    assert list(one_by_one) == ["_INPUT", "particle_0/mu", "particle_0/theta", "particle_1/mu", "particle_1/theta", "ancestors", "_RETURN"]
    at_once = run(trace(importance_resampling).traced(SCHOOLS, 50, None, vectorize(SCHOOLS), 1))
    assert list(at_once) == ["_INPUT", "batch_0/mu", "batch_0/theta", "ancestors", "_RETURN"]
    assert at_once["batch_0/mu"].value.shape == (50, 1)


def test_the_density_of_an_outer_trace_is_that_of_the_algorithms_draws():
    outer = run(trace(importance).traced(Program(conjugate, Y), 2, Program(exact_posterior, Y)))
    draws = outer["_RETURN"].value.draws["z"]
    assert outer.log_pdf().item() == pytest.approx(Normal(Y / 2, f64(0.5).sqrt()).log_prob(draws).sum().item(), rel=1e-12)


def test_handlers_apply_to_the_algorithm():
    fixed = substitute(importance, data={"particle_1/z": f64(0.25)})(Program(conjugate, Y), 3)
    assert run(fixed).draws["z"][1] == 0.25


def test_batches_of_different_sizes_are_joined_where_one_has_not_the_site():
    parts = [Particles({"x": torch.ones(3, 2)}, torch.zeros(3), Trace()), Particles({}, torch.zeros(2), Trace())]
    for order in (parts, parts[::-1]):
        whole = joined(order)
        assert whole.draws["x"].shape == (5, 2)
        assert int(whole.draws["x"].isnan().all(1).sum()) == 2


def test_batches_are_joined():
    plan = vectorize(SCHOOLS)
    small = type(plan)(plan.dim, plan.shapes, 4)
    assert small.batches(10) == [4, 4, 2]
    particles = run(Program(importance, SCHOOLS, 10, None, small))
    assert particles.draws["theta"].shape == (10, 3) and particles.draws["mu"].shape == (10,)
    assert len(particles.draws["mu"].unique()) == 10
    assert torch.equal(particles.draws["twice"], 2 * particles.draws["theta"])
    expected = Normal(particles.draws["theta"], 1.0).log_prob(SCHOOLS.args[0]).sum(dim=1)
    assert torch.allclose(particles.log_weights, expected)


@pytest.mark.parametrize("num_particles", [1, 3, 5])
def test_as_many_particles_as_elements_of_a_plate(num_particles: int):
    particles = run(Program(importance, SCHOOLS, num_particles, None, vectorize(SCHOOLS)))
    expected = Normal(particles.draws["theta"], 1.0).log_prob(SCHOOLS.args[0]).sum(dim=1)
    assert torch.allclose(particles.log_weights, expected) and particles.log_weights.shape == (num_particles,)


@pytest.mark.parametrize("plan", [None, Lockstep(), Lockstep(15)])
def test_a_site_that_is_in_some_particles_only_is_nan_in_the_others(plan: Any):
    draws = run(Program(importance, Program(branching), 40, None, plan)).draws
    assert torch.equal(draws["b"].isnan(), draws["a"] == 0)


def test_in_lockstep_particles_weigh_what_they_weigh_one_by_one():
    """Also where their structure varies, and a name comes back in another round."""

    def wandering() -> Coroutine[None]:
        n, x = 0, f64(0.0)
        while n < 3 and bool((yield Sample(f"go_{n}", Bernoulli, 0.7))):
            x = yield Sample(f"x_{n}", Normal, x, f64(1.0))
            n += 1
        yield Observe("end", Normal, f64(0.5), x, f64(1.0))

    together = run(Program(importance, Program(wandering), 200, None, Lockstep(150)))
    assert len(together.log_weights) == 200
    for i in (0, 7, 149, 150, 199):
        data = {name: draws[i] for name, draws in together.draws.items() if not draws[i].isnan()}
        alone = run(Program(importance, substitute(wandering, data=data)(), 1))
        observed = [site for site in alone.trace.nodes.values() if isinstance(site, Observe)]
        assert together.log_weights[i].item() == pytest.approx(sum(log_density(site).item() for site in observed), rel=1e-12)


def test_in_lockstep_a_name_twice_in_one_particle_is_an_error():
    def twice() -> Coroutine[None]:
        yield Sample("x", Normal, 0.0, 1.0)
        yield Sample("x", Normal, 0.0, 1.0)

    with pytest.raises(DuplicateSite, match="site 'x'"):
        run(Program(importance, Program(twice), 5, None, Lockstep()))


@pytest.mark.parametrize("plan", [None, Lockstep()])
def test_shapes_that_differ_from_particle_to_particle_are_an_error(plan: Any):
    def ragged() -> Coroutine[None]:
        n = yield Sample("n", Categorical(torch.ones(3)))
        yield Sample("x", Normal(torch.zeros(int(n)), 1.0))

    with pytest.raises(ValueError, match="site 'x' has different shapes"):
        run(Program(importance, Program(ragged), 20, None, plan))


def test_all_particles_share_the_parameters():
    def learnable() -> Coroutine[None]:
        loc = yield Param("loc", f64(0.5))
        yield Observe("y", Normal, Y, loc, f64(1.0))

    for at_once in (False, True):
        params = ParamStore()
        program = Program(learnable)
        plan = vectorize(program, params=params) if at_once else None
        particles = run(Program(importance, program, 4, None, plan), params=params)
        assert list(params) == ["loc"]
        assert particles.log_weights.tolist() == [Normal(f64(0.5), f64(1.0)).log_prob(Y).item()] * 4
        assert not particles.log_weights.requires_grad


def test_a_seed_is_a_result_and_nothing_global_is_touched():
    states = torch.random.get_rng_state(), numpy.random.get_state()[1].tolist(), random.getstate()
    first, second = (infer(SCHOOLS, 100, seed=3) for _ in range(2))
    assert torch.equal(first.log_weights, second.log_weights) and torch.equal(first.ancestors, second.ancestors)
    assert not torch.equal(first.log_weights, infer(SCHOOLS, 100, seed=4).log_weights)
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert states[1:] == (numpy.random.get_state()[1].tolist(), random.getstate())


def test_a_model_that_does_not_broadcast_runs_in_lockstep_and_says_so(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "interpreters"):
        infer(Program(branching), 10)
    assert len(caplog.records) == 1 and "in lockstep" in caplog.text
    with caplog.at_level(logging.WARNING, "interpreters"):
        infer(SCHOOLS, 10)
    assert len(caplog.records) == 1


def test_particles_at_once_weigh_what_they_weigh_one_by_one():
    together = run(Program(importance, SCHOOLS, 10, None, vectorize(SCHOOLS)))
    draws = {f"particle_{i}/{name}": together.draws[name][i] for name in ("mu", "theta") for i in range(10)}
    alone = run(substitute(importance, data=draws)(SCHOOLS, 10))
    assert torch.allclose(alone.log_weights, together.log_weights)
    assert torch.equal(alone.draws["twice"], together.draws["twice"])


# What does not fit


def guide_with_more() -> Coroutine[None]:
    yield Sample("other", Normal, 0.0, 1.0)


def guide_of_the_observation() -> Coroutine[None]:
    yield Sample("y", Normal, 0.0, 1.0)


def guide_that_observes() -> Coroutine[None]:
    yield Observe("z", Normal, 0.0, 0.0, 1.0)


def guide_of_another_shape() -> Coroutine[None]:
    yield Sample("z", Normal(torch.zeros(2), 1.0))


@pytest.mark.parametrize(
    "guide, text",
    [
        (guide_with_more, "samples 'other', which the model does not have"),
        (guide_of_the_observation, "samples 'y', which the model has as Observe"),
        (guide_that_observes, "observes 'z'; a guide only draws"),
        (guide_of_another_shape, r"shape \(\) in the model, but the guide draws \(2,\)"),
    ],
)
def test_a_guide_that_does_not_fit(guide: Any, text: str):
    with pytest.raises(GuideMismatch, match=text):
        run(Program(importance, Program(conjugate, Y), 2, Program(guide)))


def test_weights_that_tell_nothing():
    def impossible(value: float) -> Coroutine[None]:
        yield Observe("y", Normal(f64(0.0), f64(1.0), validate_args=False), f64(value))

    with pytest.raises(DegenerateWeights, match="every one of 5 particles has weight zero"):
        infer(Program(impossible, math.inf), 5)
    with pytest.raises(DegenerateWeights, match="nan or infinite in 5 of 5"):
        infer(Program(impossible, math.nan), 5)


def test_no_particles_are_an_error():
    with pytest.raises(ValueError, match="positive number of particles, got 0"):
        run(Program(importance, SCHOOLS, 0))


@pytest.mark.parametrize("one_by_one", [False, True])
def test_an_impossible_particle_has_weight_zero(one_by_one: bool, caplog: pytest.LogCaptureFixture):
    """The evidence is the integral of p(theta) / theta² from the largest observation on."""
    program = Program(bounded, f64(1.0, 2.0))
    vectorization = None if one_by_one else vectorize(program)
    particles = run(Program(importance, program, 500 if one_by_one else 50_000, None, vectorization), 0)
    theta = torch.linspace(2.0, 60.0, 1_000_001, dtype=torch.float64)
    exact = torch.trapezoid(HalfNormal(f64(5.0)).log_prob(theta).exp() / theta.square(), theta)
    weights = particles.log_weights.exp()
    assert torch.equal(weights == 0, particles.draws["theta"].reshape(-1) <= 2.0) and bool((weights == 0).any())
    assert abs(weights.mean() - exact) < 4 * weights.std() / len(weights) ** 0.5


def test_nan_and_a_wrong_shape_are_no_impossible_values():
    for y in (f64(1.0, math.nan), torch.ones(2, 3)):
        program = Program(lambda y=y: (yield Observe("y", Uniform(torch.zeros(2), torch.full((2,), 0.5)), y)))
        with pytest.raises(DistributionError, match="cannot score"):
            infer(program, 10)


def test_a_mask_hides_what_is_impossible():
    def model() -> Coroutine[None]:
        yield Sample("a", Bernoulli(f64(0.5)))
        yield Observe("y", Uniform(f64(0.0, 0.0, 0.0), f64(2.0, 2.0, 2.0)), f64(1.0, 3.0, 1.0))

    hidden = run(Program(importance, MaskPoutine(model, torch.tensor([True, False, True]))(), 3), 0)
    assert hidden.log_weights.tolist() == pytest.approx([-2 * math.log(2.0)] * 3)
    shown = run(Program(importance, MaskPoutine(model, torch.tensor([True, True, False]))(), 3), 0)
    assert shown.log_weights.tolist() == [-math.inf] * 3
