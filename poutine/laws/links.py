"""Link: a handler that still awaits what it wraps, as a value that prints as it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from poutine.aliases import Awaiting
from poutine.equality import same
from poutine.laws.sources import source_of
from poutine.poutine import Poutine

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]
"""What makes a handler out of what it wraps: a poutine class, an alias with its options, or any function of one argument."""


@attrs.frozen(eq=False, repr=False)
class Link:
    """``scale(scale=2.0)``: a handler under its short name, with options. Called with ``fn``, it wraps it."""

    name: str
    poutine: type[Poutine]
    options: Mapping[str, Any]

    def __call__(self, fn: Callable[..., Any]) -> Poutine:
        return Awaiting(self.poutine, self.options)(fn)

    def around(self, fn: str) -> str:
        """The source of this handler around ``fn``."""
        return f"{self.name}({', '.join([fn, *self._options()])})"

    def _options(self) -> list[str]:
        return [f"{key}={source_of(value)}" for key, value in self.options.items()]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Link) and self.poutine is other.poutine and same(dict(self.options), dict(other.options))

    __hash__ = None  # type: ignore[assignment]  # options may hold tensors, which are compared by content

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(self._options())})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # Hypothesis would show the fields


@attrs.frozen(eq=False, repr=False)
class Given(Link):
    """A link as somebody gave it: ``wrap`` makes the poutine, whose class and options are known."""

    wrap: Wrap

    def __call__(self, fn: Callable[..., Any]) -> Any:
        return self.wrap(fn)


@attrs.frozen(repr=False)
class Chain:
    """Handlers around one another, innermost first. Called with ``fn``, it wraps it in all of them."""

    links: tuple[Link, ...]

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        for link in self.links:
            fn = link(fn)
        return fn

    def around(self, fn: str) -> str:
        """The source of the chain around ``fn``."""
        for link in self.links:
            fn = link.around(fn)
        return fn

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, self.links))})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


def written(wrap: Wrap, fn: str) -> str:
    """The source of a handler around ``fn``."""
    if isinstance(wrap, (Link, Chain)):
        return wrap.around(fn)
    if isinstance(wrap, Awaiting):
        return Link(wrap.poutine.__name__, wrap.poutine, wrap.options).around(fn)
    return f"{getattr(wrap, '__name__', repr(wrap))}({fn})"
