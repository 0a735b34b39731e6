"""Which method suits a model, where the user does not say."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import torch

from interpreters.command.model_file import one_line
from interpreters.compiled import compile_density
from interpreters.density import density
from interpreters.errors import InputError
from poutine import PoutineError, Program

_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "importance": ("guide", "num_samples", "num_draws"),
        "nuts": ("chains", "warmup", "draws", "target_accept", "max_depth", "metric", "checkpoint"),
    }
)
_TRIED: Final = 8  # positions, at which the structure is compared


def choose(program: Program[Any], options: argparse.Namespace) -> tuple[str, str | None]:
    """The name of a method, and why it is not NUTS, which is for models of continuous sites that are the same in every run.

    None if it is, or the user chose: whoever gives an option of one method has chosen it. Raises ``InputError`` where options of
    another are given, too.
    """
    given = {method: [name for name in names if getattr(options, name) is not None] for method, names in _OPTIONS.items()}
    method, reason = options.method, None
    if method is None and given["importance"]:
        method = "importance"
    if method is None:
        reason = _unsuitable(program)
        method = "nuts" if reason is None else "importance"
    for other, names in given.items():
        if names and other != method:
            why = "" if reason is None else f", which this model is not for ({one_line(reason, 200)})"
            flags = ", ".join("--" + name.replace("_", "-") for name in names)
            raise InputError(f"{flags}: for --method {other} only{why}")
    return method, reason


def _unsuitable(program: Program[Any]) -> str | None:
    """Why NUTS cannot sample ``program``; None if it can."""
    try:
        target = density(program)
        if target.dim == 0:
            return "the model has no continuous latent site"
        gradient = compile_density(target, tier="eager").value_and_grad
        generator = torch.Generator().manual_seed(0)
        for _ in range(_TRIED):
            gradient(torch.randn(target.dim, dtype=torch.float64, generator=generator))
    except PoutineError as error:  # what is wrong for any method, that of choice will say
        return str(error)
    except Exception as error:  # of the model's own, at a value that it did not expect
        return f"where NUTS would look, the model raises {type(error).__name__}: {error}"
    return None
