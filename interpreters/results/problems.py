"""Why the draws of Markov chains are not to be trusted, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import torch

from interpreters.counts import so_many
from interpreters.results.summary import Row

# The thresholds of Vehtari, Gelman, Simpson, Carpenter and Bürkner, "Rank-normalization, folding, and localization: an improved
# R-hat" (2021), and, for the energy, of Betancourt, "A conceptual introduction to Hamiltonian Monte Carlo" (2017), section 6.1.
_HIGHEST_R_HAT: Final = 1.01
_FEWEST_PER_CHAIN: Final = 100
_LOWEST_BFMI: Final = 0.3
_FEWEST_DRAWS: Final = 4  # of a chain: of its halves, which r_hat compares, a variance is asked for


def problems(rows: Sequence[Row], statistics: Mapping[str, torch.Tensor]) -> list[str]:
    """A sentence for each; ``statistics`` of the sampler, each [chains, draws]."""
    return [
        *_hardly_any(statistics),
        *_divergent(statistics),
        *_saturated(statistics),
        *_mixing(rows),
        *_few(rows, statistics),
        *_low_energy(statistics),
    ]


def bfmi(energy: torch.Tensor) -> list[float]:
    """The Bayesian fraction of missing information of each chain, of energies [chains, draws]."""
    found: list[float] = (energy.diff(dim=1).square().mean(1) / energy.var(1)).tolist() if energy.shape[1] > 1 else []
    return found


def _hardly_any(statistics: Mapping[str, torch.Tensor]) -> Iterator[str]:
    draws = statistics["diverging"].shape[1]
    if draws < _FEWEST_DRAWS:
        yield (
            f"{so_many(draws, 'draw')} of each chain: too few to tell how many they are worth. Without r_hat and ess nothing is to be trusted; "
            "run longer."
        )


def _divergent(statistics: Mapping[str, torch.Tensor]) -> Iterator[str]:
    count = int(statistics["diverging"].sum())
    if count:
        yield (
            f"{so_many(count, 'transition')} diverged: the sampler cannot follow the curvature there, and misses what lies behind. "
            "Reparameterise (non-centred, say), or raise target_accept (--target-accept)."
        )


def _saturated(statistics: Mapping[str, torch.Tensor]) -> Iterator[str]:
    count = int(statistics["reached_max_treedepth"].sum()) if "reached_max_treedepth" in statistics else 0
    if count:
        yield (
            f"{so_many(count, 'trajectory was', 'trajectories were')} cut at the greatest tree depth, before turning: right, but slow. "
            "Reparameterise, use a dense metric (--metric dense), or raise max_depth (--max-depth)."
        )


def _mixing(rows: Sequence[Row]) -> Iterator[str]:
    worst = max(rows, key=lambda row: _known(row.r_hat, 0.0), default=None)
    if worst is not None and _known(worst.r_hat, 0.0) > _HIGHEST_R_HAT:
        yield (
            f"the chains have not mixed: r_hat of {worst.name} is {worst.r_hat:.3f}, expected below {_HIGHEST_R_HAT}; "
            "run longer or reparameterise."
        )


def _few(rows: Sequence[Row], statistics: Mapping[str, torch.Tensor]) -> Iterator[str]:
    chains, draws = statistics["diverging"].shape
    found = min(((min(_known(row.ess), _known(row.ess_tail)), row.name) for row in rows), default=None)
    if found is not None and found[0] < _FEWEST_PER_CHAIN * chains:
        yield (
            f"the effective sample size of {found[1]} is only {found[0]:.0f} of {so_many(chains * draws, 'draw')}, expected "
            f"at least {_FEWEST_PER_CHAIN} for each chain; run longer."
        )


def _low_energy(statistics: Mapping[str, torch.Tensor]) -> Iterator[str]:
    lowest = min(bfmi(statistics["energy"]), default=1.0)
    if lowest < _LOWEST_BFMI:
        yield (
            f"the energy moves too little from draw to draw (E-BFMI {lowest:.2f}, expected above {_LOWEST_BFMI}): "
            "heavy tails are hardly visited; reparameterise."
        )


def _known(figure: float | None, otherwise: float = float("inf")) -> float:
    """What is not known, of a number that never moves, is no reason to complain."""
    return otherwise if figure is None or figure != figure else figure
