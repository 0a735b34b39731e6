"""What a density costs that is called by its address, from a compiled loop."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np

from interpreters.hamiltonian.jit import call_density, entry

_SECONDS: Final = 0.02
_ROUNDS: Final = 5


@entry
def call_often(address: int, user: int, calls: int, position: Any, gradient: Any, value: Any) -> None:
    for _ in range(calls):
        call_density(address, len(position), position.ctypes.data, gradient.ctypes.data, value.ctypes.data, user)


def time_of(address: int, user: int, dim: int) -> float:
    """Microseconds of one call, the best of a few rounds, by the clock of the process."""
    vectors = np.full(dim, 0.1), np.zeros(dim), np.zeros(1)

    def seconds(calls: int) -> float:
        begun = time.process_time()
        call_often(address, user, calls, *vectors)
        return time.process_time() - begun

    call_often(address, user, 1, *vectors)
    calls = 1
    while seconds(calls) < _SECONDS:
        calls *= 2
    return min(seconds(calls) for _ in range(_ROUNDS)) / calls * 1e6
