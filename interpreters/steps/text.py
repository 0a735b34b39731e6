"""Values for people, in a few characters."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.distributions import Distribution, Independent
from torch.distributions.utils import lazy_property

from interpreters.steps.answers import Answer
from poutine import UNDECIDED, Choice, Message, Param, Site
from poutine.program import name_of

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


def score(answer: Answer) -> str:
    """The log density of an answer; nothing where it has none, or is hidden."""
    return number(answer.scored) if answer.problem is None else "cannot be scored"


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


def described(message: Message) -> str:
    """A message in a line: as a program writes it, with what poutines did to it."""
    inside = [repr(message.name)]
    if isinstance(message, Choice):
        inside.append(_distribution(message))
    elif isinstance(message, Param):
        inside.append(f"init={shown(message.init)}")
    if message.value is not UNDECIDED:
        inside.append(f"value={shown(message.value)}")
    return f"{type(message).__name__}({', '.join([*inside, *_context(message)])})"


def _context(message: Message) -> list[str]:
    if not isinstance(message, Site):
        return []
    scale = [] if isinstance(message.scale, float) and message.scale == 1.0 else [f"scale={shown(message.scale)}"]
    mask = [] if message.mask is True else [f"mask={shown(message.mask)}"]
    return [
        *scale,
        *mask,
        *(f"in {frame.name!r}[{frame.counter if frame.size is None else frame.size}]" for frame in message.cond_indep_stack),
    ]


def _distribution(site: Choice) -> str:
    if site.is_deferred:
        inside = [*(shown(each, 40) for each in site.args), *(f"{key}={shown(each, 40)}" for key, each in site.kwargs.items())]
        return f"{name_of(site.fn)}({', '.join(inside)})"
    return _built(site.fn)


def _built(dist: Any) -> str:
    if isinstance(dist, Independent):
        return f"Independent({_built(dist.base_dist)}, {dist.reinterpreted_batch_ndims})"
    parameters = _parameters(dist) if isinstance(dist, Distribution) else []
    if not parameters:
        return shown(dist)
    return f"{type(dist).__name__}({', '.join(f'{name}={shown(getattr(dist, name), 40)}' for name in parameters)})"


def _parameters(dist: Distribution) -> list[str]:
    """Those that it was made of: of some that are computed from one another (``logits`` from ``probs``), the one that was there first."""
    known = [name for name in vars(dist) if name in dist.arg_constraints]
    computed = [name for name in known if isinstance(getattr(type(dist), name, None), lazy_property)]
    return [name for name in dist.arg_constraints if name in known and name not in computed[1:]]
