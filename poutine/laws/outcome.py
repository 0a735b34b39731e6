"""``≈``: what a program does under one seed, and the first difference between two outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs
import torch

from poutine.driver.engine import answer
from poutine.equality import same
from poutine.handlers.trace import TracePoutine
from poutine.laws.ask import Ask, AskingRuntime
from poutine.laws.sources import source_of
from poutine.messages import Message
from poutine.trace_graph import Trace


@attrs.frozen
class Failure:
    """How a run failed: the type of the exception, and the site that it names, if any."""

    type: type[BaseException]
    site: str | None

    def __str__(self) -> str:
        return f"raises {self.type.__name__}" + (f" at site {self.site!r}" if self.site is not None else "")


@attrs.frozen(eq=False)
class Outcome:
    """What a program does under one seed, as the world outside of it sees it.

    sites:    of the outermost trace, in order; up to the exit where ``NonlocalExit`` left the program.
    asked:    the ``Ask`` messages that arrived outside, in order.
    failure:  how the run failed; None if it returned ``value``.
    """

    value: Any
    sites: tuple[Message, ...]
    asked: tuple[Ask, ...] = ()
    failure: Failure | None = None
    trace: Trace | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outcome) and difference(self, other) is None

    __hash__ = None  # type: ignore[assignment]  # it holds tensors


@attrs.frozen
class Difference:
    """Where two outcomes differ first: ``where`` is a site's name or a part of the outcome, ``what`` a field of it."""

    where: str
    what: str
    left: Any
    right: Any

    def __str__(self) -> str:
        left, right = _in_a_line(self.left), _in_a_line(self.right)
        if left == right:  # the difference is in what is not shown
            left, right = _in_full(self.left), _in_full(self.right)
        return f"{self.where}{': ' * bool(self.what)}{self.what}\n    left:  {left}\n    right: {right}"


def _in_a_line(value: Any) -> str:
    """As it is shown; a tensor of many dimensions by its numbers and its shape, which would be a page of brackets otherwise."""
    return source_of(value) if isinstance(value, torch.Tensor) and value.dim() > 2 else f"{value}"


def _in_full(value: Any) -> str:
    """With all digits, and of what type or dtype it is."""
    if not isinstance(value, torch.Tensor):
        return f"{source_of(value)} ({type(value).__qualname__})"
    return f"{source_of(value)} ({value.dtype}, of shape {tuple(value.shape)}{', with a gradient' * value.requires_grad})"


def outcome(fn: Callable[..., Any], *args: Any, seed: int = 0, **kwargs: Any) -> Outcome:
    """Runs ``fn(*args, **kwargs)``, a program, inside a trace and under ``seed``. Its ``Ask`` messages are answered.

    An exception is a part of the outcome, but for those that end Python itself.
    """
    runtime = AskingRuntime(seed)
    try:
        return finished(answer(TracePoutine(fn).traced(*args, **kwargs), runtime), runtime.asked)
    except Exception as error:
        return failed(error, runtime.asked)


def finished(trace: Trace, asked: Iterable[Ask] = ()) -> Outcome:
    """The outcome of a run that returned."""
    return Outcome(trace["_RETURN"].value, _sites(trace), tuple(asked), None, trace)


def failed(error: Exception, asked: Iterable[Ask] = ()) -> Outcome:
    """The outcome of a run that raised."""
    partial = getattr(error, "trace", None)
    return Outcome(None, _sites(partial), tuple(asked), Failure(type(error), _site_of(error)), partial)


def difference(left: Outcome, right: Outcome) -> Difference | None:
    """The first difference, site by site, then in the returned value; None where ``left ≈ right``."""
    for mine, yours in zip(left.sites, right.sites, strict=False):
        found = _between_sites(mine, yours)
        if found is not None:
            return found
    if len(left.sites) != len(right.sites):
        shorter = min(len(left.sites), len(right.sites))
        longer = max(left.sites, right.sites, key=len)
        extra = f"a site {longer[shorter].name!r} ({longer[shorter].type})"
        sides = ("no further site", extra) if len(left.sites) == shorter else (extra, "no further site")
        return Difference(f"site {longer[shorter].name!r}", "only one side has it", *sides)
    for part in ("failure", "value", "asked"):
        mine, yours = getattr(left, part), getattr(right, part)
        if not same(mine, yours):
            return Difference("the end of the run" if part == "failure" else _PARTS[part], part, mine, yours)
    return None


_PARTS: Final = MappingProxyType({"value": "the returned value", "asked": "what was asked of the world outside"})

_LEFT_OUT: Final = ("key",)  # what a draw is keyed by is the runtime's business; the draw itself is the value


def _between_sites(left: Message, right: Message) -> Difference | None:
    for field in ("name", "type", *_fields(type(left))):
        mine, yours = getattr(left, field, None), getattr(right, field, None)
        if isinstance(mine, Mapping) and isinstance(yours, Mapping):
            mine, yours = dict(mine), dict(yours)  # of what class is nobody's business
        if not same(mine, yours):
            return Difference(f"site {left.name!r}", field, mine, yours)
    return None


def _fields(kind: type[Message]) -> Iterable[str]:
    return (field.name for field in attrs.fields(kind) if field.name not in _LEFT_OUT)


def _sites(trace: Trace | None) -> tuple[Message, ...]:
    return () if trace is None else tuple(site for name, site in trace.nodes.items() if name not in ("_INPUT", "_RETURN"))


def _site_of(error: Exception) -> str | None:
    site = getattr(error, "site", None)
    name = getattr(error, "name", None) if site is None else getattr(site, "name", None)
    return name if isinstance(name, str) else None
