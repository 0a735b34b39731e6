"""What a handler says of itself: the names of laws in its docstring."""

from __future__ import annotations

import re
from typing import Any, Final

from poutine.laws.law import Law
from poutine.laws.table import LAWS
from poutine.poutine import Poutine

_NAME: Final = re.compile(r"\b(?:H\d+|[IBCRDK]\.[a-z_]+(?:[.-][a-z_]+)*)")


def claims_of(handler: Any) -> tuple[Law, ...]:
    """The laws that the docstring of a handler, of its class or of what makes it, names: ``(H4)``, ``(C.scale, C.mask)``.

    Raises ``KeyError`` if it names a law that is not in ``LAWS``.
    """
    names = dict.fromkeys(_NAME.findall(_described(handler)))
    unknown = [name for name in names if name not in LAWS]
    if unknown:
        raise KeyError(f"{handler!r} names laws that are not in LAWS: {', '.join(unknown)}; there are {', '.join(LAWS)}")
    return tuple(LAWS[name] for name in names)


def _described(handler: Any) -> str:
    """The docstring, but not that of ``Poutine`` and the like, which a class that has none of its own inherits."""
    described = getattr(handler, "poutine", handler)  # of an alias, or of what awaits its fn
    if isinstance(described, Poutine):
        described = type(described)
    return (vars(described).get("__doc__") if isinstance(described, type) else getattr(described, "__doc__", None)) or ""
