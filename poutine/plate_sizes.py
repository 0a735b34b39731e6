"""Whether a value that was sampled in one plate is to be used in another: not in one of another size, nor for other elements."""

from __future__ import annotations

from typing import Any

from poutine.errors import PlateError
from poutine.expansion import spread
from poutine.messages import Choice, CondIndepStackFrame, Sample, is_distribution


def replayed(site: Sample, guide: Choice, is_index: bool) -> Sample:
    """``site`` with the value of ``guide``. ``is_index``: whether that is the index of a subsampled plate. Raises ``PlateError``."""
    given = site.replaced("value", guide.value)
    if is_index:
        check_index(site, guide)
    elif site.cond_indep_stack:
        check_plates(site, guide)
        return spread(given)
    return given


def check_index(site: Sample, guide: Choice) -> None:
    """Raises ``PlateError`` if an index was drawn from a plate of another size: its numbers may lie inside of this one by chance."""
    here, there = (getattr(fn, "size", None) for fn in (site.fn, guide.fn))
    if here != there:
        raise PlateError(site.name, f"the plate has size {here} here, and {there} in the trace that is replayed; give both one size")


def check_plates(site: Sample, guide: Choice) -> None:
    """Raises ``PlateError`` if a plate around ``site`` has another number of draws than the same one has around ``guide``.

    Without one of the same name there, its number is that in this dimension of the value. A value of size 1 would fit into any: its one
    element would be scored as often as there are elements here. And a site that all elements share (of an indep that nothing broadcasts) would be
    scored once for each element of a value that has several.
    """
    dist, theirs = _dist_of(site), getattr(_dist_of(guide), "batch_shape", None)
    named = {frame.name: frame.size and (_size_at(frame.dim, theirs) or frame.size) for frame in guide.cond_indep_stack}
    for frame in site.cond_indep_stack:
        if not frame.vectorized or frame.size is None:
            continue
        here = _size_at(frame.dim, getattr(dist, "batch_shape", None)) or frame.size
        there = named.get(frame.name) or _size_at(frame.dim, _batch_of(guide.value, dist))
        if there is not None and here != there:
            what = f"plate {frame.name!r}" if here == frame.size else f"its distribution, which the elements of plate {frame.name!r} share,"
            raise PlateError(
                site.name,
                f"{what} has size {here} here, and the value in the trace that is replayed has size {there} there; give both one size",
            )


def check_elements(site: Choice, guide: Choice) -> None:
    """Raises ``PlateError`` if a plate around ``site`` has other elements than that around ``guide``, whose value it has.

    It would be scored with the data of elements that it has nothing to do with. A plate is that of the same name or, without one,
    at the same dimension.
    """
    there: dict[Any, CondIndepStackFrame] = {frame.dim: frame for frame in guide.cond_indep_stack if frame.dim is not None}
    there.update((frame.name, frame) for frame in guide.cond_indep_stack)
    for here in site.cond_indep_stack:
        other = there.get(here.name) or there.get(here.dim)
        if other is None or here.index is other.index or None in (here.size, other.size) or _elements(here) == _elements(other):
            continue
        raise PlateError(
            site.name,
            f"plate {here.name!r} has the elements {_elements(here)} here, and the value in the trace that is replayed is that of "
            f"{_elements(other)}; replay the plate's index, too (name {here.name!r} in sites, if the trace has it), or give both plates "
            "one subsample",
        )


def _elements(frame: CondIndepStackFrame) -> list[int]:
    found: list[int] = list(range(frame.size or 0)) if frame.index is None else frame.index.tolist()
    return found


def _dist_of(site: Choice) -> Any:
    """Its distribution, unless a callable would have to be called for it."""
    return site.dist if is_distribution(site.fn) or isinstance(site.fn, type) else site.built


def _batch_of(value: Any, dist: Any) -> tuple[int, ...] | None:
    """The batch shape of ``value`` under ``dist``; None where nobody can tell."""
    event_shape, shape = getattr(dist, "event_shape", None), getattr(value, "shape", None)
    return None if event_shape is None or shape is None else tuple(shape[: max(0, len(shape) - len(event_shape))])


def _size_at(dim: int | None, batch: tuple[int, ...] | None) -> int | None:
    """The size of ``batch`` at ``dim``, 1 if it has fewer dimensions; None where nobody can tell."""
    if dim is None or batch is None:
        return None
    return batch[dim] if len(batch) >= -dim else 1
