"""Importance sampling: draw from a guide, and weigh by what the model says of the draw.

1. A particle is one run of the guide and of the model at the guide's draws. What the guide does not draw, the model draws
   from its prior; without a guide, that is everything.
2. Its log weight is ``log p(draws, observations) - log q(draws)``, in nats. What is drawn from the model's own prior cancels.
3. The algorithm is a program: its draws, those of the particles and the choice among them at the end, are messages.
   Observations are not: they are absorbed into the weights, and hidden from further out.

**Laws**: with the prior as guide the weight is the density of the observations; with the exact posterior, every weight is
the evidence. Over the algorithm's own randomness, the expectation of ``mean(w f(draws))`` is the integral of f under the
model's unnormalised density, in which a latent site has the density that it is drawn from where a mask is off.

A latent site that is masked off counts neither in the model nor in the guide, whoever draws it: it keeps its prior, or what the guide draws.
Whoever works with densities (NUTS, elimination, enumeration) takes its values as equally likely instead; weighted so, a draw from a prior
would most often have a weight of infinite variance. ``infer`` says so in the log, once, if what counts depends on such a value; in
padded sequences, whose observations are masked, too, it does not, and the posterior of all else is the same.

A plate that draws which of its elements take part is refused: a weight from a random part of the data is an estimate of a
density, of which the exponential is not unbiased, nor the posterior right.

An observation outside of the support of its distribution, ``Uniform(0, theta)`` say, makes a weight zero, and so does a draw of the guide's
outside of the range of its prior. Where ``seed`` fixes the draws of a part of the program, each particle has draws of its own from that seed.
A scale counts in the model's density, and not in the guide's: a draw is made from the distribution, not from a power of it, nor from a
part, whatever the guide's own masks.

Sources: Kahn and Marshall, "Methods of reducing sample size in Monte Carlo computations" (1953); Owen, "Monte Carlo theory,
methods and examples" (2013), chapter 9; the resampling step: Rubin, "Using the SIR algorithm to simulate posterior
distributions" (1988).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from interpreters.batches.batch import Batch
from interpreters.counts import positive_count
from interpreters.errors import DegenerateWeights, NotVectorizable
from interpreters.lockstep import lockstep
from interpreters.posterior import Posterior
from interpreters.vmapped import vmapped
from interpreters.weighted.ancestors import Ancestors
from interpreters.weighted.guided import guided_in_lockstep
from interpreters.weighted.numbered import NumberedPoutine
from interpreters.weighted.particles import Particles, joined
from interpreters.weighted.varying import Collected, Lockstep, prior_weight
from interpreters.weighted.vectorization import Vectorization, vectorize, weighed
from interpreters.weighted.weighing import Weighted, weighted
from interpreters.weighted.weights import ess
from poutine import BlockPoutine, Coroutine, ParamStore, Program, Sample, as_program, run

T = TypeVar("T")
Plan = Vectorization | Lockstep  # how particles run, if not one by one


def infer(
    program: Program[Any] | Callable[..., Any],
    num_particles: int,
    guide: Program[Any] | Callable[..., Any] | None = None,
    *,
    seed: int = 0,
    params: ParamStore | None = None,
    num_draws: int | None = None,
) -> Posterior:
    """The posterior of ``program`` by importance sampling, vectorised where the program allows it, and in lockstep where not.

    ::

        posterior = infer(Program(model, y, sigma), 100_000, seed=0)
        print(posterior.summary())

    Raises ``DegenerateWeights``, ``GuideMismatch``, ``ValueError`` where a number is none, and what the program raises.
    """
    num_particles, num_draws = _counts(num_particles, num_draws)
    program, guide = as_program(program), None if guide is None else as_program(guide)
    vectorization = vectorization_of(program, guide, seed=seed, params=params)

    def algorithm(plan: Plan) -> Posterior:
        return run(Program(importance_resampling, program, num_particles, guide, plan, num_draws), seed, params)

    return in_lockstep_if_not(algorithm, vectorization)


def vectorization_of(
    program: Program[Any] | Callable[..., Any],
    guide: Program[Any] | Callable[..., Any] | None = None,
    *,
    seed: int = 0,
    params: ParamStore | None = None,
) -> Plan:
    """How to run the particles: many in one run or, with one line in the log, each a run of its own, in lockstep."""
    program, guide = as_program(program), None if guide is None else as_program(guide)
    try:
        return vectorize(program, guide, seed=seed, params=params)
    except NotVectorizable as error:
        return _lockstep(error)


def in_lockstep_if_not(algorithm: Callable[[Plan], T], plan: Plan) -> T:
    """``algorithm(plan)``; again, in lockstep, if a whole batch cannot be one run after all."""
    try:
        return algorithm(plan)
    except NotVectorizable as error:
        if isinstance(plan, Lockstep):
            raise
        return algorithm(_lockstep(error))


def _lockstep(error: NotVectorizable) -> Lockstep:
    logging.getLogger(__name__).warning("particles run in lockstep, which is slower: %s", " ".join(str(error).split()))
    return Lockstep()


def importance_resampling(
    program: Program[Any] | Callable[..., Any],
    num_particles: int,
    guide: Program[Any] | Callable[..., Any] | None = None,
    vectorization: Plan | None = None,
    num_draws: int | None = None,
) -> Coroutine[Posterior]:
    """``importance``, then ``num_draws`` equally weighted draws from the particles, as the site ``"ancestors"``.

    Without ``num_draws``, as many as the effective sample size: more would pretend to a precision that is not there.
    Raises ``DegenerateWeights`` if all weights are zero, or one is nan or infinite.
    """
    num_particles, num_draws = _counts(num_particles, num_draws)
    particles = yield from importance(program, num_particles, guide, vectorization)
    _check(particles.log_weights)
    number = max(1, round(ess(particles.log_weights))) if num_draws is None else num_draws
    ancestors = yield Sample("ancestors", Ancestors(particles.log_weights, number))
    return Posterior.of(particles.trace, particles.draws, particles.log_weights, ancestors)


def importance(
    program: Program[Any] | Callable[..., Any],
    num_particles: int,
    guide: Program[Any] | Callable[..., Any] | None = None,
    vectorization: Plan | None = None,
) -> Coroutine[Particles]:
    """``num_particles`` weighted particles.

    One by one, the draws of particle i are named ``"particle_i/name"``. With a ``vectorization`` (see ``vectorization_of``), particles
    run in batches, ``vmapped`` or in ``lockstep``; the draws of batch b are named ``"batch_b/name"``. So an outer trace is valid.
    Raises ``NotVectorizable`` where a batch cannot be one run after all, ``SubsampledWeight`` at a plate that draws its index.
    """
    num_particles, _ = _counts(num_particles)
    program, guide = as_program(program), None if guide is None else as_program(guide)
    if vectorization is None:
        return (yield from _one_by_one(program, num_particles, guide))
    if isinstance(vectorization, Lockstep):
        return (yield from _in_lockstep(program, num_particles, guide, vectorization))
    return (yield from _in_batches(program, num_particles, guide, vectorization))


def _one_by_one(program: Program[Any], num_particles: int, guide: Program[Any] | None) -> Coroutine[Particles]:
    particles = []
    for i in range(num_particles):
        particles.append((yield from NumberedPoutine(weighted, f"particle_{i}")(program, guide)))
    return _of_each(particles)


def _of_each(particles: Sequence[Weighted]) -> Particles:
    """Particles that ran on their own, in one."""
    parts = ({name: value.unsqueeze(0) for name, value in particle.draws.items()} for particle in particles)
    return joined(
        [Particles(draws, each.log_weight.unsqueeze(0), particles[0].trace) for draws, each in zip(parts, particles, strict=True)]
    )


def _in_lockstep(program: Program[Any], num_particles: int, guide: Program[Any] | None, plan: Lockstep) -> Coroutine[Particles]:
    """The draws of many particles are one operation, and so are their densities."""
    parts: list[Particles] = []
    for b, size in enumerate(plan.batches(num_particles)):
        label = f"batch_{b}"
        if guide is None:
            parts.append((yield from NumberedPoutine(_from_the_prior, label)(program, size)))
        else:
            parts.append((yield from NumberedPoutine(guided_in_lockstep, label)(program, size, guide)))
    return joined(parts)


def _from_the_prior(program: Program[Any], size: int) -> Coroutine[Particles]:
    collected = Collected()
    hidden = BlockPoutine(lockstep, hide_types=["observe", "deterministic"])
    batch: Batch[Any] = yield from hidden(program, size, score=prior_weight, note=collected.note)
    return Particles(collected.draws(size), batch.log_densities.detach(), collected.trace)


def _in_batches(program: Program[Any], num_particles: int, guide: Program[Any] | None, plan: Vectorization) -> Coroutine[Particles]:
    parts: list[Particles] = []
    for b, size in enumerate(plan.batches(num_particles)):
        together = NumberedPoutine(vmapped, f"batch_{b}")(lambda _: Program(weighed, program, guide), size)
        draws, log_weights = yield from together
        parts.append(Particles(draws, log_weights, plan.trace))
    return joined(parts)


def _counts(num_particles: int, num_draws: int | None = None) -> tuple[int, int | None]:
    return positive_count("of particles", num_particles), None if num_draws is None else positive_count("of draws", num_draws)


def _check(log_weights: torch.Tensor) -> None:
    bad = int((log_weights.isnan() | log_weights.isposinf()).sum())
    if bad:
        raise DegenerateWeights(f"the log weight is nan or infinite in {bad} of {len(log_weights)} particles: check the model's densities")
    if bool(log_weights.isneginf().all()):
        raise DegenerateWeights(
            f"every one of {len(log_weights)} particles has weight zero: the observations are impossible wherever the draws fell; "
            "use more particles or a guide, or check the data"
        )
