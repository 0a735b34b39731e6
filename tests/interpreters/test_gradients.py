"""Gradients of random programs against finite differences.

Of a random program nothing is known: it may branch, and have kinks. Where the differences to the left and to the right do not
agree there is no derivative to compare with, nor where nothing is latent, or discrete sites are summed out; the rest is counted.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interpreters.density import density
from interpreters.errors import NotContinuous, NotVectorizable, StructureChanged
from poutine.laws import programs

F64 = torch.float64
_STEP = 1e-4  # the constants of programs are in single precision


def compared(program, seed: int) -> tuple[float, float] | None:
    """The derivative in a random direction, by autograd and by differences; None where there is none to compare."""
    try:
        target = density(program)
        if not target.dim or target.summed:
            return None
        generator = torch.Generator().manual_seed(seed)
        position, direction = torch.randn(2, target.dim, generator=generator, dtype=F64)
        value, gradient = target.value_and_grad(position / 2)
        left, right = (float(target(position / 2 + sign * _STEP * direction).detach()) for sign in (-1, 1))
    except (NotContinuous, NotVectorizable, StructureChanged):
        return None
    before, after = (float(value) - left) / _STEP, (right - float(value)) / _STEP
    scale = 1 + abs(before) + abs(after) + abs(float(value))
    if not (abs(after - before) < 1e-2 * scale):
        return None
    return float(gradient @ direction) / scale, (before + after) / 2 / scale


@pytest.mark.slow
def test_gradients_are_differences_over_random_programs():
    outcomes: list[bool] = []

    @settings(max_examples=120)  # a discrete site leaves nothing to compare, and most programs have one
    @given(programs(asks=False), st.integers(0, 2**31))
    def check(program, seed):
        found = compared(program, seed)
        outcomes.append(found is not None)
        if found is not None:
            assert abs(found[0] - found[1]) < 3e-3

    check()
    assert sum(outcomes) >= 8, f"of {len(outcomes)} programs only {sum(outcomes)} had a derivative to compare with"
