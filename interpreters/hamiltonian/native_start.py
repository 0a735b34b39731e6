"""Where a chain starts, found in the native loop: what ``starting`` does in a hundred small operations on tensors, each of microseconds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from interpreters import adaptation
from interpreters.adaptation import HIGHEST, LOWEST, SHRINKAGE
from interpreters.hamiltonian import climbing, integrator, jit, machine, native_metric, native_tree, philox, starting
from interpreters.hamiltonian.climbing import ABSURD
from interpreters.hamiltonian.integrator import copy, kinetic, leapfrog
from interpreters.hamiltonian.jit import call_density, entry, jitable
from interpreters.hamiltonian.machine import CENTRE, LOG_AVERAGE, LOG_STEP, Settings
from interpreters.hamiltonian.native_metric import be_diagonal
from interpreters.hamiltonian.native_tree import Work, refresh
from interpreters.hamiltonian.philox import INITIAL, uniform
from interpreters.hamiltonian.starting import BEFORE, DOUBLINGS, TRIES

_PARTS: Final = (adaptation, climbing, integrator, jit, machine, native_metric, native_tree, philox, starting)


@jitable
def find_place(density: Any, chain: Any, me: int, value: Any, settings: Settings) -> bool:
    """``starting.find_places``; False if there is none, or one that should be climbed from."""
    for attempt in range(TRIES):
        for i in range(len(chain.position)):
            chain.position[i] = 4.0 * uniform(settings.seed, me, attempt, INITIAL, i) - 2.0
        position, gradient = chain.position.ctypes.data, chain.gradient.ctypes.data
        call_density(density[0], len(chain.position), position, gradient, value.ctypes.data, density[1])
        size = 0.0
        for i in range(len(chain.gradient)):
            size += abs(chain.gradient[i])
        if math.isfinite(value[0]) and math.isfinite(size):
            chain.log_density[0] = value[0]
            return size <= ABSURD
    return False


@jitable
def accepts(density: Any, chain: Any, work: Work, settings: Settings, energy: float, step: float) -> bool:
    """Whether one leapfrog from the start, at ``work.ends[0]``, is accepted with probability ``target`` or more."""
    point, dense = work.ends[1], chain.dense[:0]
    for row in range(len(point)):
        copy(work.ends[0, row], point[row])
    value = leapfrog(density, chain.scale, dense, point, work.value, step)
    gain = energy - (kinetic(point) - value)
    return math.log(settings.target) < gain < math.inf


def _made(fingerprint: str) -> Callable[..., bool]:
    @entry
    def start(density: Any, chain: Any, me: int, work: Any, settings: Any, step: float) -> bool:
        """Makes ``chain``, number ``me``, what ``starting.started`` would, with this step size, or one that is found if it is 0.

        False, with ``chain`` in any state, where ``started`` has more to do or to say.
        """
        fingerprint  # noqa: B018  # a part of the closure, and so of the key on disk
        if not find_place(density, chain, me, work.value, settings):
            return False
        for i in range(len(chain.scale)):
            chain.scale[i] = 1.0 / min(max(abs(chain.gradient[i]), LOWEST), HIGHEST)
        be_diagonal(chain)
        if step == 0.0:
            energy = refresh(chain, me, BEFORE, work, settings)
            step = 1.0
            grows = accepts(density, chain, work, settings, energy, step)
            for _ in range(DOUBLINGS):
                step *= 2.0 if grows else 0.5
                if accepts(density, chain, work, settings, energy, step) != grows:
                    break
        averaging = chain.averaging
        averaging[LOG_STEP] = averaging[LOG_AVERAGE] = math.log(step)
        averaging[CENTRE] = averaging[LOG_STEP] + math.log(SHRINKAGE)
        return True

    return start


start: Final = _made(jit.fingerprint([str(part.__file__) for part in _PARTS] + [__file__]))
