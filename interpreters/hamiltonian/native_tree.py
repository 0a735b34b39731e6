"""One transition of NUTS, compiled: multinomial sampling, the generalised U-turn criterion, and Stan's extra checks.

A trajectory doubles, forwards or backwards in time at random. The new half is a balanced tree over 2 ** depth leaves, and no
subtree of it may turn back on itself. It is built leaf by leaf as a binary counter: ``stack[level]`` is a finished subtree of
2 ** level leaves that awaits its sibling (see ``turning``). So the memory is O(depth) points, whatever the length of the trajectory.

A leaf is drawn from the new half with probability proportional to exp(-H), as the leaves come; it replaces the sample of the
trajectory so far with probability min(1, weight of the new half / weight of the old).

Sources: Hoffman and Gelman, "The No-U-Turn Sampler", JMLR 15 (2014); Betancourt, "A conceptual introduction to Hamiltonian
Monte Carlo", arXiv:1701.02434 (2017), appendix A; Stan, src/stan/mcmc/hmc/nuts/base_nuts.hpp. Its recursion merges samples
pair by pair, which gives each leaf the same probability.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np

from interpreters.hamiltonian.integrator import (
    ACCELERATION,
    GRADIENT,
    MOMENTUM,
    POSITION,
    VELOCITY,
    copy,
    kinetic,
    leapfrog,
    times_inverse_metric,
    to_momentum,
)
from interpreters.hamiltonian.jit import inlined, jitable
from interpreters.hamiltonian.machine import DRAW, KEPT, LOG_STEP, Settings
from interpreters.hamiltonian.philox import DOUBLING, LEAF, normals, uniforms
from interpreters.hamiltonian.philox import MOMENTUM as FOR_MOMENTUM
from interpreters.hamiltonian.turning import FIRST_P, FIRST_V, LAST_V, RHO, turns, turns_somewhere

HEAVY: Final = 300.0  # nats above the reference, from which on a leaf becomes the new reference


class Work(NamedTuple):
    """Room to work in, for one chain: nothing is allocated while it runs.

    ends:    [2, 5, dim], the points at both ends of the trajectory, backwards first. The one that moves is here, too.
    near:    [2, dim], momentum and velocity of the end from which the trajectory is extended.
    stack:   [max_depth + 1, 5, dim], finished subtrees.
    rho:     [2, dim], of the trajectory, and of the subtree that is being merged.
    chosen:  [2, 2, dim], position and gradient of the sample, and of the new half's.
    value:   [1], where the density writes.
    extent:  [2], how many leaves the trajectory has on either side of its start.
    room:    [3, dim, dim] for the dense metric, or [3, 0, 0].
    """

    ends: Any
    near: Any
    stack: Any
    rho: Any
    chosen: Any
    value: Any
    extent: Any
    room: Any

    @classmethod
    def empty(cls, dim: int, max_depth: int, dense: bool) -> Work:
        shapes = (2, 5, dim), (2, dim), (max_depth + 1, 5, dim), (2, dim), (2, 2, dim), (1,)
        return cls._make([*map(np.zeros, shapes), np.zeros(2, np.int64), np.zeros((3, dim, dim) if dense else (3, 0, 0))])


class Transition(NamedTuple):
    """What became of one transition. ``acceptance`` is a mean over leaves; ``place`` that of the sample in time, 0 the start."""

    log_density: float
    energy: float
    acceptance: float
    depth: int
    num_steps: int
    diverging: bool
    place: int


class Half(NamedTuple):
    """What became of the new half. ``acceptance`` is a sum over ``num_leaves``.

    Its leaves weigh ``weight`` * exp(``reference``), in units of the start's weight. Of one that was given up, there is no weight.
    """

    log_density: float
    energy: float
    acceptance: float
    num_leaves: int
    diverging: bool
    turning: bool
    weight: float
    reference: float
    leaf: int


@jitable
def rows(chain: Any) -> int:
    """How many rows of the dense metric are in use: none where ``scale`` says it all."""
    return len(chain.dense) if chain.counts[KEPT] > 0 else 0


@inlined
def refresh(chain: Any, me: int, draw: int, work: Work, settings: Settings) -> float:
    """The momentum of draw number ``draw`` at both ends of the trajectory, which is a point; its energy."""
    point = work.ends[0]
    copy(chain.position, point[POSITION])
    copy(chain.gradient, point[GRADIENT])
    normals(settings.seed, me, draw, FOR_MOMENTUM, point[MOMENTUM])
    dense = chain.dense[: rows(chain)]
    to_momentum(chain.scale, chain.factor[: rows(chain)], point[MOMENTUM])
    times_inverse_metric(chain.scale, dense, point[MOMENTUM], point[VELOCITY])
    times_inverse_metric(chain.scale, dense, point[GRADIENT], point[ACCELERATION])
    for row in range(len(point)):
        copy(point[row], work.ends[1, row])
    return kinetic(point) - chain.log_density[0]  # type: ignore[no-any-return]


@inlined
def transition(density: Any, chain: Any, me: int, work: Work, settings: Settings) -> Transition:
    """One draw of chain number ``me``; its position and gradient are left in ``work.chosen[0]``."""
    draw = chain.counts[DRAW]
    start = refresh(chain, me, draw, work, settings)
    copy(work.ends[0, MOMENTUM], work.rho[0])
    copy(chain.position, work.chosen[0, POSITION])
    copy(chain.gradient, work.chosen[0, GRADIENT])
    log_density, energy, place = chain.log_density[0], start, 0
    weight, reference = 1.0, 0.0
    acceptance, num_steps, depth, diverging = 0.0, 0, 0, False
    step = math.exp(chain.averaging[LOG_STEP])
    extent = work.extent
    extent[:] = 0
    while depth < settings.max_depth:
        towards, merging = uniforms(settings.seed, me, draw, DOUBLING, depth)
        forwards = 1 if towards > 0.5 else 0
        copy(work.ends[forwards, MOMENTUM], work.near[0])
        copy(work.ends[forwards, VELOCITY], work.near[1])
        half = extend(density, chain, me, work, settings, forwards, step, depth, start, num_steps, reference)
        num_steps += half.num_leaves
        acceptance += half.acceptance
        diverging = half.diverging
        if half.diverging or half.turning:
            break
        if half.reference != reference:
            weight *= math.exp(reference - half.reference)
            reference = half.reference
        if merging * weight < half.weight:
            copy(work.chosen[1, POSITION], work.chosen[0, POSITION])
            copy(work.chosen[1, GRADIENT], work.chosen[0, GRADIENT])
            log_density, energy = half.log_density, half.energy
            place = (extent[forwards] + half.leaf + 1) * (2 * forwards - 1)
        extent[forwards] += half.num_leaves
        weight += half.weight
        new, far, near = work.stack[depth], work.ends[1 - forwards], work.near
        depth += 1
        if turns(work.rho[0], new[RHO], far[VELOCITY], near[0], near[1], new[FIRST_P], new[FIRST_V], new[LAST_V]):
            break
        for i in range(len(chain.position)):
            work.rho[0, i] += new[RHO, i]
    return Transition(log_density, energy, acceptance / num_steps, depth, num_steps, diverging, place)


@inlined
def extend(
    density: Any,
    chain: Any,
    me: int,
    work: Work,
    settings: Settings,
    forwards: int,
    step: float,
    depth: int,
    start: float,
    before: int,
    reference: float,
) -> Half:
    """Builds the new half of 2 ** ``depth`` leaves, as far as it goes without turning or diverging; ``before`` it were so many.

    A leaf weighs exp(-error), but where that could overflow: see ``HEAVY``.
    """
    point = work.ends[forwards]
    step, dense = step * (2 * forwards - 1), chain.dense[: rows(chain)]
    weight, acceptance = 0.0, 0.0
    log_density, energy, chosen = 0.0, 0.0, 0
    even = odd = 0.0
    for leaf in range(1 << depth):
        value = leapfrog(density, chain.scale, dense, point, work.value, step)
        here = kinetic(point) - value
        error = here - start
        if not -math.inf < error <= settings.max_error:  # nan, too
            acceptance += math.exp(-error) if error > 0.0 else 0.0
            return Half(log_density, energy, acceptance, leaf + 1, True, False, 0.0, reference, chosen)
        if -error - reference > HEAVY:
            weight *= math.exp(reference + error)
            reference = -error
        own = math.exp(-error - reference)
        weight += own
        acceptance += min(1.0, own) if reference == 0.0 else math.exp(min(0.0, -error))
        number = before + leaf + 1
        if leaf == 0 or (number & 1) == 0:
            even, odd = uniforms(settings.seed, me, chain.counts[DRAW], LEAF, number >> 1)
        if (odd if (number & 1) else even) * weight < own:
            copy(point[POSITION], work.chosen[1, POSITION])
            copy(point[GRADIENT], work.chosen[1, GRADIENT])
            log_density, energy, chosen = value, here, leaf
        if turns_somewhere(work.stack, work.rho[1], point, leaf):
            return Half(log_density, energy, acceptance, leaf + 1, False, True, 0.0, reference, chosen)
    return Half(log_density, energy, acceptance, 1 << depth, False, False, weight, reference, chosen)
