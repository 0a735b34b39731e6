"""One plain run of a model on its data, to tell in a line what is wrong with either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from interpreters.command.data_file import Data, called, conditioned
from interpreters.errors import InputError
from poutine import AlreadyObserved, Choice, Observe, Program, Trace, TracePoutine, UnusedNames, run


def checked(fn: Callable[..., Any], data: Data, seed: int = 0) -> Program[Any]:
    """``conditioned(fn, data)``, which has run once. Raises ``InputError``, and what the model raises."""
    program = conditioned(fn, data)
    try:
        trace = run(TracePoutine(program.fn).traced(*program.args, **program.kwargs), seed)
    except UnusedNames as error:
        unused = ", ".join(error.unused)
        raise InputError(f"the data has {unused}: no argument of {called(fn)}, and none of its sites {', '.join(error.seen)}") from error
    except AlreadyObserved as error:
        raise InputError(f"the data has {error.name}, which {called(fn)} observes by itself; make it an argument, or a Sample") from error
    if not any(isinstance(site, Choice) for site in trace.nodes.values()):
        raise InputError(f"{called(fn)} yields no sample and no observation: there is nothing to infer")
    _check_shapes(trace)
    trace.log_pdf(lambda _, site: isinstance(site, Observe))
    return program


def _check_shapes(trace: Trace) -> None:
    """Raises ``InputError`` if an observation does not have the shape of its distribution.

    One number that stands for many (of a smaller shape, broadcast to that of its distribution) is an error, too; many that
    share a distribution are not, unless the site was conditioned on them.
    """
    for site in trace.nodes.values():
        batch_shape = getattr(site.dist, "batch_shape", None) if isinstance(site, Observe) else None
        if batch_shape is None:
            continue
        value, event_dim = tuple(torch.as_tensor(site.value).shape), len(site.dist.event_shape)
        batch = value[: len(value) - event_dim]
        if not _broadcasts(batch_shape, batch) or (site.conditioned and batch_shape != batch):
            expected = (*batch_shape, *site.dist.event_shape)
            raise InputError(f"site {site.name!r}: expected data of shape {expected}, got {value}")


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(a in (1, b) for a, b in zip(reversed(shape), reversed(to), strict=False))
