"""Which method suits a model, where the user does not say."""

from __future__ import annotations

import argparse
from typing import Any, Final

import torch

from interpreters.density import density
from poutine import PoutineError, Program

_OF_IMPORTANCE: Final = ("guide", "num_samples", "num_draws")
_TRIED: Final = 8  # positions, at which the structure is compared


def choose(program: Program[Any], options: argparse.Namespace) -> tuple[str, str | None]:
    """The name of a method, and why it is not NUTS, which is for models of continuous sites that are the same in every run.

    None if it is, or the user chose.
    """
    if options.method is not None:
        return options.method, None
    if any(getattr(options, name) is not None for name in _OF_IMPORTANCE):
        return "importance", None  # whoever gives an option of it has chosen it
    reason = _unsuitable(program)
    return ("nuts", None) if reason is None else ("importance", reason)


def _unsuitable(program: Program[Any]) -> str | None:
    """Why NUTS cannot sample ``program``; None if it can."""
    try:
        target = density(program)
        if target.dim == 0:
            return "the model has no continuous latent site"
        generator = torch.Generator().manual_seed(0)
        for _ in range(_TRIED):
            target(torch.randn(target.dim, dtype=torch.float64, generator=generator))
    except PoutineError as error:  # what is wrong for any method, that of choice will say
        return str(error)
    except Exception as error:  # of the model's own, at a value that it did not expect
        return f"where NUTS would look, the model raises {type(error).__name__}: {error}"
    return None
