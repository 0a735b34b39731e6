"""Names that a poutine was given and the program never reached."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from poutine.errors import UnusedNames
from poutine.poutine import Poutine


def check_used(poutine: Poutine, names: Iterable[str], seen: Collection[str], kinds: str = "site") -> None:
    """At the end of a run. Raises ``UnusedNames`` unless all ``names`` are among those that it has ``seen``."""
    unused = [name for name in names if name not in seen]
    if unused:
        raise UnusedNames(type(poutine).__name__, unused, seen, kinds)
