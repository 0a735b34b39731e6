"""Where chains start: the climb out of absurd places, and that no chain stays in one."""

from __future__ import annotations

import pytest
import torch

from interpreters.hamiltonian.climbing import ABSURD, Places, climbed
from interpreters.hamiltonian.starting import find_places
from interpreters.nuts import nuts
from interpreters.results.extras import extra
from poutine import Program, run
from tests.interpreters.gaussians import CLIFF, CORRELATED, F64, FUNNEL, NORMAL, CKernel, check_means

KERNELS = [NORMAL, CORRELATED, FUNNEL, CLIFF]


@pytest.mark.parametrize("kernel", KERNELS, ids=["normal", "correlated", "funnel", "cliff"])
def test_no_place_is_less_likely_after_the_climb_and_far_ones_are_much_more(kernel: CKernel):
    start = find_places(kernel.batched, 50, kernel.dim, 0)
    end = climbed(kernel.batched, start)
    value, gradient = kernel.batched(end.position)
    assert torch.equal(value, end.value) and torch.equal(gradient, end.gradient)
    moved = (end.position != start.position).any(dim=-1)
    assert bool((end.value[moved] - start.value[moved] > ABSURD).all())
    assert bool((end.value > -2 * ABSURD).all())
    assert bool(moved.any()) == (kernel is CLIFF)


def test_what_is_within_reach_stays_where_it_is():
    start = find_places(CORRELATED.batched, 50, 2, 0)
    assert torch.equal(climbed(CORRELATED.batched, start).position, start.position)


def test_a_chain_climbs_by_itself():
    """Its place does not depend on how many others there are."""
    four, two = (climbed(CLIFF.batched, find_places(CLIFF.batched, chains, 3, 1)) for chains in (4, 2))
    torch.testing.assert_close(four.position[:2], two.position)


def test_a_flat_density_is_climbed_nowhere():
    def flat(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(positions), dtype=F64), torch.zeros_like(positions)

    start = Places.at(flat, torch.ones(2, 3, dtype=F64))
    assert torch.equal(climbed(flat, start).position, start.position)


@pytest.mark.parametrize("metric", ["diagonal", "dense"])
def test_chains_that_start_on_a_cliff_forget_it(metric: str):
    """Of 10 ** 90 nats: without the climb these chains still came down when warmup was over, with step sizes of 10 ** 5."""
    worst = find_places(CLIFF.batched, 8, 3, 3).value
    assert bool((worst < -1e50).any())
    chains = run(Program(nuts, CLIFF, num_chains=8, num_warmup=300, num_draws=500, metric=metric), seed=3)
    assert 0.3 < float(chains.statistics["step_size"].min()) and float(chains.statistics["step_size"].max()) < 3.0
    for i, draws in enumerate(chains.positions.unbind(dim=-1)):
        check_means(draws, 0.0, 4.0, extra("arviz").ess, f"x{i}")
        check_means(draws**2, 0.01, 4.0, extra("arviz").ess, f"x{i}^2")
