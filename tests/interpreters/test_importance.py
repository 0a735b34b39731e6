"""Importance sampling: exact laws by enumeration and conjugacy, Monte Carlo error bars, and what is outside of it."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator
from typing import Any

import attrs
import numpy
import pytest
import torch
from torch.distributions import Bernoulli, Categorical, HalfNormal, Independent, MultivariateNormal, Normal, Poisson, Uniform, constraints

from interpreters.errors import DegenerateWeights, GuideMismatch
from interpreters.importance import importance, importance_resampling, infer, vectorization_of
from interpreters.posterior import Posterior
from interpreters.weighted.particles import Particles, joined
from interpreters.weighted.varying import Lockstep
from interpreters.weighted.vectorization import Vectorization, vectorize
from interpreters.weighted.weights import log_mean, log_mean_error
from poutine import (
    Coroutine,
    Deterministic,
    DistributionError,
    DuplicateSite,
    ImproperUniform,
    MaskPoutine,
    Observe,
    Param,
    ParamStore,
    PlateError,
    Program,
    Sample,
    ScalePoutine,
    SubstitutePoutine,
    Trace,
    block,
    condition,
    log_density,
    mask,
    plate,
    run,
    scale,
    scope,
    seed,
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


def partly_guide() -> Coroutine[None]:
    """What it draws depends on what it has drawn."""
    a = yield Sample("a", Bernoulli(f64(0.6)))
    if a:
        yield Sample("b", Categorical, f64(0.5, 0.2, 0.3))


def branching_guide() -> Coroutine[None]:
    a = yield Sample("a", Bernoulli(f64(0.6)))
    if a:
        yield Sample("b", Bernoulli(f64(0.5)))


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
    pytest.param(branching, branching_guide, id="branching, with a guide"),
    pytest.param(finite, partly_guide, id="a guide that branches"),
    pytest.param(scaled, None, id="scaled"),
    pytest.param(scaled, finite_guide, id="scaled, with a guide"),
    pytest.param(decided, None, id="decided"),
    pytest.param(masked, None, id="masked"),
]
BROADCASTING = [case for case in MODELS if not {branching, partly_guide} & {*case.values}]


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
    assert at_once["batch_0/mu"].value.shape == (50,)


def test_the_density_of_an_outer_trace_is_that_of_the_algorithms_draws():
    outer = run(trace(importance).traced(Program(conjugate, Y), 2, Program(exact_posterior, Y)))
    draws = outer["_RETURN"].value.draws["z"]
    assert outer.log_pdf().item() == pytest.approx(Normal(Y / 2, f64(0.5).sqrt()).log_prob(draws).sum().item(), rel=1e-12)


def test_handlers_apply_to_the_algorithm():
    fixed = substitute(importance, data={"particle_1/z": f64(0.25)})(Program(conjugate, Y), 3)
    assert run(fixed).draws["z"][1] == 0.25


@pytest.mark.parametrize("guide", [None, Program(exact_posterior, Y)], ids=["prior", "guide"])
@pytest.mark.parametrize("plan", ["alone", "lockstep", "at once"])
def test_a_draw_that_is_observed_from_outside_is_a_draw_still(plan: str, guide: Any):
    """Conditioning the algorithm on its own draws is to give it these."""
    model = Program(conjugate, Y)
    plans = {"alone": None, "lockstep": Lockstep(), "at once": vectorize(model, guide)}
    names = [f"particle_{i}/z" for i in range(4)] if plan == "alone" else ["batch_0/z"]
    z = f64(0.25, 0.5, 0.75, 1.0)
    data = dict(zip(names, z if plan == "alone" else [z], strict=True))
    observed, given = (run(handler(importance, data=data)(model, 4, guide, plans[plan])) for handler in (condition, substitute))
    assert torch.equal(observed.draws["z"], z)
    assert torch.equal(observed.log_weights, given.log_weights) and list(observed.trace) == list(given.trace)


def test_batches_of_different_sizes_are_joined_where_one_has_not_the_site():
    parts = [Particles({"x": torch.ones(3, 2)}, torch.zeros(3), Trace()), Particles({}, torch.zeros(2), Trace())]
    for order in (parts, parts[::-1]):
        whole = joined(order)
        assert whole.draws["x"].shape == (5, 2)
        assert int(whole.draws["x"].isnan().all(1).sum()) == 2


def test_batches_are_joined():
    plan = vectorize(SCHOOLS)
    small = attrs.evolve(plan, batch_size=4)
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

    with pytest.raises(ValueError, match="site 'x' has different shapes.*f'x_{size}'"):
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


@attrs.frozen
class Die:
    """A distribution that does not tell its shapes."""

    faces: int

    def sample(self) -> torch.Tensor:
        return torch.randint(self.faces, ())

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        return torch.full(value.shape, -math.log(self.faces), dtype=torch.float64)


def wandering(y: torch.Tensor) -> Coroutine[None]:
    """Draws of all kinds, by a guide, by the model, and by one of them here and the other there."""
    go = yield Sample("go", Bernoulli(f64(0.5)))
    tau = yield Sample("tau", HalfNormal(f64(1.0)))
    die = yield Sample("die", Die(6))
    loc = yield Sample("loc", MultivariateNormal(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)))

    @plate("p", 3)
    def element(_: torch.Tensor) -> Coroutine[Any]:
        return (yield Sample("x", Normal(loc + die / 6, tau)))

    x = yield from scale(mask(element, mask=ON if go else True), scale=f64(1.0, 2.0, 3.0))()
    if go:
        shift = yield Sample("shift", Normal(f64(0.0), f64(1.0)))
        x = x + shift
    yield Observe("y", Independent(Normal(x, f64(1.0)), 1), y)


def wandering_guide(y: torch.Tensor) -> Coroutine[None]:
    go = yield Sample("go", Bernoulli(f64(0.7)))
    if go:
        yield Sample("shift", Normal(f64(0.5), f64(1.0)))
        yield Sample("tau", Normal(f64(1.0), f64(0.7)))  # some of it out of range
    else:
        yield Sample("loc", Normal(y, f64(1.0)))
    yield Sample("die", Die(6))

    @plate("p", 3)
    def element(_: torch.Tensor) -> Coroutine[None]:
        yield Sample("x", Normal(y, f64(1.0)))

    yield from element()


def test_in_lockstep_guided_particles_weigh_what_they_weigh_one_by_one():
    y = f64(1.0, 2.0, 3.0)
    model, guide = Program(wandering, y), Program(wandering_guide, y)
    together = run(trace(importance).traced(model, 60, guide, Lockstep(40)))
    particles = together["_RETURN"].value
    data = {f"particle_{i}/{name}": value[i] for name, value in particles.draws.items() for i in range(60) if not value[i].isnan().any()}
    alone = run(substitute(importance, data=data)(model, 60, guide))
    assert bool(particles.log_weights.isneginf().any()) and bool(particles.log_weights.isfinite().any())
    assert torch.allclose(particles.log_weights, alone.log_weights, rtol=1e-12)
    assert {name: value.dtype for name, value in particles.draws.items()} == {name: value.dtype for name, value in alone.draws.items()}
    assert all(torch.equal(value.nan_to_num(), alone.draws[name].nan_to_num()) for name, value in particles.draws.items())
    assert all(name.startswith("batch_") for name in list(together)[1:-1])


# What does not fit


def guide_with_more() -> Coroutine[None]:
    yield Sample("other", Normal, 0.0, 1.0)


def guide_of_the_observation() -> Coroutine[None]:
    yield Sample("y", Normal, 0.0, 1.0)


def guide_that_observes() -> Coroutine[None]:
    yield Observe("z", Normal, 0.0, 0.0, 1.0)


def guide_that_computes() -> Coroutine[None]:
    yield Deterministic("z", f64(1.0))


def guide_of_another_shape() -> Coroutine[None]:
    yield Sample("z", Normal(torch.zeros(2), 1.0))


def guide_of_counts() -> Coroutine[None]:
    yield Sample("z", Poisson(f64(1.0)))


@pytest.mark.parametrize("plan", [None, Lockstep()])
def test_a_probability_is_no_density(plan: Lockstep | None):
    model, guide = Program(conjugate, Y), Program(guide_of_counts)
    with pytest.raises(GuideMismatch, match=r"site 'z' has a density in the model, Normal.* the guide draws is discrete, Poisson"):
        run(Program(importance, model, 5, guide, plan))
    with pytest.raises(GuideMismatch, match="site 'z'"):
        infer(model, 5, guide)


@pytest.mark.parametrize("plan", [None, Lockstep()])
@pytest.mark.parametrize(
    "guide, text",
    [
        (guide_with_more, "samples 'other', which the model does not have"),
        (guide_of_the_observation, "samples 'y', which the model has as Observe"),
        (guide_that_computes, "the guide computes 'z', which the model samples"),
        (guide_that_observes, "observes 'z'; a guide only draws"),
        (guide_of_another_shape, r"shape \(\) in the model, but the guide draws \(2,\)"),
    ],
)
def test_a_guide_that_does_not_fit(guide: Any, text: str, plan: Lockstep | None):
    for number in (2, 5):
        with pytest.raises(GuideMismatch, match=text):
            run(Program(importance, Program(conjugate, Y), number, Program(guide), plan))


@pytest.mark.parametrize("plan", [None, Lockstep()])
def test_a_guide_that_does_not_fit_in_some_particles(plan: Lockstep | None):
    def further() -> Coroutine[None]:
        yield from branching_guide()
        yield Sample("b", Bernoulli(f64(0.5)))

    def always() -> Coroutine[None]:
        yield Sample("b", Bernoulli(f64(0.5)))

    with pytest.raises(DuplicateSite, match="site 'b'"):
        run(Program(importance, Program(branching), 20, Program(further), plan))
    with pytest.raises(GuideMismatch, match="samples 'b', which the model does not have"):
        run(Program(importance, Program(branching), 20, Program(always), plan))


@pytest.mark.parametrize("plan", [None, Lockstep()])
def test_a_plate_of_another_size_than_the_guides_is_an_error_at_the_models_own_line(plan: Lockstep | None):
    def plated(size: int) -> Coroutine[None]:
        @plate("p", size)
        def element(_: torch.Tensor) -> Coroutine[None]:
            yield Sample("x", Normal(f64(0.0), f64(1.0)))

        yield from element()

    with pytest.raises(PlateError, match="plate 'p' has size 4 here, .* size 3 there") as caught:
        run(Program(importance, Program(plated, 4), 5, Program(plated, 3), plan))
    assert "element" in {frame.name for frame in caught.traceback}


def test_weights_that_tell_nothing():
    def impossible(value: float) -> Coroutine[None]:
        yield Observe("y", Normal(f64(0.0), f64(1.0), validate_args=False), f64(value))

    with pytest.raises(DegenerateWeights, match="every one of 5 particles has weight zero"):
        infer(Program(impossible, math.inf), 5)
    with pytest.raises(DegenerateWeights, match="nan or infinite in 5 of 5"):
        infer(Program(impossible, math.nan), 5)


@pytest.mark.parametrize("number", [0, -1, 10.5, True, "10"])
def test_what_is_no_number_of_particles_or_draws(number: Any):
    with pytest.raises(ValueError, match=f"positive whole number of particles, got {number!r}"):
        run(Program(importance, SCHOOLS, number))
    with pytest.raises(ValueError, match="whole number of particles"):
        infer(SCHOOLS, number)
    with pytest.raises(ValueError, match=f"whole number of draws, got {number!r}"):
        infer(SCHOOLS, 10, num_draws=number)
    assert len(infer(SCHOOLS, numpy.int64(10), num_draws=numpy.int64(3)).ancestors) == 3


def test_a_plain_generator_function_is_a_program():
    def guide() -> Coroutine[None]:
        yield from exact_posterior(Y)

    def model() -> Coroutine[None]:
        yield from conjugate(Y)

    for plan in (None, vectorization_of(model, guide)):
        particles = run(Program(importance, model, 3, guide, plan))
        assert particles.log_weights.tolist() == pytest.approx([LOG_EVIDENCE] * 3, abs=1e-12)
    assert len(run(Program(importance_resampling, model, 3, guide, None, 2)).ancestors) == 2


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


# Particles of a program whose draws are fixed inside


def two(y: torch.Tensor) -> Coroutine[None]:
    x = yield Sample("x", Normal(f64(0.0), f64(1.0)))
    h = yield Sample("h", Normal(f64(0.0), f64(1.0)))
    yield Observe("y", Normal, y, x + h, f64(1.0))


def hidden_inside(y: torch.Tensor) -> Coroutine[None]:
    """The seed reaches what is hidden, too."""
    yield from seed(block(hide=["h"])(two), 3)(y)


def twice_alike(y: torch.Tensor) -> Coroutine[None]:
    """Two parts with one seed."""
    yield from scope(seed(two, 3), prefix="a")(y)
    yield from scope(seed(two, 3), prefix="b")(y)


@pytest.mark.parametrize("plan", ["alone", "lockstep", "at once"])
@pytest.mark.parametrize(
    "model, names, times", [(seed(two, 3), ["x", "h"], 1), (hidden_inside, ["x"], 1), (twice_alike, ["a/x", "b/x"], 2)]
)
def test_particles_of_a_seeded_program_are_independent(model: Any, names: list[str], times: int, plan: str):
    program = Program(model, Y)
    plans = {"alone": None, "lockstep": Lockstep(50), "at once": attrs.evolve(vectorize(program), batch_size=50)}
    first, again, other = (run(Program(importance, program, 200, None, plans[plan]), number) for number in (0, 0, 1))
    assert all(len(first.draws[name].unique()) == 200 for name in names)
    draws = torch.stack([first.draws[name] for name in names])
    assert len(draws.unique(dim=0)) == len(names)
    error = log_mean_error(first.log_weights)
    assert abs(log_mean(first.log_weights) - times * Normal(f64(0.0), f64(3.0).sqrt()).log_prob(Y).item()) < 4 * error
    assert all(torch.equal(first.draws[name], each.draws[name]) for name in names for each in (again, other))  # it is seeded


# A guide that draws outside of the range of the prior


def scale_of(y: torch.Tensor) -> Coroutine[None]:
    """What a draw below zero would make of the rest is an error."""
    tau = yield Sample("tau", HalfNormal(f64(1.0)))
    yield Observe("y", Normal, y, f64(0.0), tau)


def real_guide(_: torch.Tensor) -> Coroutine[None]:
    yield Sample("tau", Normal(f64(0.5), f64(1.0)))


@pytest.mark.parametrize("plan", ["alone", "lockstep", "at once"])
def test_a_draw_of_the_guide_outside_of_the_range_of_the_prior_has_weight_zero(plan: str):
    model, guide = Program(scale_of, Y), Program(real_guide, Y)
    plans = {"alone": None, "lockstep": Lockstep(), "at once": vectorize(model, guide)}
    particles = run(Program(importance, model, 500, guide, plans[plan]))
    assert torch.equal(particles.log_weights.isneginf(), particles.draws["tau"] < 0) and bool((particles.draws["tau"] < 0).any())
    tau = torch.linspace(1e-3, 12.0, 100_001, dtype=torch.float64)
    exact = torch.trapezoid((HalfNormal(f64(1.0)).log_prob(tau) + Normal(f64(0.0), tau).log_prob(Y)).exp(), tau).log()
    assert abs(log_mean(particles.log_weights) - exact) < 4 * log_mean_error(particles.log_weights)


def test_a_mask_hides_the_prior_that_a_guide_leaves():
    def model(on: torch.Tensor) -> Coroutine[None]:
        yield from MaskPoutine(prior, on)()

    def prior() -> Coroutine[None]:
        yield Sample("x", HalfNormal(torch.ones(2)))

    guide = Program(lambda: (yield Sample("x", Normal(torch.tensor([-9.0, 9.0]), 1.0))))
    for on, impossible in ((torch.tensor([False, True]), False), (torch.tensor([True, False]), True)):
        particles = run(Program(importance, Program(model, on), 20, guide, vectorize(Program(model, on), guide)))
        assert bool(particles.log_weights.isneginf().all()) is impossible


def test_a_guide_that_draws_nan_is_an_error():
    guide = Program(lambda: (yield Sample("tau", Normal(f64(0.0), f64(1.0)))))
    broken = SubstitutePoutine(guide.fn, {"tau": f64(math.nan)})()
    with pytest.raises(DistributionError, match="site 'tau'"):
        run(Program(importance, Program(scale_of, Y), 3, broken))


# A guide that splits a draw into batch and event in another way


def split_model(y: torch.Tensor, way: str) -> Coroutine[None]:
    x = yield from split(torch.zeros(3, dtype=torch.float64), 1.0, way)
    yield Observe("y", Independent(Normal(x, 1.0), 1), y)


def split_guide(y: torch.Tensor, way: str) -> Coroutine[None]:
    yield from split(y / 2, 0.5**0.5, way)


def split(loc: torch.Tensor, sd: float, way: str) -> Coroutine[Any]:
    if way == "plate":
        return (yield from plate("p", 3)(lambda i: (yield Sample("x", Normal(loc[i], sd))))())
    dists = {"batch": Normal(loc, sd), "independent": Independent(Normal(loc, sd), 1)}
    cov = sd**2 * torch.eye(3, dtype=torch.float64)
    return (yield Sample("x", dists.get(way) or MultivariateNormal(loc, cov)))


@pytest.mark.parametrize("way", ["plate", "batch", "independent", "multivariate"])
@pytest.mark.parametrize("guided", ["plate", "batch", "independent", "multivariate"])
def test_a_guide_may_split_a_draw_into_batch_and_event_as_it_likes(way: str, guided: str):
    y = f64(1.0, 2.0, 3.0)
    model, guide = Program(split_model, y, way), Program(split_guide, y, guided)
    evidence = Normal(f64(0.0), f64(2.0).sqrt()).log_prob(y).sum().item()
    particles = run(Program(importance, model, 5, guide, vectorize(model, guide)))
    assert particles.log_weights.tolist() == pytest.approx([evidence] * 5, rel=1e-12)


@pytest.mark.parametrize("plan", ["alone", "lockstep", "at once"])
@pytest.mark.parametrize("counts", [Poisson(f64(1.0)), Bernoulli(f64(0.5))], ids=str)
def test_a_guide_may_draw_floats_where_the_model_draws_indices(counts: Any, plan: str):
    def model() -> Coroutine[None]:
        k = yield Sample("k", Categorical(f64(0.2, 0.3, 0.5)))
        yield Observe("y", Normal(f64(0.0, 1.0, 2.0)[k], f64(1.0)), f64(0.5))

    def guide() -> Coroutine[None]:
        yield Sample("k", counts)

    plans = {"alone": None, "lockstep": Lockstep(), "at once": vectorize(Program(model), Program(guide))}
    particles = run(Program(importance, Program(model), 50, Program(guide), plans[plan]))
    k = particles.draws["k"]
    inside = k.long().clamp(max=2)
    weight = f64(0.2, 0.3, 0.5).log()[inside] + Normal(inside.double(), f64(1.0)).log_prob(f64(0.5)) - counts.log_prob(k)
    assert torch.allclose(particles.log_weights, torch.where(k < 3, weight, -math.inf).double(), rtol=1e-12)


# Masks and scales: the model's count, those of a guide are no part of how it draws


ON = torch.tensor([True, False, True])


def masked_model(y: torch.Tensor, way: str, on: Any) -> Coroutine[None]:
    def body(_: Any) -> Coroutine[None]:
        x = yield Sample("x", Normal(f64(0.0), f64(1.0)))
        yield Observe("y", Normal(x, f64(1.0)), y)

    def together() -> Coroutine[None]:
        x = yield Sample("x", MultivariateNormal(torch.zeros(2, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)))
        yield Observe("y", Independent(Normal(x, f64(1.0)), 1), y)

    yield from MaskPoutine(together if way == "rows" else plate("p", 3)(body), on)()


def masked_guide(way: str, on: Any) -> Coroutine[None]:
    def each() -> Coroutine[None]:
        yield Sample("x", Normal(torch.full((2, 3) if way == "rows" else (3,), 0.3, dtype=torch.float64), f64(1.0)))

    yield from MaskPoutine(each, on)()


@pytest.mark.parametrize("plan", ["alone", "lockstep", "at once"])
@pytest.mark.parametrize("guided", [True, torch.tensor([False, True, True]), ON, False], ids=str)
@pytest.mark.parametrize("way, on", [("elements", ON), ("elements", False), ("rows", torch.tensor([True, False]))])
def test_a_site_that_the_model_masks_counts_neither_in_the_model_nor_in_the_guide(way: str, on: Any, guided: Any, plan: str):
    y = f64(1.0, 2.0, 3.0)
    model, guide = Program(masked_model, y, way, on), Program(masked_guide, way, guided)
    plans = {"alone": None, "lockstep": Lockstep(), "at once": vectorize(model, guide)}
    particles = run(Program(importance, model, 5, guide, plans[plan]))
    x = particles.draws["x"]
    each = Normal(f64(0.0), f64(1.0)).log_prob(x) + Normal(x, f64(1.0)).log_prob(y) - Normal(f64(0.3), f64(1.0)).log_prob(x)
    expected = torch.where(torch.as_tensor(on)[:, None] if way == "rows" else torch.as_tensor(on), each, 0.0).flatten(1).sum(1)
    assert torch.allclose(particles.log_weights, expected.double(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("plan", ["alone", "lockstep", "at once"])
def test_a_part_of_a_draw_cannot_be_masked(plan: str):
    """What the guide draws as one has no density of a part."""
    y = f64(1.0, 2.0, 3.0)
    guide = Program(split_guide, y, "multivariate")
    for on in (torch.tensor([False]), torch.tensor([True])):
        model = Program(masked_model, y, "elements", on)
        plans = {"alone": None, "lockstep": Lockstep(), "at once": vectorize(model, guide)}
        weights = run(Program(importance, model, 5, guide, plans[plan])).log_weights
        evidence = Normal(f64(0.0), f64(2.0).sqrt()).log_prob(y).sum().item() if on else 0.0
        assert weights.tolist() == pytest.approx([evidence] * 5, rel=1e-12, abs=1e-12)
    partly = Program(masked_model, y, "elements", ON)
    with pytest.raises(
        GuideMismatch, match=r"the model masks a part of site 'x', which the guide draws as one, MultivariateNormal.*for each"
    ):
        run(Program(importance, partly, 5, guide, plans[plan]))


def test_a_flat_prior_needs_a_guide():
    def model(y: torch.Tensor) -> Coroutine[None]:
        x = yield Sample("x", ImproperUniform(constraints.real))
        yield Observe("y", Normal, y, x, f64(1.0))

    guide = Program(lambda: (yield Sample("x", Normal, Y, f64(1.0))))
    assert infer(Program(model, Y), 50, guide).log_weights.abs().max() < 1e-12
    with pytest.raises(DistributionError, match="flat prior on Real"):
        infer(Program(model, Y), 50)


# A program that changes in place what it is given


def doubled_in_place(y: torch.Tensor) -> Coroutine[None]:
    x = yield Sample("x", Normal(f64(0.0), f64(1.0)))
    yield Observe("w", Normal(x, f64(1.0)), f64(0.5))
    x.mul_(2.0)
    z = x + 0.0
    sent = yield Deterministic("z", z)
    yield Observe("y", Normal(z, f64(1.0)), y)
    z.zero_()
    sent.zero_()


def doubled(y: torch.Tensor) -> Coroutine[None]:
    x = yield Sample("x", Normal(f64(0.0), f64(1.0)))
    yield Observe("w", Normal(x, f64(1.0)), f64(0.5))
    z = yield Deterministic("z", 2.0 * x)
    yield Observe("y", Normal(z, f64(1.0)), y)


def changed_in_place(_: torch.Tensor) -> Coroutine[None]:
    x = yield Sample("x", Normal(f64(0.3), f64(0.8)))
    x.zero_()


@pytest.mark.parametrize("plan", ["alone", "lockstep", "at once"])
@pytest.mark.parametrize("guide", [None, Program(changed_in_place, Y)])
@pytest.mark.parametrize("power", [1.0, 0.5])
def test_weights_and_draws_are_those_of_the_values_as_they_were_drawn(plan: str, guide: Any, power: float):
    found = []
    for model in (doubled_in_place, doubled):
        program = scale(model, power)(Y)
        plans = {"alone": None, "lockstep": Lockstep(), "at once": vectorize(program, guide)}
        assert plan != "at once" or isinstance(plans[plan], Vectorization)
        found.append(run(Program(importance, program, 20, guide, plans[plan])))
    changed, plain = found
    assert torch.equal(changed.log_weights, plain.log_weights) and len(plain.draws["x"].unique()) == 20
    assert all(torch.equal(changed.draws[name], plain.draws[name]) for name in ("x", "z"))


@pytest.mark.parametrize("plan", ["lockstep", "at once"])
def test_an_outer_trace_has_what_was_drawn(plan: str):
    program = Program(doubled_in_place, Y)
    outer = run(trace(importance).traced(program, 20, None, Lockstep() if plan == "lockstep" else vectorize(program)))
    assert torch.equal(outer["batch_0/x"].value, outer["_RETURN"].value.draws["x"].reshape(outer["batch_0/x"].value.shape))
