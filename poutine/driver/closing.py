"""To its end: a generator that is closed where nobody answers any more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from poutine.program import Coroutine

_TIMES: Final = 100


def close(generator: Coroutine[Any]) -> None:
    """Closes ``generator``. One that yields on its way out (in a ``finally``, say) is not answered, but closed again at that yield.

    Raises what it raises, and ``RuntimeError`` if it yields; either way it has ended then, but for one that does so a hundred times.
    """
    first: RuntimeError | None = None
    for _ in range(_TIMES):
        try:
            generator.close()
            break
        except RuntimeError as error:
            first = first or error
            if getattr(generator, "gi_frame", None) is None:
                break
    if first is not None:
        raise first


def close_all(generators: Iterable[Coroutine[Any]]) -> None:
    """Closes each in turn; raises the first error that this raises, after closing all."""
    first: BaseException | None = None
    for generator in generators:
        try:
            close(generator)
        except BaseException as error:
            first = first or error
    if first is not None:
        raise first
