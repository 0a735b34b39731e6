"""Who asks the same: messages of one name, distribution and shapes, which can be asked as one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, cast

import attrs
import torch

from interpreters.batches.plain import Columns, closed, plain
from interpreters.batches.recipes import Recipe, recipe_of
from interpreters.numeric import is_small
from poutine import UNDECIDED, Deterministic, Message, Observe, Sample, Sealed
from poutine.driver.arrivals import NUMBERS, Alike, Apart, Arrivals
from poutine.messages import param_of


@attrs.frozen(eq=False)
class Gathered:
    """Messages that can be asked as one, and who waits there.

    recipe:   None if they have a closed form, or their values are known, or they are asked one by one.
    columns:  their arguments, one column for each; those of the quick way are tensors already.
    numbers:  True if all of these, and their values, are plain numbers.
    sealed:   True if they came sealed.
    given:    True if they are decided by what is given to the batch.
    """

    members: tuple[int, ...]
    requests: Sequence[Any]
    recipe: Recipe | None = None
    columns: Sequence[Sequence[Any] | torch.Tensor] = ()
    numbers: bool = False
    sealed: bool = False
    given: bool = False

    @property
    def is_closed(self) -> bool:
        """Whether they can be drawn and scored in closed form."""
        return type(self.columns) is Columns

    @property
    def name(self) -> str:
        requests = self.requests
        return requests.name if isinstance(requests, Alike) else str(requests[0].name)

    @property
    def values(self) -> Sequence[Any]:
        """What each gave as its value."""
        requests = self.requests
        return requests.observed if isinstance(requests, Alike) else [request.value for request in requests]


def gathered(there: Apart | Alike, numbers: bool) -> Iterator[Gathered]:
    """Groups of those who ask the same: all who are alike, if they are ``plain``, or the parts of those at one name.

    numbers:  whether they are to be answered by numbers: then they may be asked in closed form.
    """
    if not isinstance(there, Alike):
        yield from _parts(there.runs, there.messages, numbers)
    elif numbers and (columns := closed(there)) is not None:
        yield Gathered(tuple(there.runs), there, columns=columns, numbers=True)
    elif (whole := plain(there)) is not None:
        yield Gathered(tuple(there.runs), there, *whole, numbers=True)
    else:
        yield from _parts(there.runs, there, numbers)


def _parts(members: Iterable[int], messages: Iterable[Message], numbers: bool) -> Iterator[Gathered]:
    """The parts of those at one name that agree in type, fields, distribution, shapes and what is around."""
    parts: dict[Hashable, list[tuple[int, Message, tuple[Any, ...]]]] = {}
    for i, message in zip(members, messages, strict=True):
        key, arguments = _alike(message)
        fields = (field for field in message.__dict__ if not field.startswith("_"))
        parts.setdefault((cast(Hashable, type(message)), *fields, *key), []).append((i, message, arguments))
    for part in parts.values():
        if isinstance(part[0][1], Sealed):
            for opened in _opened(part):
                yield from (attrs.evolve(group, sealed=True) for group in gathered(opened, numbers))
        else:
            yield _gathered(part)


def _opened(part: Iterable[tuple[int, Any, Any]]) -> Iterable[Apart | Alike]:
    opened = Arrivals()
    for i, sealed, _ in part:
        opened.add(i, sealed.message)
    return opened.values()


def _gathered(part: list[tuple[int, Message, tuple[Any, ...]]]) -> Gathered:
    members, requests, rows = zip(*part, strict=True)
    found = recipe_of(requests[0]) if rows[0] else None
    columns = tuple(zip(*rows, strict=True))
    numbers = bool(columns) and all(NUMBERS.issuperset(map(type, column)) for column in columns)
    return Gathered(members, requests, None if found is None else found[0], columns, numbers)


def _alike(message: Any) -> tuple[tuple[Hashable, ...], tuple[Any, ...]]:
    """A key that messages of one type and set of fields have in common which can be asked as one, and the arguments of this one's distribution."""
    if type(message) is Deterministic:
        return (_kind(message.value), *_circumstances(message)), ()
    if type(message) not in (Sample, Observe) or message.key is not None:
        return (), ()
    found = recipe_of(message)
    if found is None or not (_can_be_stacked(*found) and (message.value is UNDECIDED or can_be_rows(message.value))):
        return (), ()
    recipe, arguments = found
    kinds = map(_argument_kind, arguments, recipe.event_dims)
    return (recipe, _kind(message.value), *kinds, *_circumstances(message)), arguments


def _can_be_stacked(recipe: Recipe, arguments: tuple[Any, ...]) -> bool:
    try:
        event_dims = recipe.event_dims
    except NotImplementedError:
        return False
    return all(_fits(x, event_dim) for x, event_dim in zip(arguments, event_dims, strict=True))


def _fits(argument: Any, event_dim: int | None) -> bool:
    if isinstance(argument, torch.Tensor):
        return event_dim is not None and argument.dim() >= event_dim
    return event_dim is None or (event_dim == 0 and type(argument) in NUMBERS)


def can_be_rows(value: Any) -> bool:
    """Whether values of this one's kind can be the rows of a tensor."""
    return isinstance(value, torch.Tensor) or type(value) in (bool, float) or (type(value) is int and is_small(value))


def _circumstances(site: Any) -> tuple[Hashable, ...]:
    """What is around a site. A number as a scale counts by its value; tensors are stacked."""
    infer = tuple(sorted((key, _kind(value)) for key, value in site.infer.items())) if site.infer else ()
    around = tuple((each, id(each.loop)) for each in site.cond_indep_stack)
    return (
        _kind(site.scale, by_value=True),
        _kind(site.mask, by_value=True),
        around,
        infer,
        None if (param := param_of(site)) is None else getattr(param.init, "shape", ()),
    )


def _argument_kind(x: Any, event_dim: int | None) -> Hashable:
    """Numbers are stacked where they are parameters; what is none is one for all."""
    return "number" if event_dim is not None and type(x) in NUMBERS else _kind(x, by_value=True)


def _kind(x: Any, by_value: bool = False) -> Hashable:
    """What values must have in common to be stacked: tensors their shape, numbers their type; else that they are equal."""
    if isinstance(x, torch.Tensor):
        return (x.shape, x.dtype, x.device)
    if type(x) in (bool, int, float) and not by_value:
        return cast(Hashable, type(x) if can_be_rows(x) else "large")
    try:
        hash(x)
    except TypeError:
        return id(x)
    return (type(x), x)
