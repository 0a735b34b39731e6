"""The rows of the summary of Markov chains, read slab by slab, so that draws on disk need not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Final

import torch

from interpreters.results.diagnostics import diagnose, quantiles
from interpreters.results.news import News, silent
from interpreters.results.stored import SLAB, Stored, slab_rows
from interpreters.results.summary import PROBABILITIES, Row, labels

_MOST: Final = 8  # times as large a slab as is best


def columns(draws: Mapping[str, torch.Tensor]) -> Iterator[tuple[list[str], torch.Tensor]]:
    """The labels of k numbers, and their draws [chains, draws, k]; as many slabs as it takes."""
    for name in draws:
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


def chain_rows(draws: Mapping[str, torch.Tensor], news: News = silent) -> Iterator[Row]:
    """A row for each number of ``draws``, by name of site, each [chains, draws, *shape]."""
    total, done = sum(shape_of(draws, name)[2:].numel() for name in draws), 0
    for names, slab in columns(draws):
        news(done, total)
        if slab.numel():
            yield from _rows(names, slab.cpu().double())
        done += len(names)
    news(done, total)


def shape_of(draws: Mapping[str, torch.Tensor], name: str) -> torch.Size:
    return draws.shape(name) if isinstance(draws, Stored) else draws[name].shape


def _rows(names: list[str], slab: torch.Tensor) -> Iterator[Row]:
    flat, diagnostics = slab.flatten(0, 1), diagnose(slab)
    levels = quantiles(flat.T.contiguous(), PROBABILITIES).T.tolist()
    still = (flat == flat[0]).all(dim=0)
    mcse = diagnostics.mcse.masked_fill(still, 0.0)
    figures = (flat.mean(0), flat.std(0), mcse, diagnostics.ess, diagnostics.ess_tail, diagnostics.r_hat)
    for name, at, (mean, sd, error, bulk, tail, r_hat) in zip(names, levels, torch.stack(figures, dim=1).tolist(), strict=True):
        yield Row(name, mean, sd, dict(zip(PROBABILITIES, at, strict=True)), error, bulk, tail, r_hat)
