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
    """Raises ``PlateError`` if a plate around ``site`` has another size than the value of ``guide``.

    A value of size 1 would fit into any: its one element would be scored as often as there are elements here.
    """
    there = {frame.name: frame.size for frame in guide.cond_indep_stack}
    for frame in site.cond_indep_stack:
        size = there.get(frame.name) or _size_at(frame.dim, site, guide.value)
        if frame.vectorized and frame.size is not None and size is not None and size != frame.size:
            raise PlateError(
                site.name,
                f"plate {frame.name!r} has size {frame.size} here, and the value in the trace that is replayed has size {size} there; "
                "give both one size",
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


def _size_at(dim: int | None, site: Sample, value: Any) -> int | None:
    """The size of ``value`` in a batch dimension of ``site``, 1 if it has fewer; None where nobody can tell."""
    dist: Any = site.dist if is_distribution(site.fn) or isinstance(site.fn, type) else None
    event_shape, shape = getattr(dist, "event_shape", None), getattr(value, "shape", None)
    if dim is None or event_shape is None or shape is None:
        return None
    batch = shape[: len(shape) - len(event_shape)]
    return batch[dim] if len(batch) >= -dim else 1
