"""BroadcastPoutine: expands distributions to the sizes of the plates around them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from poutine.errors import PlateError
from poutine.messages import Choice, CondIndepStackFrame, Message
from poutine.poutine import Poutine
from poutine.program import Rule, Rules


class BroadcastPoutine(Poutine):
    """Expands the distribution of each site to the size of every vectorised plate in its ``cond_indep_stack``.

    ``plate`` puts it around ``indep``. A distribution without ``batch_shape`` (a bare callable, the index of a subsampled
    plate) stays as it is.

    **Laws**: idempotent; the identity outside of vectorised plates with a size.
    In ``poutine.laws``: H4, I.neutral, I.idempotent, B.isolates, D.keeps, D.draws; C.scale, C.mask, C.condition, C.substitute,
    C.block, C.trace, C.replay, C.do, C.uncondition, C.scope, C.infer_config, C.seed, C.escape, C.indep, C.broadcast.
    Raises ``PlateError``, with a table of the sites of this entry so far, if a batch shape, or the shape of a value that is
    given, has another size than the plate in its dimension.
    """

    def rules(self) -> Rules:
        table: list[tuple[str, Any, Any]] = []

        def expand(site: Choice) -> Message:
            frames = [frame for frame in site.cond_indep_stack if frame.dim is not None and frame.size is not None]
            dist: Any = None if not frames or site.infer.get("is_subsample") else _distribution(site)
            if getattr(dist, "batch_shape", None) is None:
                return site
            table.append((site.name, tuple(dist.batch_shape), tuple(dist.event_shape)))
            shape = _expanded(site, dist.batch_shape, frames, table)
            if site.is_decided:
                _check_value(site, dist, shape, table)
            return site if shape == dist.batch_shape else site.evolve(fn=dist.expand(shape), args=(), kwargs={})

        return {Choice: Rule(up=expand)}


def _distribution(site: Choice) -> Any:
    return site.dist if isinstance(site.fn, type) or not site.is_deferred else None


def _expanded(site: Choice, batch_shape: Any, frames: Iterable[CondIndepStackFrame], table: Any) -> tuple[int, ...]:
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


def _check_value(site: Choice, dist: Any, shape: tuple[int, ...], table: Any) -> None:
    value_shape = tuple(getattr(site.value, "shape", ()))
    event_dim = len(dist.event_shape)
    batch = value_shape[: len(value_shape) - event_dim] if event_dim else value_shape
    for given, expected in zip(reversed(batch), reversed(shape), strict=False):
        if given != expected and given != 1 and expected != 1:
            raise PlateError(
                site.name,
                f"expected a value that broadcasts to batch shape {shape} and event shape {tuple(dist.event_shape)}, got shape {value_shape}; "
                f"index the data with the plate's index.\n{_format(table)}",
            )


def _format(table: list[tuple[str, Any, Any]]) -> str:
    width = max(len(name) for name, _, _ in table)
    return "\n".join(["sites of this plate so far:", *(f"  {name:{width}}  batch {batch}  event {event}" for name, batch, event in table)])
