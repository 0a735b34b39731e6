"""Subject: what laws are put to. A handler that somebody gave, or random handlers of one class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from hypothesis import strategies as st

from poutine.aliases import Alias
from poutine.laws.handlers import CONFIGURATIONS, kind_of, link
from poutine.laws.links import Given, Link, Wrap
from poutine.poutine import Poutine
from poutine.program import Coroutine


@attrs.frozen
class Subject:
    """A handler to put laws to, and what is known of it.

    wrap:     what was given; called with a program, it wraps it.
    poutine:  the class of the poutine that stands around the program then; None where that is not one poutine alone.
    kind:     the short name of the library's poutine that this class is, or derives from; None if it is neither.
    options:  those of the poutine that was given; None where a class was given, whose options are random then.
    """

    wrap: Wrap
    poutine: type[Poutine] | None = None
    kind: str | None = None
    options: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, wrap: Wrap) -> Subject:
        """What ``wrap`` makes is tried out on a program. Raises ``TypeError`` if it cannot be called with a program alone."""
        given = wrap.poutine if isinstance(wrap, Alias) else wrap
        if (
            isinstance(given, type)
            and issubclass(given, Poutine)
            and (kind := kind_of(given)) is not None
            and not _own_options(given, kind)
        ):
            return cls(wrap, given, kind)
        made = _made(wrap)
        if isinstance(made, Poutine) and made.fn is _nothing:
            return cls(wrap, type(made), kind_of(type(made)), options_of(made))._without_demands()
        return cls(wrap)

    def handlers(self, program: Callable[..., Any]) -> st.SearchStrategy[Wrap]:
        """The handler that was given; or random ones, whose options suit ``program``."""
        if self.poutine is None:
            return st.just(self.wrap)
        if self.options is None:
            return self.others(program)
        return st.just(Given(self.name, self.poutine, self.options, self.wrap))

    def others(self, program: Callable[..., Any]) -> st.SearchStrategy[Link]:
        """Handlers of the same class, with random options."""
        assert self.kind is not None, f"{self.wrap!r} is of no kind whose options are known"
        return CONFIGURATIONS[self.kind](program).map(lambda options: self.like(**options))

    def like(self, **options: Any) -> Link:
        """A handler of the same class with these options; it keeps those that the library's class does not have."""
        assert self.poutine is not None and self.kind is not None
        own = {name: value for name, value in (self.options or {}).items() if name in _own_options(self.poutine, self.kind, required=False)}
        return Link(self.name, self.poutine, {**own, **options})

    def _without_demands(self) -> Subject:
        """Names that ``strict`` handlers insist on are not those of random programs."""
        if self.kind is None or not getattr(_made(self.wrap), "strict", False):
            return self
        lenient = attrs.evolve(self, options={**(self.options or {}), "strict": False})
        return attrs.evolve(lenient, wrap=lenient.like(**(lenient.options or {})))

    @property
    def shown(self) -> str:
        """It, around a model."""
        return f"{getattr(self.wrap, '__name__', repr(self.wrap)) if self.poutine is None else self.name}(model)"

    @property
    def name(self) -> str:
        """What the class is called in a chain."""
        assert self.poutine is not None
        return self.kind if self.kind is not None and link(self.kind).poutine is self.poutine else self.poutine.__name__


def options_of(made: Poutine) -> dict[str, Any]:
    """The options that a poutine was made with, but for those that have their default."""
    fields = (field for field in attrs.fields(type(made)) if field.init and field.name != "fn")
    return {field.alias: value for field in fields if (value := getattr(made, field.name)) is not field.default}


def _own_options(poutine: type[Poutine], kind: str, required: bool = True) -> set[str]:
    """Those (that have no default) of a class which the library's class of its kind does not have."""
    library = {field.alias for field in attrs.fields(link(kind).poutine)}
    mine = {field.alias for field in attrs.fields(poutine) if field.init and not (required and field.default is not attrs.NOTHING)}
    return mine - library


def _made(wrap: Wrap) -> Any:
    try:
        return wrap(_nothing)
    except TypeError as error:
        name = getattr(wrap, "__name__", repr(wrap))
        raise TypeError(
            f"{name} cannot be put to laws: called with a program alone, it raises TypeError: {error}; "
            f"give it its options: functools.partial({name}, ...), or lambda fn: {name}(fn, ...)"
        ) from error


def _nothing() -> Coroutine[None]:
    return  # pragma: no cover  # it is wrapped, and never run
    yield
