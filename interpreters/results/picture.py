"""A picture of weighted draws, one histogram for each number. matplotlib's global state (pyplot) is left alone."""

from __future__ import annotations

from collections.abc import Mapping
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
    panels = [
        (label, column)
        for name, values in draws.items()
        if values.numel()
        for label, column in zip(labels(name, values.shape[1:]), values.reshape(len(values), -1).unbind(dim=1), strict=True)
    ]
    shown = panels[:_PANELS]
    height = max(1, ceil(len(shown) / _COLUMNS))
    figure = extra("matplotlib.figure").Figure(figsize=(3 * _COLUMNS, 2.2 * height), layout="constrained")
    for i, (label, column) in enumerate(shown):
        _histogram(figure.add_subplot(height, _COLUMNS, i + 1), label, column, log_weights)
    if len(panels) > len(shown):
        figure.suptitle(f"the first {len(shown)} of {len(panels)} numbers")
    figure.savefig(fspath(path))


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
