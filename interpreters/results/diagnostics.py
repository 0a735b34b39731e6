"""What tells whether Markov chains have mixed, of many numbers at once: rank-normalised R-hat, effective sample sizes, standard errors.

The same definitions as ArviZ's, which a test compares with; ArviZ takes one number at a time, some milliseconds each, and a
posterior may have tens of thousands. Sorting is numpy's, which is ten times as fast as torch's.

Source: Vehtari, Gelman, Simpson, Carpenter and Bürkner, "Rank-normalization, folding, and localization: an improved R-hat for
assessing convergence of MCMC", Bayesian Analysis 16 (2021); Geyer, "Practical Markov chain Monte Carlo" (1992).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

_TAILS: Final = (0.05, 0.95)
_LAGS: Final = 16  # that are multiplied out: chains that mix have forgotten by then, and the others take a Fourier transform


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
    tails = torch.stack([_ess(_split((x <= level[:, None, None]).double())) for level in quantiles(x.flatten(1), _TAILS)])
    r_hat = torch.fmax(_r_hat(bulk), _r_hat(folded))  # of two values alike often, all distances from the median are one: that tells nothing
    mcse = x.flatten(1).std(dim=1) / _ess(halves).sqrt()
    found = Diagnostics(mcse, _ess(bulk), tails.min(dim=0).values, r_hat)
    still = (x == x[:, :1, :1]).flatten(1).all(dim=1) | ~x.isfinite().flatten(1).all(dim=1)
    return Diagnostics(*(figure.masked_fill(still, math.nan) for figure in found))


def quantiles(x: torch.Tensor, probabilities: Sequence[float]) -> torch.Tensor:
    """Of each row of ``x``, [k, n]: [probabilities, k], between the two nearest in proportion."""
    ordered = _sorted(x)
    places = torch.tensor(probabilities, dtype=torch.float64) * (x.shape[1] - 1)
    below = places.floor().long()
    low, high = ordered[:, below], ordered[:, (below + 1).clamp(max=x.shape[1] - 1)]
    return torch.where(low == high, low, low + (high - low) * (places - below)).T


def _sorted(x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.sort(x.numpy(), axis=1))


def _median(x: torch.Tensor) -> torch.Tensor:
    """Of each row, between the two in the middle: at one distance from both, to the last bit, since ranks of distances follow."""
    ordered, n = _sorted(x), x.shape[1]
    return (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2


def _split(x: torch.Tensor) -> torch.Tensor:
    """[k, chains, n] to [k, 2 chains, n // 2]: a chain that drifts is two that disagree."""
    half = x.shape[-1] // 2
    return torch.cat([x[..., :half], x[..., -half:]], dim=1)


def _normal_scores(x: torch.Tensor) -> torch.Tensor:
    """Each number replaced by the normal quantile of its rank among all of its kind (Blom's, ties sharing theirs)."""
    flat = x.flatten(1).numpy()
    order = np.argsort(flat, axis=1)
    ranks = np.empty_like(flat)
    np.put_along_axis(ranks, order, _shared_ranks(np.take_along_axis(flat, order, axis=1)), axis=1)
    scores: torch.Tensor = torch.special.ndtri((torch.from_numpy(ranks) - 0.375) / (flat.shape[1] + 0.25))
    return scores.reshape(x.shape)


def _shared_ranks(ordered: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """From 1, of rows that are sorted; equal numbers have the mean of theirs."""
    ranks = np.broadcast_to(np.arange(1.0, ordered.shape[1] + 1), ordered.shape)
    new = ordered[:, 1:] != ordered[:, :-1]
    if new.all():
        return ranks
    first = np.insert(new, 0, True, axis=1)
    last = np.insert(new, new.shape[1], True, axis=1)
    begin = np.maximum.accumulate(np.where(first, ranks, 0.0), axis=1)
    end = np.minimum.accumulate(np.where(last, ranks, np.inf)[:, ::-1], axis=1)[:, ::-1]
    shared: npt.NDArray[np.float64] = (begin + end) / 2
    return shared


def _r_hat(x: torch.Tensor) -> torch.Tensor:
    n = x.shape[-1]
    between, within = x.mean(-1).var(dim=1) * n, x.var(dim=-1).mean(1)
    return ((between / within + n - 1) / n).sqrt()


def _ess(x: torch.Tensor) -> torch.Tensor:
    """[k, chains, n] to [k]: the number of draws over their integrated autocorrelation time, by Geyer's initial monotone sequence."""
    centred = x - x.mean(-1, keepdim=True)
    n = x.shape[-1]
    if n <= 2 * _LAGS:
        return _geyer(x, _by_fourier(centred))[0]
    ess, is_whole = _geyer(x, _multiplied_out(centred))
    if not bool(is_whole.all()):
        rest = ~is_whole
        ess[rest] = _geyer(x[rest], _by_fourier(centred[rest]))[0]
    return ess


def _geyer(x: torch.Tensor, covariance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The effective sample sizes, of covariances [k, chains, lags], and whether the sequence ends within these lags."""
    _, chains, n = x.shape
    within = covariance[..., 0].mean(1) * n / (n - 1)
    total = within * (n - 1) / n + (x.mean(-1).var(dim=1) if chains > 1 else 0.0)
    rho = 1 - (within[:, None] - covariance.mean(1)) / total[:, None]
    rho[:, 0] = 1.0
    most = max(1, min((n - 1) // 2 - 1, rho.shape[1] // 2))  # pairs of lags
    pairs = rho[:, : 2 * most].reshape(-1, most, 2).sum(-1)
    kept = (pairs > 0).long().cumprod(dim=1)
    last = kept.sum(1, keepdim=True)
    even = rho.gather(1, (2 * last).clamp(max=rho.shape[1] - 1)).clamp(min=0.0).squeeze(1)  # the next one may be positive on its own
    tau = -1.0 + 2.0 * (pairs.cummin(dim=1).values * kept).sum(1) + even
    ess: torch.Tensor = chains * n / tau.clamp(min=1 / math.log10(chains * n))
    never = ~(total > 0)  # what never moves has no error
    return ess.masked_fill(never, chains * n), (last.squeeze(1) < most) | never


def _multiplied_out(centred: torch.Tensor) -> torch.Tensor:
    """The autocovariance at the first lags, [..., lags], divided by n."""
    n = centred.shape[-1]
    return torch.stack([torch.linalg.vecdot(centred[..., : n - lag], centred[..., lag:]) for lag in range(_LAGS)], dim=-1) / n


def _by_fourier(centred: torch.Tensor) -> torch.Tensor:
    """At each lag."""
    n = centred.shape[-1]
    spectrum = torch.fft.rfft(centred, n=2 ** math.ceil(math.log2(2 * n)))
    covariance: torch.Tensor = torch.fft.irfft(spectrum.abs().square())[..., :n] / n
    return covariance
