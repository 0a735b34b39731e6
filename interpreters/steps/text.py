"""Values for people, in a few characters."""

from __future__ import annotations

from typing import Any, Final

import torch

_MOST: Final = 6  # elements that are shown


def shown(value: Any, width: int = 60) -> str:
    """``value`` in at most ``width`` characters: numbers to four digits, of a large tensor the shape and how it begins."""
    if isinstance(value, torch.Tensor):
        text = _tensor(value.detach())
    elif isinstance(value, float):
        text = f"{value:.4g}"
    else:
        text = " ".join(repr(value).split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def number(value: torch.Tensor | None) -> str:
    """A log density, or nothing."""
    return "" if value is None else f"{value.item():.4f}"


def table(rows: list[list[str]], left: int = 1) -> str:
    """Columns as wide as they must be; the first ``left`` of them are set left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))) for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _tensor(value: torch.Tensor) -> str:
    if value.dim() == 0:
        return f"{value.item():.4g}" if value.is_floating_point() else str(value.item())
    first = value.reshape(-1)[:_MOST].tolist()
    inside = ", ".join(f"{each:.4g}" if isinstance(each, float) else str(each) for each in first)
    if value.dim() == 1 and value.numel() <= _MOST:
        return f"[{inside}]"
    return f"{list(value.shape)} {inside}{', …' if value.numel() > _MOST else ''}"
