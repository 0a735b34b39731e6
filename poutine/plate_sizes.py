"""Whether a value that was sampled in a plate of one size is to be used in one of another."""

from __future__ import annotations

from typing import Any

from poutine.errors import PlateError
from poutine.messages import Choice, Sample, is_distribution


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


def _size_at(dim: int | None, site: Sample, value: Any) -> int | None:
    """The size of ``value`` in a batch dimension of ``site``, 1 if it has fewer; None where nobody can tell."""
    dist: Any = site.dist if is_distribution(site.fn) or isinstance(site.fn, type) else None
    event_shape, shape = getattr(dist, "event_shape", None), getattr(value, "shape", None)
    if dim is None or event_shape is None or shape is None:
        return None
    batch = shape[: len(shape) - len(event_shape)]
    return batch[dim] if len(batch) >= -dim else 1
