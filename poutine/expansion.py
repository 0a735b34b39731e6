"""The batch shape that a site has inside of vectorised plates, and what does not fit there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from poutine.errors import PlateError
from poutine.messages import Choice, CondIndepStackFrame

Shapes = list[tuple[str, tuple[int, ...], tuple[int, ...]]]
"""Of the sites of an entry into a plate so far: the name, the batch shape and the event shape."""


def expanded_shape(site: Choice, dist: Any, frames: Iterable[CondIndepStackFrame], table: Shapes) -> tuple[int, ...]:
    """The batch shape that ``dist`` must have in its plates. Raises ``PlateError``."""
    table.append((site.name, tuple(dist.batch_shape), _event_shape(dist)))
    shape = _expanded(site, dist.batch_shape, frames, table)
    if site.is_decided:
        _check_value(site, dist, shape, table)
    return shape


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


def _check_value(site: Choice, dist: Any, shape: tuple[int, ...], table: Shapes) -> None:
    value_shape = tuple(getattr(site.value, "shape", ()))
    event_dim = len(_event_shape(dist))
    batch = value_shape[: len(value_shape) - event_dim] if event_dim else value_shape
    for given, expected in zip(reversed(batch), reversed(shape), strict=False):
        if given != expected and given != 1 and expected != 1:
            raise PlateError(
                site.name,
                f"expected a value that broadcasts to batch shape {shape} and event shape {_event_shape(dist)}, got shape {value_shape}; "
                f"index the data with the plate's index.\n{_format(table)}",
            )


def _format(table: Shapes) -> str:
    width = max(len(name) for name, _, _ in table)
    return "\n".join(["sites of this plate so far:", *(f"  {name:{width}}  batch {batch}  event {event}" for name, batch, event in table)])
