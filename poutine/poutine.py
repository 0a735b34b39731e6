"""The base of all poutines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, Final, NoReturn, Self

import attrs

from poutine.equality import equal
from poutine.errors import NotAProgram
from poutine.program import Coroutine, Handling, Program, Rules, name_of
from poutine.tensors import copied, fields_of, filled_in
from poutine.undecorated import at, picklable, taking_its_name


@attrs.frozen(slots=False, eq=False, repr=False)
class Poutine:
    """Turns a program into a program; this one forwards everything.

    ``Poutine(fn)(*args)`` is the program that runs ``fn(*args)`` under this poutine's rules. ``fn`` is a generator function,
    another poutine, or any callable that returns a program.

    To write one, subclass it with ``@attrs.frozen(slots=False, eq=False, repr=False)`` and return ``rules``: from a message
    type to a ``Rule``. What a run must remember lives in the closures of its rules, which are made anew for each run::

        @attrs.frozen(slots=False, eq=False, repr=False)
        class Doubled(Poutine):                        # the model gets every sample twice as large
            def rules(self):
                def double(request):                   # the request, going up
                    site = yield request               # the site, coming down
                    return site.evolve(value=2 * site.value)
                return {Sample: Rule(around=double)}

    Override ``coroutine`` to act before or after the program, or on what it returns or raises.

    **Laws**: identity, ``Poutine(p) ≈ p``. For every poutine, a user's own included: associativity (H2), unit (H3), unknown
    messages pass (H5), programs are closed (H6), errors arrive (H7), no state is kept (H8, H11, H12, H13), whatever is wrapped
    is affected (H9). ``poutine.laws.check_laws`` puts yours to these, and to those that its docstring states.

    **Obeys**: H1.

    Raises ``NotAProgram`` if ``fn`` cannot be called.
    """

    fn: Callable[..., Any] = attrs.field(validator=lambda self, _, fn: check_wrapped(type(self), fn))

    def __call__(self, *args: Any, **kwargs: Any) -> Program[Any]:
        return Program(self.coroutine, Program(self.fn, *args, **kwargs))

    def __get__(self, instance: object, owner: type | None = None) -> Poutine:
        """As a function's, so that a method may be decorated: the poutine over the method of ``instance``."""
        links, inside = self._chain("__get__")
        bind = getattr(type(inside), "__get__", None)
        if instance is None or bind is None:
            return self
        made = bind(inside, instance, owner)
        for link in reversed(links):
            made = _wrapping(made, type(link), _without_fn(link))
        return made  # type: ignore[no-any-return]  # the outermost link's copy

    def __iter__(self) -> NoReturn:
        raise NotAProgram(
            f"{name_of(self)} is no program yet: call it with the arguments of the model, and run the result with `yield from`"
        )

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        """One run: a program that runs ``program`` under this poutine."""
        return (yield Handling(program, self.rules()))

    def rules(self) -> Rules:
        """What this poutine does at each type of message, in one run."""
        return {}

    __eq__ = equal
    __hash__ = None  # type: ignore[assignment]  # options may hold tensors, which are compared by content

    # Chains may be thousands of poutines long, so what concerns all of one is a loop.

    def __repr__(self) -> str:
        links, inside = self._chain("__repr__")
        heads = [f"{type(link).__name__}(" for link in links]
        tails = [f"{''.join(link._options())})" for link in reversed(links)]
        return "".join([*heads, name_of(inside), *tails])

    def __copy__(self) -> Self:
        return filled_in(object.__new__(type(self)), fields_of(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        links, inside = self._chain("__deepcopy__")
        known = next((i for i, link in enumerate(links) if id(link) in memo), len(links))
        made = memo[id(links[known])] if known < len(links) else deepcopy(inside, memo)
        for link in reversed(links[:known]):
            made = memo[id(link)] = _wrapping(made, type(link), copied(_without_fn(link), memo))
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        if not _is_plain(self, *_PICKLING):
            return super().__reduce_ex__(protocol)
        links, inside = self._chain(*_PICKLING)
        named = taking_its_name(inside)
        if named is self:
            return at, (inside.__module__, inside.__qualname__)
        known = next((i for i, link in enumerate(links) if link is named), len(links))
        innermost = links[known] if known < len(links) else picklable(inside)
        return _chained, (innermost, [(type(link), _without_fn(link)) for link in reversed(links[:known])])

    def _chain(self, *methods: str) -> tuple[list[Poutine], Callable[..., Any]]:
        """This and the poutines inside of it, outermost first, that have no such ``methods`` of their own; and what they wrap."""
        links, fn = [self], self.fn
        while isinstance(fn, Poutine) and _is_plain(fn, *methods):
            links.append(fn)
            fn = fn.fn
        return links, fn

    def _options(self) -> Iterator[str]:
        for f in attrs.fields(type(self)):
            if f.repr and f.name != "fn" and getattr(self, f.name) is not f.default:
                yield f", {f.name}={getattr(self, f.name)!r}"


_PICKLING: Final = ("__reduce_ex__", "__reduce__", "__getstate__", "__setstate__")


def _is_plain(poutine: Poutine, *methods: str) -> bool:
    return all(getattr(type(poutine), name, None) is getattr(Poutine, name, None) for name in methods)


def _without_fn(poutine: Poutine) -> dict[str, Any]:
    return {name: value for name, value in fields_of(poutine).items() if name != "fn"}


def _wrapping(fn: Callable[..., Any], cls: type[Poutine], options: dict[str, Any]) -> Poutine:
    return filled_in(object.__new__(cls), {"fn": fn, **options})


def _chained(fn: Callable[..., Any], links: list[tuple[type[Poutine], dict[str, Any]]]) -> Callable[..., Any]:
    for cls, options in links:
        fn = _wrapping(fn, cls, options)
    return fn


def check_wrapped(poutine: type[Poutine], fn: Any) -> None:
    """Raises ``NotAProgram`` if ``poutine`` cannot wrap ``fn``."""
    if isinstance(fn, Program):
        raise NotAProgram(f"{poutine.__name__} wraps a function, got the program {fn!r}: wrap what makes it, and call the result")
    if not callable(fn):
        raise NotAProgram(f"{poutine.__name__} needs a generator function or a poutine as fn, got {fn!r}; name the other arguments")
