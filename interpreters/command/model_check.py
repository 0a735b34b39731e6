"""One plain run of a model on its data, to tell in a line what is wrong with either."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import torch

from interpreters.command.data_file import Data, called, conditioned
from interpreters.command.dependence import depends_on_draws
from interpreters.command.double import in_double
from interpreters.errors import InputError
from interpreters.ranges import value_in_range
from interpreters.weighted.scores import is_outside
from poutine import (
    AlreadyObserved,
    Choice,
    DistributionError,
    ImproperUniform,
    Message,
    Observe,
    Poutine,
    Program,
    Rule,
    Rules,
    Sample,
    Trace,
    TracePoutine,
    Unit,
    UnusedNames,
    batch_log_density,
    run,
)

_log: Final = logging.getLogger(__name__)


class SettlePoutine(Poutine):
    """Gives the sites of flat priors, which cannot be drawn from, some value of their supports."""

    def rules(self) -> Rules:
        def settle(site: Sample) -> Message:
            if site.is_decided or site.is_deferred and site.fn is not ImproperUniform:
                return site
            dist: Any = site.dist
            if not isinstance(dist, ImproperUniform):
                return site
            value = value_in_range(dist)
            return site if value is None else site.evolve(value=value)

        return {Sample: Rule(up=settle)}


def checked(fn: Callable[..., Any], data: Data, seed: int = 0) -> Program[Any]:
    """``conditioned(fn, data)`` in double precision, which has run once. Raises ``InputError``, and what the model raises."""
    program = in_double(conditioned(fn, data))
    try:
        settled: Program[Any] = SettlePoutine(program.fn)(*program.args, **program.kwargs)
        trace = run(TracePoutine(settled.fn).traced(*settled.args, **settled.kwargs), seed)
    except UnusedNames as error:
        if not data.keys() >= {*error.unused}:  # a handler of the model's own names them
            raise
        unused = ", ".join(error.unused)
        raise InputError(f"the data has {unused}: no argument of {called(fn)}, and none of its sites {', '.join(error.seen)}") from error
    except AlreadyObserved as error:
        raise InputError(f"the data has {error.name}, which {called(fn)} observes by itself; make it an argument, or a Sample") from error
    except RuntimeError as error:
        whole = [name for name, value in data.items() if not value.is_floating_point()]
        if whole and "dtype" in str(error):
            error.add_note(
                f"(whole numbers in the data are integers: write 1.0 for 1, or x.double() in the model, for x = {', '.join(whole)})"
            )
        raise
    if not any(isinstance(site, Choice) for site in trace.nodes.values()):
        raise InputError(f"{called(fn)} yields no sample and no observation: there is nothing to infer")
    if data and not any(_says_something(site) for site in trace.nodes.values()):
        raise InputError(
            f"{called(fn)} observes nothing, so the data ({', '.join(data)}) has no say: yield an Observe, name a Sample in the data, "
            "and run plates and submodels with `yield from`"
        )
    _check_shapes(trace)
    _check_values(trace, settled, seed)
    if trace.param_nodes:
        _log.warning(
            "%s: no Sample but a Param, kept at its initial value; wrap the model in lift to infer it", ", ".join(trace.param_nodes)
        )
    return program


def _says_something(site: Any) -> bool:
    """Whether it is an observation of at least one number, or a factor."""
    return isinstance(site, Observe) and (isinstance(site.fn, Unit) or torch.as_tensor(site.value).numel() > 0)


def _check_values(trace: Trace, program: Program[Any], seed: int) -> None:
    """Raises ``DistributionError`` if an observation has no density.

    Outside of a support that depends on the draws it has none here, but where else they fall it may: this is one draw.
    """
    for site in trace.nodes.values():
        if not isinstance(site, Observe):
            continue
        try:
            batch_log_density(site)
        except DistributionError:
            if not (is_outside(site) and depends_on_draws(program, site.name, seed)):
                raise


def _check_shapes(trace: Trace) -> None:
    """Raises ``InputError`` if an observation does not have the shape of its distribution.

    One number that stands for many (of a smaller shape, broadcast to that of its distribution) is an error, too; many that
    share one distribution, of batch shape (), are not, unless the site was conditioned on them. But 8 x 8 numbers of 8
    distributions are: most likely the data is not what it was meant to be.
    """
    for site in trace.nodes.values():
        batch_shape = getattr(site.dist, "batch_shape", None) if isinstance(site, Observe) else None
        if batch_shape is None:
            continue
        value, event_dim = tuple(torch.as_tensor(site.value).shape), len(site.dist.event_shape)
        batch = value[: len(value) - event_dim]
        too_many = len(batch) > len(batch_shape) > 0
        if too_many or not _broadcasts(batch_shape, batch) or (site.conditioned and batch_shape != batch):
            expected = (*batch_shape, *site.dist.event_shape)
            raise InputError(f"site {site.name!r}: expected data of shape {expected}, got {value}")


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(a in (1, b) for a, b in zip(reversed(shape), reversed(to), strict=False))
