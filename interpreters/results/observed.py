"""What a trace tells of a model besides its draws: what was observed, and which dimensions are plates."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from inspect import signature
from typing import Any

import torch

from interpreters.numeric import is_numeric
from poutine import Choice, NoDensity, Observe, Poutine, Program, Site, Trace


def observed_values(trace: Trace) -> dict[str, torch.Tensor]:
    """The observations by name of site. A factor observes nothing."""
    values = {site.name: _numbers(site.value) for site in trace.nodes.values() if isinstance(site, Observe)}
    return {name: value for name, value in values.items() if value is not None and value.numel()}


def _numbers(value: Any) -> torch.Tensor | None:
    """A value, a list of numbers too, as a tensor; None if it is none."""
    if not is_numeric(value) and not isinstance(value, Sequence):
        return None
    try:
        return torch.as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError):  # words, or rows of unlike lengths
        return None


def constant_values(program: Program[Any], sites: Container[str]) -> dict[str, torch.Tensor]:
    """The tensors among the arguments of ``program`` by name, but for those that a site of the same name has.

    Those of a program under poutines are its own.
    """
    program = _innermost(program)
    fn: Any = program.fn
    while isinstance(fn, Poutine):
        fn = fn.fn
    try:
        given = signature(fn).bind(*program.args, **program.kwargs).arguments
    except (TypeError, ValueError):  # nothing that has names
        return {}
    return {
        name: value.detach() for name, value in given.items() if isinstance(value, torch.Tensor) and value.numel() and name not in sites
    }


def _innermost(program: Program[Any]) -> Program[Any]:
    """What a poutine was applied to, which is an argument of its coroutine."""
    while isinstance(getattr(program.fn, "__self__", None), Poutine) and program.args and isinstance(program.args[0], Program):
        program = program.args[0]
    return program


def plate_dims(trace: Trace, shapes: Mapping[str, torch.Size]) -> dict[str, tuple[str | None, ...]]:
    """By name of site, for each dimension of a single value (of these ``shapes``) the plate that it is of, or None."""
    return {name: _dims(trace.nodes.get(name), shape) for name, shape in shapes.items()}


def _dims(site: Site | None, shape: torch.Size) -> tuple[str | None, ...]:
    """For each dimension of a value the plate that it is of."""
    names: list[str | None] = [None] * len(shape)
    if site is None:  # a site that not all particles have
        return tuple(names)
    event_dim = _event_dim(site)
    for frame in site.cond_indep_stack:
        axis = -1 if frame.dim is None else len(shape) - event_dim + frame.dim  # negative for a plate of particles
        if axis >= 0 and shape[axis] == frame.size:
            names[axis] = frame.name
    return tuple(names)


def _event_dim(site: Site) -> int:
    try:
        return len(getattr(site.dist, "event_shape", ())) if isinstance(site, Choice) else 0
    except NoDensity:  # a bare callable
        return 0
