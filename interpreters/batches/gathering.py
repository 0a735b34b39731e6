"""Who asks the same: messages of one name, distribution and shapes, which can be asked as one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any, Final, cast

import attrs
import torch

from interpreters.batches.recipes import Recipe, is_known, recipe_of
from poutine import UNDECIDED, Deterministic, Message, Observe, Sample, Sealed

Waiting = tuple[int, Message]  # the number of an instance, and the message where it waits

_NUMBERS: Final = frozenset((int, float))
_PLAIN: Final = frozenset(("name", "fn", "args", "kwargs", "value", "_built"))  # fields that say nothing but distribution and value


@attrs.frozen(eq=False)
class Gathered:
    """Messages that can be asked as one, and who waits there; with no ``recipe``, their values are known or they are asked one by one.

    columns:  their arguments, one column for each.
    numbers:  True if all of these, and their values, are plain numbers.
    sealed:   True if they came sealed.
    """

    members: tuple[int, ...]
    requests: tuple[Any, ...]
    recipe: Recipe | None
    columns: tuple[tuple[Any, ...], ...] = ()
    numbers: bool = False
    sealed: bool = False


def gathered(waiting: Iterable[Waiting]) -> Iterator[Gathered]:
    """Groups of those who ask the same, in the order of their first."""
    groups: dict[Hashable, list[Waiting]] = {}
    for each in waiting:
        message = each[1]
        fields = message.__dict__
        fn = fields.get("fn")
        key: Hashable = (message.__class__, fields["name"], fn if isinstance(fn, type) else fn.__class__, *fields)
        group = groups.get(key)
        if group is None:
            groups[key] = [each]
        else:
            group.append(each)
    for group in groups.values():
        yield from _parts(group)


def _parts(group: list[Waiting]) -> Iterator[Gathered]:
    """The parts of a group of one type, name, class and set of fields that agree in the rest, too."""
    first = group[0][1]
    if isinstance(first, Sealed):
        opened: list[Waiting] = [(i, sealed.message) for i, sealed in group if isinstance(sealed, Sealed)]
        yield from (attrs.evolve(part, sealed=True) for part in gathered(opened))
    elif type(first) in (Sample, Observe) and (whole := _of_numbers(group, first)) is not None:
        yield whole
    else:
        parts: dict[Hashable, list[tuple[int, Message, tuple[Any, ...]]]] = {}
        for i, message in group:
            key, arguments = _alike(message)
            parts.setdefault(key, []).append((i, message, arguments))
        for alike, part in parts.items():
            yield _gathered(alike, part)


def _of_numbers(group: list[Waiting], first: Any) -> Gathered | None:
    """The whole group, if it is a deferred distribution of torch's with nothing but plain numbers: the quick way."""
    if not is_known(first.fn) or first.__dict__.keys() - _PLAIN or first.kwargs:
        return None
    members, requests = zip(*group, strict=True)
    rows = [request.__dict__.get("args", ()) for request in requests]
    if len(set(map(len, rows))) > 1 or any(request.kwargs for request in requests):
        return None
    columns = tuple(zip(*rows, strict=True))
    if first.is_decided:
        kinds = {type(request.value) for request in requests}
        if len(kinds) > 1 or not kinds <= _NUMBERS:
            return None
    recipe = recipe_of(first)
    if recipe is None or not all(_NUMBERS.issuperset(map(type, column)) for column in columns) or not _can_be_stacked(*recipe):
        return None
    return Gathered(members, requests, recipe[0], columns, numbers=True)


def _gathered(key: Any, part: list[tuple[int, Message, tuple[Any, ...]]]) -> Gathered:
    members, requests, rows = zip(*part, strict=True)
    columns = tuple(zip(*rows, strict=True))
    return Gathered(members, requests, key[0], columns, bool(columns) and all(_NUMBERS.issuperset(map(type, column)) for column in columns))


def _alike(message: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """A key that messages have in common which can be asked as one, and the arguments of this one's distribution."""
    if type(message) is Deterministic:
        return (None, _kind(message.value), *_circumstances(message)), ()
    if type(message) not in (Sample, Observe) or message.key is not None:
        return (None, type(message)), ()
    found = recipe_of(message)
    if found is None or not (_can_be_stacked(*found) and (message.value is UNDECIDED or can_be_rows(message.value))):
        return (None, type(message)), ()
    recipe, arguments = found
    return (recipe, _kind(message.value), *map(_argument_kind, arguments), *_circumstances(message)), arguments


def _can_be_stacked(recipe: Recipe, arguments: tuple[Any, ...]) -> bool:
    try:
        event_dims = recipe.event_dims
    except NotImplementedError:
        return False
    return all(_fits(x, event_dim) for x, event_dim in zip(arguments, event_dims, strict=True))


def _fits(argument: Any, event_dim: int | None) -> bool:
    if isinstance(argument, torch.Tensor):
        return event_dim is not None and argument.dim() >= event_dim
    return event_dim is None or (event_dim == 0 and type(argument) in _NUMBERS)


def can_be_rows(value: Any) -> bool:
    """Whether values of this one's kind can be the rows of a tensor."""
    return isinstance(value, torch.Tensor) or type(value) in (bool, int, float)


def _circumstances(site: Any) -> tuple[Hashable, ...]:
    """What is around a site. A number as a scale counts by its value; tensors are stacked."""
    infer = tuple(sorted((key, _kind(value)) for key, value in site.infer.items())) if site.infer else ()
    around = tuple((each, id(each.loop)) for each in site.cond_indep_stack)
    return (_kind(site.scale, by_value=True), _kind(site.mask, by_value=True), around, infer)


def _argument_kind(x: Any) -> Hashable:
    return "number" if type(x) in _NUMBERS else _kind(x, by_value=True)


def _kind(x: Any, by_value: bool = False) -> Hashable:
    """What values must have in common to be stacked: tensors their shape, numbers their type; else that they are equal."""
    if isinstance(x, torch.Tensor):
        return (x.shape, x.dtype, x.device)
    if type(x) in (bool, int, float) and not by_value:
        return cast(Hashable, type(x))
    try:
        hash(x)
    except TypeError:
        return id(x)
    return (type(x), x)
