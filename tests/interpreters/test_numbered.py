"""The handlers of this package obey the laws of any handler."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from torch.distributions import Normal

from interpreters.command.progress import WatchPoutine
from interpreters.weighted.numbered import NumberedPoutine
from poutine import Coroutine, Sample, block, run, seed
from poutine.laws import check_laws


@pytest.mark.slow
@pytest.mark.parametrize("handler", [partial(NumberedPoutine, prefix="particle_0"), partial(WatchPoutine, step=lambda: None)])
def test_the_laws_of_any_handler(handler: Any):
    check_laws(handler, max_examples=10)


def pair() -> Coroutine[tuple[Any, Any]]:
    x = yield Sample("x", Normal(0.0, 1.0))
    return x, (yield Sample("y", Normal(0.0, 1.0)))


@pytest.mark.parametrize("hide", [[], ["x"]])
def test_particles_that_are_seeded_inside_have_draws_of_their_own(hide: list[str]):
    def of(i: int, number: int) -> tuple[Any, Any]:
        return run(NumberedPoutine(seed(block(hide=hide)(pair), 3), f"particle_{i}")(), number)

    assert of(0, 0) == of(0, 1)
    assert len({*map(float, of(0, 0)), *map(float, of(1, 0))}) == 4
