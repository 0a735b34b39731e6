"""What tells whether Markov chains have mixed, of many numbers at once: rank-normalised R-hat, effective sample sizes, standard errors.

The same definitions as ArviZ's, which a test compares with; ArviZ takes one number at a time, some milliseconds each, and a
posterior may have tens of thousands.

Source: Vehtari, Gelman, Simpson, Carpenter and Bürkner, "Rank-normalization, folding, and localization: an improved R-hat for
assessing convergence of MCMC", Bayesian Analysis 16 (2021); Geyer, "Practical Markov chain Monte Carlo" (1992).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch

_TAILS: Final = (0.05, 0.95)


class Diagnostics(NamedTuple):
    """Of each number, [k]: of the mean its Monte Carlo standard error; bulk and tail effective sample size; R-hat. nan if it never moves."""

    mcse: torch.Tensor
    ess: torch.Tensor
    ess_tail: torch.Tensor
    r_hat: torch.Tensor


def diagnose(draws: torch.Tensor) -> Diagnostics:
    """``draws``: [chains, draws, k]. With fewer than four draws nothing is known: nan."""
    x = draws.double().permute(2, 0, 1)  # [k, chains, draws]
    if x.shape[-1] < 4 or not len(x):
        return Diagnostics(*(torch.full((len(x),), math.nan, dtype=torch.float64) for _ in range(4)))
    halves = _split(x)
    bulk = _normal_scores(halves)
    folded_from = _median(halves.flatten(1))
    folded = _normal_scores((halves - folded_from[:, None, None]).abs())
    levels = x.flatten(1).quantile(torch.tensor(_TAILS, dtype=torch.float64), dim=1)
    tails = torch.stack([_ess(_split((x <= level[:, None, None]).double())) for level in levels])
    r_hat = torch.maximum(_r_hat(bulk), _r_hat(folded))
    mcse = x.flatten(1).std(dim=1) / _ess(halves).sqrt()
    found = Diagnostics(mcse, _ess(bulk), tails.min(dim=0).values, r_hat)
    still = (x == x[:, :1, :1]).flatten(1).all(dim=1) | ~x.isfinite().flatten(1).all(dim=1)
    return Diagnostics(*(figure.masked_fill(still, math.nan) for figure in found))


def _median(x: torch.Tensor) -> torch.Tensor:
    """Of each row, between the two in the middle: at one distance from both, to the last bit, since ranks of distances follow."""
    ordered = x.sort(dim=1).values
    n = x.shape[1]
    return (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2


def _split(x: torch.Tensor) -> torch.Tensor:
    """[k, chains, n] to [k, 2 chains, n // 2]: a chain that drifts is two that disagree."""
    half = x.shape[-1] // 2
    return torch.cat([x[..., :half], x[..., -half:]], dim=1)


def _normal_scores(x: torch.Tensor) -> torch.Tensor:
    """Each number replaced by the normal quantile of its rank among all of its kind (Blom's, ties sharing theirs)."""
    flat = x.flatten(1).contiguous()
    ordered = flat.sort(dim=1).values
    below, up_to = torch.searchsorted(ordered, flat), torch.searchsorted(ordered, flat, right=True)
    rank = (below + up_to + 1) / 2
    scores: torch.Tensor = torch.special.ndtri((rank.double() - 0.375) / (flat.shape[1] + 0.25))
    return scores.reshape(x.shape)


def _r_hat(x: torch.Tensor) -> torch.Tensor:
    n = x.shape[-1]
    between, within = x.mean(-1).var(dim=1) * n, x.var(dim=-1).mean(1)
    return ((between / within + n - 1) / n).sqrt()


def _ess(x: torch.Tensor) -> torch.Tensor:
    """[k, chains, n] to [k]: the number of draws over their integrated autocorrelation time, by Geyer's initial monotone sequence."""
    _, chains, n = x.shape
    covariance = _autocovariance(x)
    within = covariance[..., 0].mean(1) * n / (n - 1)
    total = within * (n - 1) / n + (x.mean(-1).var(dim=1) if chains > 1 else 0.0)
    rho = 1 - (within[:, None] - covariance.mean(1)) / total[:, None]
    rho[:, 0] = 1.0
    most = max(1, (n - 1) // 2 - 1)  # pairs of lags
    pairs = rho[:, : 2 * most].reshape(-1, most, 2).sum(-1)
    kept = (pairs > 0).long().cumprod(dim=1)
    last = kept.sum(1, keepdim=True)
    even = rho.gather(1, (2 * last).clamp(max=n - 1)).clamp(min=0.0).squeeze(1)  # the next one may be positive on its own
    tau = -1.0 + 2.0 * (pairs.cummin(dim=1).values * kept).sum(1) + even
    ess: torch.Tensor = chains * n / tau.clamp(min=1 / math.log10(chains * n))
    return torch.where(total > 0, ess, chains * n)  # what never moves has no error


def _autocovariance(x: torch.Tensor) -> torch.Tensor:
    """At each lag, along the last dimension, divided by n."""
    n = x.shape[-1]
    spectrum = torch.fft.rfft(x - x.mean(-1, keepdim=True), n=2 ** math.ceil(math.log2(2 * n)))
    covariance: torch.Tensor = torch.fft.irfft(spectrum.abs().square())[..., :n] / n
    return covariance
