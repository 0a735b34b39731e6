"""The base of all poutines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import attrs

from poutine.equality import equal
from poutine.errors import NotAProgram
from poutine.program import Coroutine, Handling, Program, Rules, name_of
from poutine.tensors import deep_copy


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

    __deepcopy__ = deep_copy
    __eq__ = equal
    __hash__ = None  # type: ignore[assignment]  # options may hold tensors, which are compared by content

    def __repr__(self) -> str:
        heads: list[str] = []
        tails: list[str] = []
        fn: Callable[..., Any] = self  # a loop: chains may be thousands of poutines long
        while isinstance(fn, Poutine) and type(fn).__repr__ is Poutine.__repr__:
            heads.append(f"{type(fn).__name__}(")
            tails.append(f"{''.join(fn._options())})")
            fn = fn.fn
        return "".join([*heads, name_of(fn), *reversed(tails)])

    def _options(self) -> Iterator[str]:
        for f in attrs.fields(type(self)):
            if f.repr and f.name != "fn" and getattr(self, f.name) is not f.default:
                yield f", {f.name}={getattr(self, f.name)!r}"


def check_wrapped(poutine: type[Poutine], fn: Any) -> None:
    """Raises ``NotAProgram`` if ``poutine`` cannot wrap ``fn``."""
    if isinstance(fn, Program):
        raise NotAProgram(f"{poutine.__name__} wraps a function, got the program {fn!r}: wrap what makes it, and call the result")
    if not callable(fn):
        raise NotAProgram(f"{poutine.__name__} needs a generator function or a poutine as fn, got {fn!r}; name the other arguments")
