"""LawBroken: what is said where a law does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from poutine.laws.outcome import Difference


@attrs.frozen
class Finding:
    """A case in which a law does not hold: both sides, the seed that they ran under, the programs, and what is different.

    again: how to come to the same case.
    """

    left: str
    right: str
    found: Difference | str
    seed: int | None = None
    programs: Sequence[Any] = ()
    again: str = ""

    def __str__(self) -> str:
        sides = [f"  left:   {self.left}", f"  right:  {self.right}"] if self.right else [f"  {self.left}"]
        seed = [] if self.seed is None else [f"  seed:   {self.seed}"]
        lines = [*sides, *seed, f"  first difference, at {self.found}"]
        lines += ["\nwith the program" + repr(program).rstrip() for program in self.programs]
        lines += [f"\nagain:  {self.again}"] if self.again else []
        return "\n".join(lines)


class LawBroken(AssertionError):
    """A law does not hold. Its ``str`` names the law, and shows both sides, the program, the first difference, and how to see it again."""

    def __init__(self, law: Any, finding: Finding) -> None:
        super().__init__(law, finding)
        self.law, self.finding = law, finding

    def __str__(self) -> str:
        return f"law {self.law.name} does not hold: {self.law.equation}\n\n{self.finding}"

    @property
    def programs(self) -> tuple[Any, ...]:
        return tuple(self.finding.programs)
