"""NumberedPoutine: the draws of one particle among many."""

from __future__ import annotations

from typing import Any

import attrs

from poutine import Choice, Coroutine, Poutine, Rule, Rules


@attrs.frozen(slots=False, eq=False, repr=False)
class NumberedPoutine(Poutine):
    """Renames every sample and observation to ``f"{prefix}/{name}"`` for what is further out, as scope does.

    Not to be confused with scope: parameters keep their names, since all particles share them.
    """

    prefix: str

    def rules(self) -> Rules:
        def rename(site: Choice) -> Coroutine[Any]:
            answered = yield site.evolve(name=f"{self.prefix}/{site.name}")
            return answered.evolve(name=site.name)

        return {Choice: Rule(around=rename)}
