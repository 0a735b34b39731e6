"""Simulation-based calibration: whether a sampler draws from the posterior, for data that the model itself made.

1. Latent values are drawn from the prior, and data given them.
2. The posterior given these data is sampled. If that is done right, the true value is as likely to be the smallest, the second
   smallest, ... of it and the draws: its rank is uniform.
3. The model is compiled once: other data of the same shapes are no new model.

Source: Talts, Betancourt, Simpson, Vehtari and Gelman, "Validating Bayesian inference algorithms with simulation-based
calibration", arXiv:1804.06788 (2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from interpreters.density import density
from interpreters.factor_graph.hiding import visible
from interpreters.hamiltonian.chains import Chains
from interpreters.hamiltonian.targets import Target
from interpreters.hamiltonian.worth import compiled
from interpreters.nuts import nuts
from interpreters.predictive import PredictPoutine, prior_predictions
from poutine import ConditionPoutine, ParamStore, Program, run

Values = Mapping[str, torch.Tensor]


def ranks(
    program: Program[Any],
    num_simulations: int,
    num_ranks: int = 16,
    *,
    thinning: int = 10,
    num_warmup: int = 200,
    seed: int = 0,
    params: ParamStore | None = None,
    fitted: Program[Any] | None = None,
) -> dict[str, torch.Tensor]:
    """The rank of each true value among ``num_ranks - 1`` draws: int64 by name of latent site, each [num_simulations, *shape].

    ``program`` makes the data, in place of what it observes; ``fitted``, by default the same, is the model that is sampled.
    Every ``thinning``-th draw counts: ranks are uniform only among draws that are nearly independent.
    """
    drawn: dict[str, torch.Tensor] = run(Program(prior_predictions, program, num_simulations, seed, params), seed, params)
    simulated = {name: values[0] for name, values in drawn.items()}
    model = program if fitted is None else fitted
    target = density(model, params)
    names = [name for name in simulated if name not in target.constrain(torch.zeros(target.dim, dtype=torch.float64))]
    found = []
    for i in range(num_simulations):
        data = {name: values[i] for name, values in simulated.items() if name in names}
        each = target.at(ConditionPoutine(PredictPoutine(model.fn), data)(*model.args, **model.kwargs))
        size = (1, num_warmup, thinning * (num_ranks - 1))
        chains: Chains = run(Program(nuts, compiled(each, Target.of(each)), *size), seed + i)
        draws = [each.constrain(position) for position in chains.positions[0, thinning - 1 :: thinning]]
        found.append({name: torch.stack([draw[name] < simulated[name][i] for draw in draws]).sum(dim=0) for name in visible(target.sites)})
    return {name: torch.stack([one[name] for one in found]) for name in visible(target.sites)}


def uniformity(ranks: torch.Tensor, num_ranks: int, bins: int = 8) -> float:
    """The p-value of Pearson's chi-square test of ``ranks`` [n] against the uniform distribution, in equal bins of ranks."""
    if num_ranks % bins:
        raise ValueError(f"expected a number of bins that divides {num_ranks} ranks, got {bins}")
    counts = torch.bincount(ranks.flatten() * bins // num_ranks, minlength=bins).double()
    expected = counts.sum() / bins
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float(torch.special.gammaincc(torch.tensor((bins - 1) / 2, dtype=torch.float64), statistic / 2))
