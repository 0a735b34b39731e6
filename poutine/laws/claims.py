"""What a handler says of itself: in its docstring, the laws that it obeys, and those of section H that it breaks.

::

    **Obeys**: H4, I.idempotent; C.scale, C.mask.
    **Breaks**: H7, because errors of the program are its values.

1. Such a statement begins a line and ends with a full stop at the end of a line. Its names are separated by commas or semicolons.
   One amid a line is an error, if its label is bold and not quoted.
2. What is no name of a law is an error. So is what any handler must obey anyway among the first, what no handler need obey among the
   second, and a second without a reason.
3. A class states for itself: what its base class states says nothing of what it does itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from inspect import cleandoc
from typing import Any, Final

import attrs

from poutine.aliases import Alias, Awaiting
from poutine.laws.law import Law
from poutine.laws.links import Link
from poutine.laws.subject import Subject
from poutine.laws.table import ANY_HANDLER, LAWS
from poutine.poutine import Poutine


@attrs.frozen
class Claims:
    """What a handler states: the laws that it ``obeys`` beyond those of any handler, and those of any handler that it ``breaks``, each with its reason."""

    obeys: tuple[Law, ...] = ()
    breaks: tuple[tuple[Law, str], ...] = ()

    @property
    def all(self) -> tuple[Law, ...]:
        """What it is to be put to."""
        broken = [law.name for law, _ in self.breaks]
        return tuple(law for law in (*ANY_HANDLER, *self.obeys) if law.name not in broken)


def claims_of(handler: Any) -> Claims:
    """What the docstring of a handler states: of its class, of the function that makes it, or of the poutine that a function makes.

    Raises ``ValueError`` for a statement that does not follow the rules above.
    """
    described = _described(handler)
    text, who = cleandoc(_doc(described)), getattr(described, "__name__", repr(described))
    obeys = tuple(_law(name, who) for stated in _statements("Obeys", text, who) for name in _names(stated))
    reasons = [_reasoned(stated, who) for stated in _statements("Breaks", text, who)]
    breaks = tuple((_law(name, who), reason) for names, reason in reasons for name in names)
    _check(who, obeys, [law for law, _ in breaks])
    return Claims(obeys, breaks)


_STATES: Final = re.compile(r"^\s*(\*\*)?(Obeys|Breaks)(:|\*\*)|(?<!`)\*\*(Obeys|Breaks)(:\*\*|\*\*:)", re.MULTILINE)


def _statements(label: str, text: str, who: str) -> list[str]:
    """What stands after each ``label``, up to its full stop."""
    if (amid := re.search(rf"^.*[^\s`].*?(?<!`)\*\*{label}(:\*\*|\*\*:).*", text, re.MULTILINE)) is not None:
        raise ValueError(f"{who}: {label} states nothing in {amid[0].strip()!r}; begin a line with it")
    found = []
    for match in re.finditer(rf"^(\*\*)?{label}(:\*\*|\*\*:|\*\*|:)(.*?)(\.[ \t]*$|\n[ \t]*\n|\Z)", text, re.MULTILINE | re.DOTALL):
        if ":" not in match[2]:
            raise ValueError(f"{who}: {label} {match[3].strip()!r} states nothing; write `**{label}**: ...`, with a colon")
        found.append(" ".join(match[3].split()))
        if not match[4].startswith("."):
            raise ValueError(f"{who}: {label}: {found[-1]!r} has no end; put a full stop after it, at the end of a line")
    return found


def _names(stated: str) -> list[str]:
    return re.split(r"[,;] *", stated)


def _reasoned(stated: str, who: str) -> tuple[list[str], str]:
    names, because, reason = stated.partition(" because ")
    if not because:
        raise ValueError(f"{who}: Breaks: {stated!r} gives no reason; write `**Breaks**: H7, because ...`")
    return _names(names.rstrip(",")), reason


def _law(name: str, who: str) -> Law:
    try:
        return LAWS[name]
    except KeyError:
        near = get_close_matches(name, LAWS, n=3, cutoff=0.0)
        raise ValueError(f"{who} states {name!r}, which is no law; near to it are {', '.join(near)} (all: poutine.laws.LAWS)") from None


def _check(who: str, obeys: Iterable[Law], breaks: Iterable[Law]) -> None:
    for law in obeys:
        if law in ANY_HANDLER:
            raise ValueError(f"{who} states {law.name}, which any handler must obey: leave it out")
    for law in breaks:
        if law not in ANY_HANDLER:
            raise ValueError(f"{who} states that it breaks {law.name}, which no handler need obey: leave it out")


def _described(handler: Any) -> Any:
    """What has the docstring: a class of poutines; or a function of the user's own, if it states something itself or makes none."""
    if isinstance(handler, (Alias, Awaiting, Link)):
        return handler.poutine
    if isinstance(handler, Poutine):
        return type(handler)
    if isinstance(handler, type) or _STATES.search(_doc(handler)):
        return handler
    return Subject.of(handler).poutine or handler


def _doc(described: Any) -> str:
    """Not that of ``Poutine`` and the like, which a class that has none of its own inherits."""
    return (vars(described).get("__doc__") if isinstance(described, type) else getattr(described, "__doc__", None)) or ""
