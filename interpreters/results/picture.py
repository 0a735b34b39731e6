"""A picture of weighted draws, one histogram for each number. matplotlib's global state (pyplot) is left alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from math import ceil
from os import PathLike, fspath
from typing import Any, Final

import torch

from interpreters.results.extras import extra
from interpreters.results.summary import labels
from interpreters.weighted import weights

_PANELS: Final = 60  # more cannot be read
_COLUMNS: Final = 5
_BINS: Final = 60


def draw_histograms(draws: Mapping[str, torch.Tensor], log_weights: torch.Tensor, path: str | PathLike[str]) -> None:
    """Writes the picture to ``path``. ``draws`` by name of site, each [n, *shape]; ``log_weights`` [n], in nats."""
    panels = (
        (label, column)
        for name, values in draws.items()
        if values.numel()
        for label, column in zip(labels(name, values.shape[1:]), values.reshape(len(values), -1).unbind(dim=1), strict=True)
    )
    draw_panels(panels, log_weights, path)


def draw_panels(panels: Iterable[tuple[str, torch.Tensor]], log_weights: torch.Tensor, path: str | PathLike[str]) -> None:
    """The same of labelled columns [n]. No more are asked for than are drawn."""
    found = list(islice(panels, _PANELS + 1))
    shown = found[:_PANELS]
    height = max(1, ceil(len(shown) / _COLUMNS))
    figure = extra("matplotlib.figure").Figure(figsize=(3 * _COLUMNS, 2.2 * height), layout="constrained")
    for i, (label, column) in enumerate(shown):
        _histogram(figure.add_subplot(height, _COLUMNS, i + 1), label, column, log_weights)
    if len(found) > len(shown):
        figure.suptitle(f"the first {len(shown)} numbers")
    figure.savefig(fspath(path))


def trace_figure(data: Any, names: Sequence[str] | None) -> Any:
    """A ``matplotlib.figure.Figure`` with the densities and the traces of an ``arviz.InferenceData``, by ArviZ, a row for each variable."""
    rows = len(names or data.posterior.data_vars)
    figure = extra("matplotlib.figure").Figure(figsize=(12, 2 * rows), layout="constrained")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Passing a dict or None as alias_mapping")  # ArviZ's own business with matplotlib
        extra("arviz").plot_trace(data, var_names=names, axes=figure.subplots(rows, 2, squeeze=False), show=False)
    return figure


def formats() -> set[str]:
    """The endings of paths that a picture can be written to."""
    return set(extra("matplotlib.figure").Figure().canvas.get_supported_filetypes()) - {"pgf"}  # which needs TeX


def _histogram(axes: Any, label: str, column: torch.Tensor, log_weights: torch.Tensor) -> None:
    values = column if column.is_floating_point() else column.to(log_weights.dtype)
    finite = values.isfinite()
    axes.set_title(label, fontsize=9, parse_math=False)
    axes.set_yticks([])
    axes.tick_params(labelsize=8)
    if not bool(finite.any()):
        axes.set_xlabel("no finite values", fontsize=8)
        return
    values, log_weights = values[finite], log_weights[finite]
    low, high = weights.quantiles(values, log_weights, [0.005, 0.995]).tolist()  # a long tail would leave one bar
    axes.hist(values.cpu().numpy(), bins=_BINS, range=(low, high), weights=weights.normalized(log_weights).cpu().numpy(), color="0.6")
    axes.axvline(weights.mean(values, log_weights).item(), color="black", linewidth=1)
