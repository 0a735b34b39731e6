"""The rows of the summary of Markov chains, read slab by slab, so that draws on disk need not fit into memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import prod
from typing import Final

import attrs
import torch

from interpreters.results.angles import circular_mean, circular_sd, from_mean
from interpreters.results.diagnostics import diagnose, quantiles
from interpreters.results.news import News, silent
from interpreters.results.stored import SLAB, Stored, slab_rows
from interpreters.results.summary import PROBABILITIES, Row, labels

_MOST: Final = 8  # times as large a slab as is best


def columns(draws: Mapping[str, torch.Tensor]) -> Iterator[tuple[list[str], torch.Tensor]]:
    """The labels of k numbers, and their draws [chains, draws, k]; as many slabs as it takes."""
    for name in draws:
        yield from _slabs(draws, name)


def _slabs(draws: Mapping[str, torch.Tensor], name: str) -> Iterator[tuple[list[str], torch.Tensor]]:
    shape = shape_of(draws, name)
    names, inner = labels(name, shape[2:]), prod(shape[3:])
    step = slab_rows(shape)
    if isinstance(draws, Stored):  # a file that lies otherwise than ours
        step = max(step, min(draws.rows_together(name), _MOST * SLAB // max(1, shape[0] * shape[1] * inner)))
    for start in range(0, shape[2] if len(shape) > 2 else 1, step):
        rows = slice(start, start + step)
        slab = draws.part(name, rows) if isinstance(draws, Stored) else draws[name][:, :, rows] if len(shape) > 2 else draws[name]
        width = inner if len(shape) > 2 else 1
        yield names[start * width : (start + step) * width], slab.reshape(*shape[:2], -1)


def chain_rows(draws: Mapping[str, torch.Tensor], news: News = silent, angles: Collection[str] = ()) -> Iterator[Row]:
    """A row for each number of ``draws``, by name of site, each [chains, draws, *shape]. ``angles`` are the names of those that are."""
    total, done = sum(shape_of(draws, name)[2:].numel() for name in draws), 0
    for site in draws:
        for names, slab in _slabs(draws, site):
            news(done, total)
            if slab.numel():
                yield from (_rows_of_angles if site in angles else _rows)(names, slab.cpu().double())
            done += len(names)
    news(done, total)


def shape_of(draws: Mapping[str, torch.Tensor], name: str) -> torch.Size:
    return draws.shape(name) if isinstance(draws, Stored) else draws[name].shape


def _rows_of_angles(names: list[str], slab: torch.Tensor) -> Iterator[Row]:
    """Circular means and standard deviations; all else is of the ways from the mean, so that quantiles may be beyond half a turn."""
    flat = slab.flatten(0, 1)
    mean, sd = circular_mean(flat), circular_sd(flat)
    for row, centre, spread in zip(_rows(names, from_mean(slab, mean)), mean.tolist(), sd.tolist(), strict=True):
        yield attrs.evolve(row, mean=centre, sd=spread, quantiles={p: centre + at for p, at in row.quantiles.items()})


def _rows(names: list[str], slab: torch.Tensor) -> Iterator[Row]:
    flat, diagnostics = slab.flatten(0, 1), diagnose(slab)
    levels = quantiles(flat.T.contiguous(), PROBABILITIES).T.tolist()
    still = (flat == flat[0]).all(dim=0)
    mcse = diagnostics.mcse.masked_fill(still, 0.0)
    sd = flat.std(0) if len(flat) > 1 else torch.full_like(flat[0], torch.nan)
    figures = (flat.mean(0), sd, mcse, diagnostics.ess, diagnostics.ess_tail, diagnostics.r_hat)
    for name, at, (mean, spread, error, bulk, tail, r_hat) in zip(names, levels, torch.stack(figures, dim=1).tolist(), strict=True):
        yield Row(name, mean, spread, dict(zip(PROBABILITIES, at, strict=True)), error, bulk, tail, r_hat)
