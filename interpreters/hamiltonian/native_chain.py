"""The loop that users run: draws of one chain in native code, without the interpreter lock, by the address of a density."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from interpreters import adaptation
from interpreters.hamiltonian import (
    integrator,
    jit,
    machine,
    native_adaptation,
    native_metric,
    native_tree,
    philox,
    symmetric,
    turning,
)
from interpreters.hamiltonian.integrator import GRADIENT, POSITION, copy, kinetic, leapfrog
from interpreters.hamiltonian.jit import entry, inlined
from interpreters.hamiltonian.machine import DRAW, LOG_STEP, Settings
from interpreters.hamiltonian.native_adaptation import adapt
from interpreters.hamiltonian.native_tree import Transition, Work, refresh, rows, transition
from interpreters.hamiltonian.philox import ACCEPTING, uniform

_PARTS: Final = (adaptation, integrator, jit, machine, native_adaptation, native_metric, native_tree, philox, symmetric, turning)


@inlined
def fixed_transition(density: Any, chain: Any, me: int, work: Work, settings: Settings) -> Transition:
    """One draw of plain HMC (Neal 2011, figure 2): as many leapfrogs as asked for, forwards, then accept or stay."""
    draw = chain.counts[DRAW]
    start = refresh(chain, me, draw, work, settings)
    point, value, num_steps = work.ends[1], chain.log_density[0], 0
    step, dense = math.exp(chain.averaging[LOG_STEP]), chain.dense[: rows(chain)]
    steps = settings.num_steps if settings.length == 0.0 else max(1, min(1 << settings.max_depth, int(settings.length / step)))
    error = 0.0
    while num_steps < steps and -math.inf < error <= settings.max_error:
        value = leapfrog(density, chain.scale, dense, point, work.value, step)
        error = kinetic(point) - value - start
        num_steps += 1
    diverging = not -math.inf < error <= settings.max_error
    acceptance = 0.0 if diverging else math.exp(min(0.0, -error))
    if uniform(settings.seed, me, draw, ACCEPTING, 0) < acceptance:
        copy(point[POSITION], work.chosen[0, POSITION])
        copy(point[GRADIENT], work.chosen[0, GRADIENT])
        return Transition(value, start + error, acceptance, 0, num_steps, diverging, num_steps)
    copy(chain.position, work.chosen[0, POSITION])
    copy(chain.gradient, work.chosen[0, GRADIENT])
    return Transition(chain.log_density[0], start, acceptance, 0, num_steps, diverging, 0)


def _made(transition: Callable[..., Transition], fingerprint: str) -> Callable[..., int]:
    @entry
    def sample(density: Any, chain: Any, me: int, work: Any, settings: Any, stop: Any, positions: Any, statistics: Any) -> int:
        """Fills ``positions`` [n, dim] and ``statistics`` [n, 8] with the next draws of chain number ``me``; how many there are.

        It makes fewer than n only if another thread writes into ``stop``, which is looked at before each draw.
        """
        fingerprint  # noqa: B018  # a part of the closure, and so of the key on disk
        for done in range(len(positions)):
            if stop[0] != 0:
                return done
            step = math.exp(chain.averaging[LOG_STEP])
            made = transition(density, chain, me, work, settings)
            copy(work.chosen[0, POSITION], chain.position)
            copy(work.chosen[0, GRADIENT], chain.gradient)
            chain.log_density[0] = made.log_density
            adapt(chain, work.room, settings, made.acceptance, made.place, made.diverging)
            chain.counts[DRAW] += 1
            copy(chain.position, positions[done])
            row = statistics[done]
            row[0], row[1], row[2], row[3] = made.log_density, made.energy, made.acceptance, step
            row[4], row[5], row[6], row[7] = made.depth, made.num_steps, made.diverging, made.place
        return len(positions)

    return sample


_FINGERPRINT: Final = jit.fingerprint([str(part.__file__) for part in _PARTS] + [__file__])
_by_trees: Final = _made(transition, _FINGERPRINT)
_by_fixed_lengths: Final = _made(fixed_transition, _FINGERPRINT)


def sampler(settings: Settings) -> Callable[..., int]:
    """The loop of NUTS, or that of plain HMC: apart, so that nobody waits until what he does not use is compiled."""
    return _by_trees if settings.num_steps == 0 and settings.length == 0.0 else _by_fixed_lengths
