"""NumberedPoutine: the draws of one particle among many."""

from __future__ import annotations

from typing import Any

import attrs

from poutine import Choice, Coroutine, Message, Poutine, Rule, Rules, Sealed


@attrs.frozen(slots=False, eq=False, repr=False)
class NumberedPoutine(Poutine):
    """Renames every sample and observation to ``f"{prefix}/{name}"`` for what is further out, as scope does.

    A draw whose key is fixed further in (``seed``) gets one of its own: particles that share their draws are one particle. It depends on
    that seed still, and not on the runtime's.

    Not to be confused with scope: parameters keep their names, since all particles share them.
    """

    prefix: str

    def rules(self) -> Rules:
        def rename(site: Choice) -> Coroutine[Any]:
            answered = yield self._keyed(site.evolve(name=f"{self.prefix}/{site.name}"))
            return answered.evolve(name=site.name)

        def reach(sealed: Sealed) -> Message:
            hidden: Any = sealed.message
            if not isinstance(hidden, Choice) or hidden.key is None:
                return sealed
            key = self._keyed(hidden.evolve(name=f"{self.prefix}/{hidden.name}")).key
            return Sealed(hidden.evolve(key=key))

        return {Choice: Rule(around=rename), Sealed: Rule(up=reach)}

    def _keyed(self, site: Choice) -> Choice:
        return site if site.key is None else site.evolve(key=(site.key[0], site.name, site.key[2]))
