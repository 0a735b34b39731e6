"""The batch shape that a site has inside of vectorised plates, and what does not fit there."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Number
from typing import Any, Final, TypeVar

import attrs
import torch
from torch.distributions import Distribution

from poutine.errors import PlateError, PoutineError
from poutine.messages import Choice, CondIndepStackFrame, PlateEntry
from poutine.tensors import tensors_in

C = TypeVar("C", bound=Choice)
Shape = tuple[int, ...]
Frames = tuple[CondIndepStackFrame, ...]


@attrs.define(eq=False)
class Entered:
    """What is known of one entry into a plate.

    around:  the frames of the sized plates further out, in whose dimensions a distribution or a value may have their sizes already.
    wide:    whether values may have dimensions to the left of all plates, those of a runtime that takes many values at once.
    table:   of the sites so far: the name, the batch shape and the event shape.
    """

    around: Frames = ()
    wide: bool = False
    table: list[tuple[str, Shape, Shape]] = attrs.field(factory=list)
    known: bool = False

    def begin(self, entry: PlateEntry) -> None:
        """Takes what the answer to an ``EnterPlate`` tells; the first is the outermost plate's."""
        if not self.known:
            self.around, self.wide, self.known = sized(entry.around), entry.wide, True

    def __str__(self) -> str:
        width = max((len(name) for name, _, _ in self.table), default=0)
        rows = [f"  {name:{width}}  batch {batch}  event {event}" for name, batch, event in self.table]
        return "\n".join(["sites of this plate so far:", *rows])


def sized(frames: Iterable[CondIndepStackFrame]) -> Frames:
    """Those of the vectorised plates that have a size."""
    return tuple(frame for frame in frames if frame.dim is not None and frame.size is not None)


def expanded_shape(site: Choice, dist: Any, frames: Frames, entered: Entered) -> Shape:
    """The batch shape that ``dist`` must have in its plates. Raises ``PlateError``."""
    batch_shape = tuple(dist.batch_shape)
    entered.table.append((site.name, batch_shape, _event_shape(dist)))
    shape = [*batch_shape]
    for frame in frames:
        assert frame.dim is not None and frame.size is not None
        shape = [1] * (-frame.dim - len(shape)) + shape
        if shape[frame.dim] not in (1, frame.size):
            raise PlateError(
                site.name,
                f"plate {frame.name!r} has size {frame.size} at dimension {frame.dim}, where the batch shape {batch_shape} has "
                f"{shape[frame.dim]}; {_ONE_DRAW}, or use another dim.\n{entered}",
            )
        shape[frame.dim] = frame.size
    for dim, plate in gaps(frames, entered.around).items():
        if -dim <= len(shape) and shape[dim] != 1:
            raise PlateError(
                site.name,
                f"{_whose(plate, dim)}, where the batch shape {batch_shape} has {shape[dim]}; {_as_column(site, plate)}; {_ONE_DRAW}.\n{entered}",
            )
    if site.is_decided:
        check_value(site, dist, frames, entered)
    return tuple(shape)


def check_value(site: Choice, dist: Any, frames: Frames, entered: Entered) -> None:
    """Raises ``PlateError`` unless the value of ``site`` fits its distribution and all of its plates.

    In each dimension it has the size that these give it, or 1: otherwise it would count several times. To the left of all plates there may
    be more if the runtime takes many values at once.
    """
    given, event_shape = tuple(getattr(site.value, "shape", ())), _event_shape(dist)
    if given == dist.batch_shape + event_shape:
        return
    shape, lowest = [*dist.batch_shape], 0
    for frame in (*frames, *entered.around):
        assert frame.dim is not None and frame.size is not None
        shape = [1] * (-frame.dim - len(shape)) + shape
        shape[frame.dim] = frame.size if shape[frame.dim] == 1 else shape[frame.dim]
        lowest = min(lowest, frame.dim)
    expected = (*shape, *event_shape)
    wrong = misfits(given, expected, len(event_shape) - lowest if entered.wide else len(given))
    if not wrong:
        return
    way_out = "index the data with the plate's index"
    if wrong[0] < -len(expected):
        way_out += ", and put a plate around for each further dimension"
    for dim, plate in gaps(frames, entered.around).items():
        if dim - len(event_shape) in wrong:
            way_out = f"{_whose(plate, dim)}: {_as_column(site, plate)}"
    table = f"\n{entered}" if entered.table else ""
    raise PlateError(
        site.name,
        f"expected a value that broadcasts to batch shape {tuple(shape)} and event shape {event_shape}, got shape {given}; {way_out}.{table}",
    )


def gaps(frames: Frames, around: Frames) -> dict[int, CondIndepStackFrame]:
    """The dimensions between plates, or to the right of them, that belong to none, each with the plate to its left.

    What has elements there counts once for each element of that plate. It is most often data that were indexed with a vector in place
    of a column.
    """
    plates = {frame.dim or 0: frame for frame in (*frames, *around)}
    lowest = min(plates, default=0)
    found: dict[int, CondIndepStackFrame] = {}
    if len(plates) < -lowest:
        plate = plates[lowest]
        for dim in range(lowest, 0):
            if dim in plates:
                plate = plates[dim]
            else:
                found[dim] = plate
    return found


def plate_shape(frames: Iterable[CondIndepStackFrame]) -> Shape:
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
    if misfits(batch, batch_shape, len(batch)):
        return site
    return site.replaced("value", value.expand(batch_shape + event_shape))


def expanded(site: Choice, dist: Any, shape: Shape) -> Any:
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
            f"cannot expand {dist!r} to batch shape {shape}, that of its plates: {str(error).rstrip('.') or type(error).__name__}. "
            f"Define expand(batch_shape) in {type(dist).__name__}, or give its parameters that shape",
        ) from error


def misfits(given: Shape, expected: Shape, inside: int) -> list[int]:
    """The dimensions (negative) in which ``given`` does not broadcast to ``expected``; to the left of the last ``inside``, it may be larger."""
    expected = (1,) * (len(given) - len(expected)) + expected
    return [dim for dim in range(-len(given), 0) if given[dim] not in (1, expected[dim]) and not (dim < -inside and expected[dim] == 1)]


_ONE_DRAW: Final = "wrap it in Independent(d, n) if the last n dimensions are one draw"


def _whose(plate: CondIndepStackFrame, dim: int) -> str:
    return f"plate {plate.name!r} is at dimension {plate.dim}, and no plate is at {dim}"


def _as_column(site: Choice, plate: CondIndepStackFrame) -> str:
    column = ", None" * (-(plate.dim or 0) - 1)
    return f"give what is indexed with its index a dimension of size 1 there, as in {site.name}[i][:{column}], or put a plate around for it"


def _event_shape(dist: Any) -> Shape:
    return tuple(getattr(dist, "event_shape", ()))


def _float_type(dist: Distribution) -> torch.dtype:
    return next((each.dtype for each in tensors_in(dist) if each.is_floating_point()), torch.get_default_dtype())
