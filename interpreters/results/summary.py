"""The summary of weighted draws: a table with a row for each number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Final

import attrs
import torch

from interpreters.weighted import weights

PROBABILITIES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


@attrs.frozen
class Row:
    """One number: its weighted mean, standard deviation and quantiles, by probability.

    mcse:  the Monte Carlo standard error of the mean.
    ess:   as many independent draws from the posterior would have the same error, (sd / mcse)². It differs from number to
           number, and from the effective sample size of the weights. Of Markov chains: the bulk effective sample size.
    ess_tail, r_hat:  of Markov chains, the tail effective sample size and the rank-normalised split potential scale reduction.
    """

    name: str
    mean: float
    sd: float
    quantiles: Mapping[float, float]
    mcse: float
    ess: float
    ess_tail: float | None = None
    r_hat: float | None = None


@attrs.frozen
class Summary:
    """``summary["theta[0]"].mean``; ``str`` is the table. ``notes`` are the lines under it."""

    rows: Mapping[str, Row]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Row:
        try:
            return self.rows[name]
        except KeyError:
            raise KeyError(f"no row {name!r} in this summary; it has {', '.join(self.rows) or '(none)'}") from None

    def __str__(self) -> str:
        chains = ("ess_tail", "r_hat") if any(row.r_hat is not None for row in self.rows.values()) else ()
        head = ("", "mean", "sd", *(f"{100 * p:g}%" for p in PROBABILITIES), "mcse", "ess", *chains)
        lines = [head, *map(_cells, self.rows.values())] if self.rows else []
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
        return "\n".join([*table, *self.notes])


def summarize(draws: Mapping[str, torch.Tensor], log_weights: torch.Tensor, notes: tuple[str, ...] = ()) -> Summary:
    """The summary of ``draws`` (by name, each [n, *shape]) under ``log_weights`` ([n], nats)."""
    rows = (row for name, values in draws.items() for row in _rows(name, values, log_weights))
    return Summary({row.name: row for row in rows}, notes)


def _rows(name: str, values: torch.Tensor, log_weights: torch.Tensor) -> Iterator[Row]:
    if not values.numel():  # a site of size 0
        return
    shape = values.shape[1:]
    x = (values if values.is_floating_point() else values.to(log_weights.dtype)).reshape(len(values), -1)
    means, sds, errors = (statistic(x, log_weights).tolist() for statistic in (weights.mean, weights.sd, weights.mcse))
    quantiles = weights.quantiles(x, log_weights, PROBABILITIES).T.tolist()
    for index, mean, sd, mcse, values_at in zip(labels(name, shape), means, sds, errors, quantiles, strict=True):
        ess = (sd / mcse) ** 2 if mcse > 0 else float("nan")
        yield Row(index, mean, sd, dict(zip(PROBABILITIES, values_at, strict=True)), mcse, ess)


def labels(name: str, shape: torch.Size) -> list[str]:
    """The name of each number of a site: ``theta``, or ``theta[0]``, ``theta[1]``, … (from zero)."""
    return [f"{name}[{','.join(map(str, index))}]" if index else name for index in product(*map(range, shape))]


def _cells(row: Row) -> tuple[str, ...]:
    figures = (row.mean, row.sd, *row.quantiles.values(), row.mcse)
    cells = (row.name, *(f"{figure:.3g}" if abs(figure) < 1000 else f"{figure:.4g}" for figure in figures), f"{row.ess:.0f}")
    return cells if row.ess_tail is None or row.r_hat is None else (*cells, f"{row.ess_tail:.0f}", f"{row.r_hat:.3f}")
