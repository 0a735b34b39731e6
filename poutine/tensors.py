"""The tensors that a value is made of, and copies of values that hold some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from types import MemberDescriptorType
from typing import Any, TypeVar

import torch
from torch.distributions import Distribution
from torch.distributions.transforms import Transform, _InverseTransform

T = TypeVar("T")


def tensors_in(thing: Any, inside: tuple[Any, ...] = ()) -> Iterator[torch.Tensor]:
    """Those in tensors, lists, tuples, mappings, distributions and transforms, of any depth; ``inside`` of which distributions it is."""
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, (list, tuple)):
        for part in thing:
            yield from tensors_in(part, inside)
    elif isinstance(thing, Mapping):
        yield from tensors_in([*thing.values()], inside)
    elif isinstance(thing, (Distribution, Transform)) and not any(thing is each for each in inside):  # some refer back
        for key, value in vars(thing).items():
            if key != "_inv" or isinstance(thing, _InverseTransform):  # a transform and its inverse hold each other
                yield from tensors_in(value, (*inside, thing))


def copied(fields: dict[str, Any], memo: dict[int, Any]) -> dict[str, Any]:
    """A deep copy: what hangs on a gradient graph, which torch does not copy, becomes a leaf, as in a pickle."""
    for tensor in tensors_in(fields):
        if not tensor.is_leaf and id(tensor) not in memo:
            memo[id(tensor)] = tensor.detach().clone().requires_grad_()
    return deepcopy(fields, memo)


def deep_copy(self: T, memo: dict[int, Any]) -> T:
    """``__deepcopy__`` of frozen classes: a copy whose tensors are its own (``copied``)."""
    new = object.__new__(type(self))
    memo[id(self)] = new
    return filled_in(new, copied(fields_of(self), memo))


def fields_of(thing: Any) -> dict[str, Any]:
    """Those of an object, in its dictionary and in the slots of its classes."""
    slots = {name: getattr(thing, name) for cls in type(thing).__mro__ for name in _slots(cls) if hasattr(thing, name)}
    return {**getattr(thing, "__dict__", {}), **slots}


def filled_in(new: T, fields: dict[str, Any]) -> T:
    """``new``, an object of a frozen class that has no fields yet, with these."""
    for name, value in fields.items():
        object.__setattr__(new, name, value)
    return new


def _slots(cls: type) -> list[str]:
    """Those that a class adds."""
    fields = vars(cls)
    return [name for name, member in fields.items() if isinstance(member, MemberDescriptorType)] if "__slots__" in fields else []
