"""The batch shape that a site has inside of vectorised plates, and what does not fit there."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Number
from typing import Any, TypeVar

import torch
from torch.distributions import Distribution

from poutine.errors import PlateError, PoutineError
from poutine.messages import Choice, CondIndepStackFrame
from poutine.tensors import tensors_in

C = TypeVar("C", bound=Choice)
Shapes = list[tuple[str, tuple[int, ...], tuple[int, ...]]]
"""Of the sites of an entry into a plate so far: the name, the batch shape and the event shape."""


def expanded_shape(site: Choice, dist: Any, frames: Iterable[CondIndepStackFrame], table: Shapes) -> tuple[int, ...]:
    """The batch shape that ``dist`` must have in its plates. Raises ``PlateError``."""
    table.append((site.name, tuple(dist.batch_shape), _event_shape(dist)))
    shape = _expanded(site, dist.batch_shape, frames, table)
    if site.is_decided:
        _check_value(site, dist, shape, frames, table, True)
    return shape


def check_value(site: Choice, dist: Any, frames: Iterable[CondIndepStackFrame], table: Shapes, wide: bool) -> None:
    """Raises ``PlateError`` unless the value of a finished site fits its distribution and all of its plates.

    Batch dimensions to the left of all of these are a doubled density, unless the runtime takes many values at once (``wide``).
    """
    if site.value.shape == dist.batch_shape + _event_shape(dist):
        return
    shape = [*dist.batch_shape]
    for frame in frames:
        assert frame.dim is not None and frame.size is not None
        shape = [1] * (-frame.dim - len(shape)) + shape
        shape[frame.dim] = frame.size if shape[frame.dim] == 1 else shape[frame.dim]
    _check_value(site, dist, tuple(shape), frames, table, wide)


def plate_shape(frames: Iterable[CondIndepStackFrame]) -> tuple[int, ...]:
    """The sizes of plates at their dimensions, 1 where there is none."""
    shape: list[int] = []
    for frame in frames:
        assert frame.dim is not None and frame.size is not None
        shape = [1] * (-frame.dim - len(shape)) + shape
        shape[frame.dim] = frame.size
    return tuple(shape)


def spread(site: C) -> C:
    """``site``, whose value was given, with one for each element of its plates, as a draw has.

    So the model computes the same with a number that all elements share as with one for each. A value that does not fit stays as it is,
    to be refused; so does one of a distribution that is not torch's, of which nobody can tell what one draw is.
    """
    dist, value = site.fn, site.value
    if not isinstance(dist, Distribution) or not isinstance(value, (torch.Tensor, Number)):
        return site
    batch_shape, event_shape = dist.batch_shape, dist.event_shape
    if isinstance(value, Number):
        value = torch.as_tensor(value, dtype=_float_type(dist) if isinstance(value, float) else None)
    batch = value.shape[: value.dim() - len(event_shape)]
    if value.shape == batch_shape + event_shape or batch + event_shape != value.shape or len(batch) > len(batch_shape):
        return site
    if not _broadcasts(batch, batch_shape):
        return site
    return site.replaced("value", value.expand(batch_shape + event_shape))


def _float_type(dist: Distribution) -> torch.dtype:
    return next((each.dtype for each in tensors_in(dist) if each.is_floating_point()), torch.get_default_dtype())


def expanded(site: Choice, dist: Any, shape: tuple[int, ...]) -> Any:
    """``dist`` with the batch shape ``shape``. Raises ``PlateError`` if it cannot be expanded."""
    if shape == dist.batch_shape:
        return dist
    try:
        return dist.expand(shape)
    except PoutineError:
        raise
    except Exception as error:
        raise PlateError(
            site.name,
            f"cannot expand {dist!r} to batch shape {shape}, that of its plates: {error} "
            f"Define expand(batch_shape) in {type(dist).__name__}, or give its parameters that shape",
        ) from error


def _event_shape(dist: Any) -> tuple[int, ...]:
    return tuple(getattr(dist, "event_shape", ()))


def _expanded(site: Choice, batch_shape: Any, frames: Iterable[CondIndepStackFrame], table: Shapes) -> tuple[int, ...]:
    shape = list(batch_shape)
    for frame in frames:
        assert frame.dim is not None and frame.size is not None
        shape = [1] * (-frame.dim - len(shape)) + shape
        if shape[frame.dim] not in (1, frame.size):
            raise PlateError(
                site.name,
                f"plate {frame.name!r} has size {frame.size} at dimension {frame.dim}, where the batch shape {tuple(batch_shape)} has "
                f"{shape[frame.dim]}; wrap it in Independent(d, n) if the last n dimensions are one draw, or use another dim.\n{_format(table)}",
            )
        shape[frame.dim] = frame.size
    return tuple(shape)


def _check_value(site: Choice, dist: Any, shape: tuple[int, ...], frames: Iterable[CondIndepStackFrame], table: Shapes, wide: bool) -> None:
    given, event_shape = tuple(getattr(site.value, "shape", ())), _event_shape(dist)
    further = given[: max(0, len(given) - len(shape) - len(event_shape))]
    many = any(size != 1 for size in further)
    overflows = _overflows(given, len(event_shape), frames)
    if overflows or not _broadcasts(given, shape + event_shape) or (many and not wide):
        way_out = ", and put a plate around for each further dimension" if many else ""
        raise PlateError(
            site.name,
            f"expected a value that broadcasts to batch shape {shape} and event shape {event_shape}, got shape {given}; "
            f"index the data with the plate's index{way_out}.\n{_format(table)}",
        )


def _broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(x == y or x == 1 or y == 1 for x, y in zip(reversed(a), reversed(b), strict=False))


def _overflows(given: tuple[int, ...], event_dim: int, frames: Iterable[CondIndepStackFrame]) -> bool:
    """Whether a value has several elements in the dimension of a plate of one. (A dimension of no plate here may be one's further out.)"""
    batch = given[: len(given) - event_dim]
    return any(frame.size == 1 and -len(batch) <= (frame.dim or 0) < 0 and batch[frame.dim or 0] != 1 for frame in frames)


def _format(table: Shapes) -> str:
    width = max(len(name) for name, _, _ in table)
    return "\n".join(["sites of this plate so far:", *(f"  {name:{width}}  batch {batch}  event {event}" for name, batch, event in table)])
