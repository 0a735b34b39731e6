"""Double precision: torch's default is single, and ``x @ b`` wants one type. To change the default would be to change it for everybody."""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import Any, Final, TypeVar

import numpy as np
import torch
from torch.distributions import Distribution

from poutine import Choice, Message, Program

AnyMessage = TypeVar("AnyMessage", bound=Message)
AnyChoice = TypeVar("AnyChoice", bound=Choice)

# By numpy's letter for the kind. Torch has no type for most unsigned integers, long doubles and other orders of bytes.
_TYPES: Final = MappingProxyType({"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64, "c": np.complex128})


def in_double(thing: Any) -> Any:
    """``thing`` with its tensors of floating point in double precision: itself, or those in lists, tuples, dictionaries and programs.

    Arrays of numpy become tensors: torch has no product of one with what has a gradient.
    """
    if isinstance(thing, np.ndarray) and thing.dtype.kind in _TYPES:
        thing = torch.from_numpy(np.array(thing, dtype=_TYPES[thing.dtype.kind]))
    if isinstance(thing, torch.Tensor):
        return thing.double() if thing.is_floating_point() and thing.dtype != torch.float64 else thing
    if type(thing) in (list, tuple):
        return type(thing)(map(in_double, thing))
    if type(thing) is dict:
        return {key: in_double(part) for key, part in thing.items()}
    return with_doubles(thing) if isinstance(thing, Program) else thing  # a poutine that is applied has the program as its argument


def doubled(message: AnyMessage) -> AnyMessage:
    """``message`` with its value in double precision."""
    value = in_double(message.value)
    return message if value is message.value else message.evolve(value=value)


def with_double_parameters(site: AnyChoice) -> AnyChoice:
    """``site`` with the tensors of its distribution in double precision.

    Torch solves in the type of the matrix: a value in double precision has a density in single under ``MultivariateNormal(zeros, eye)``.
    ``HalfCauchy`` and ``Gamma`` take the value to the type of their scale and rate, which is single where those are numbers.
    """
    dist: Any = site.dist
    converted = _converted(dist, {})
    return site if converted is dist else site.recast(fn=converted, args=(), kwargs={})


def _converted(thing: Any, done: dict[int, Any]) -> Any:
    """A distribution, or a part of one; itself, if there is nothing to convert. Bijections are left: they are of numbers one by one.

    ``done``: what became of distributions, by identity: some refer back to what they are a part of.
    """
    if not isinstance(thing, Distribution):
        return in_double(thing) if isinstance(thing, torch.Tensor) else thing
    if id(thing) in done:
        return done[id(thing)]
    new = done[id(thing)] = copy.copy(thing)
    parts = {key: _converted(part, done) for key, part in vars(thing).items()}
    if all(part is vars(thing)[key] for key, part in parts.items()):
        done[id(thing)] = thing
        return thing
    vars(new).update(parts)
    return new


def with_doubles(program: Program[Any]) -> Program[Any]:
    """``program`` with its arguments in double precision."""
    return Program(program.fn, *map(in_double, program.args), **{key: in_double(value) for key, value in program.kwargs.items()})
