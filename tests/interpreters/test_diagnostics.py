"""Diagnostics of many numbers at once, against ArviZ's, one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interpreters.results.diagnostics import diagnose
from interpreters.results.extras import extra

arviz = extra("arviz")
F64 = torch.float64


def autoregressive(rho: float, chains: int, n: int, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(n, chains, generator=generator, dtype=F64)
    rows = [noise[0]]
    for each in noise[1:]:
        rows.append(rho * rows[-1] + (1 - rho**2) ** 0.5 * each)
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize(("chains", "n"), [(4, 20), (4, 51), (1, 100), (2, 333)])
def test_they_are_arvizs(chains: int, n: int):
    generator = torch.Generator().manual_seed(n)
    columns = [autoregressive(rho, chains, n, generator) for rho in (-0.5, 0.0, 0.9, 0.99)]
    columns += [columns[1].round(), columns[2] + torch.arange(float(chains))[:, None], columns[1].exp() ** 3]
    found = torch.stack(diagnose(torch.stack(columns, dim=-1)))
    for k, column in enumerate(columns):
        x = column.numpy()
        expected = [arviz.mcse(x), arviz.ess(x), arviz.ess(x, method="tail"), arviz.rhat(x)]
        known = 4 if chains > 1 else 3  # of one chain ArviZ gives no r_hat; its halves have one
        numbers = torch.tensor([float(torch.as_tensor(each)) for each in expected[:known]], dtype=F64)
        torch.testing.assert_close(found[:known, k], numbers, rtol=1e-9, atol=0.0)


def test_what_never_moves_or_is_too_short_tells_nothing():
    assert bool(torch.stack(diagnose(torch.ones(2, 50, 1))).isnan().all())
    assert bool(torch.stack(diagnose(torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)))).isnan().all())
    assert torch.stack(diagnose(torch.zeros(2, 50, 0))).shape == (4, 0)


def test_of_two_values_alike_often_the_distances_tell_nothing_and_the_ranks_do():
    coin = (torch.arange(100) % 2).double().expand(4, 100)
    stuck = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=F64)[:, None].expand(4, 100)
    r_hat = diagnose(torch.stack([coin, stuck], dim=-1)).r_hat
    with np.errstate(all="ignore"):
        assert r_hat[0].item() == pytest.approx(float(arviz.rhat(coin.numpy())))
    assert r_hat[1].item() > 1e6  # nan warned of nothing
