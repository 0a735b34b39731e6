"""What a statement of a random program may use."""

from __future__ import annotations

from typing import Final, Self

import attrs

from poutine.laws.expressions import Expression, Name
from poutine.laws.statements import Learn

MOST: Final = 8  # so often, at most, a statement is run, for all of the loops around it


@attrs.frozen
class Scope:
    """What is known where a statement stands.

    scalars:  expressions of real numbers. counts: of those that count something.
    indices:  the counters that make names unique.
    rows:     the size of the outermost vectorised plate around; 0 if there is none. Inside, what is drawn has a row for each element.
    entries:  how often, at most, the statement is run.
    names:    of earlier sites. params: that can be read again.
    """

    scalars: tuple[Expression, ...] = ()
    counts: tuple[Expression, ...] = ()
    indices: tuple[str, ...] = ()
    rows: int = 0
    entries: int = 1
    names: tuple[Name, ...] = ()
    params: tuple[Learn, ...] = ()

    @property
    def most(self) -> int:
        """How often a loop may run its body here."""
        return max(1, MOST // self.entries)

    def knows(self, scalar: Expression, *counts: Expression) -> Self:
        return attrs.evolve(self, scalars=(*self.scalars, scalar), counts=(*self.counts, *counts))

    def has(self, name: Name) -> Self:
        """After a site of this name."""
        return attrs.evolve(self, names=(*self.names, name))

    def learns(self, param: Learn) -> Self:
        return attrs.evolve(self, params=(*self.params, param))

    def inside(self, index: str, times: int) -> Self:
        """Inside of a loop with this counter."""
        return attrs.evolve(self, indices=(*self.indices, index), entries=self.entries * max(times, 1))

    def in_rows(self, size: int) -> Self:
        return attrs.evolve(self, rows=self.rows or size)
