"""CondIndepStackFrame: what a site knows of a plate around it."""

from __future__ import annotations

import attrs
import torch


@attrs.frozen
class CondIndepStackFrame:
    """One plate around a site.

    ``counter`` numbers the entries of the plate within one run of the enclosing program, from 1. ``dim`` (negative,
    counted from the right) and ``size`` are those of the batch dimension of a vectorised plate, where it has one.
    ``loop`` is the same object in all entries that are branches of one loop over a sequential plate: only these are independent.
    ``index`` tells which elements a vectorised plate that is a subsample has; without it, it has all. ``weight`` is how many elements of
    the plate each of those that take part stands for: N / n in a subsample of n out of N. The scale of a site inside has this factor.
    """

    name: str
    counter: int
    vectorized: bool
    dim: int | None = None
    size: int | None = None
    loop: object = attrs.field(default=None, eq=False)
    index: torch.Tensor | None = attrs.field(default=None, eq=False)
    weight: float = 1.0

    def __repr__(self) -> str:
        """With all that it has, but for ``loop``, which has no name but its address."""
        has = {"dim": self.dim, "size": self.size, "index": self.index, "weight": None if self.weight == 1.0 else self.weight}
        more = "".join(f", {field}={value!r}" for field, value in has.items() if value is not None)
        return f"CondIndepStackFrame({self.name!r}, {self.counter}, vectorized={self.vectorized}{more})"


def of_all(frame: CondIndepStackFrame) -> CondIndepStackFrame:
    """The frame around what is of no branch and of no subsample."""
    if frame.index is None and frame.weight == 1.0 and (frame.vectorized or frame.loop is None):
        return frame
    return attrs.evolve(frame, loop=frame.loop if frame.vectorized else None, index=None, weight=1.0)


def without_dim(frame: CondIndepStackFrame) -> CondIndepStackFrame:
    """The frame around what all elements share: it does not lie in the dimension in which they lie side by side."""
    return CondIndepStackFrame(frame.name, frame.counter, frame.vectorized)
