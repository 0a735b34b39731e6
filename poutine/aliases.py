"""The short names of the poutines, and ``chain``.

Each is its class under another name. Called without ``fn`` it awaits it, so that a chain can be written as a list,
innermost first: ``chain(model, condition(data=d), scale(scale=2.0), trace())``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from types import GeneratorType
from typing import Any, Final, Generic, TypeVar, overload

import attrs

from poutine.equality import equal
from poutine.errors import NotAProgram
from poutine.frozen import Frozen
from poutine.handlers.block import BlockPoutine
from poutine.handlers.broadcast import BroadcastPoutine
from poutine.handlers.condition import ConditionPoutine
from poutine.handlers.do import DoPoutine
from poutine.handlers.escape import EscapePoutine
from poutine.handlers.indep import IndepPoutine
from poutine.handlers.infer_config import InferConfigPoutine
from poutine.handlers.lift import LiftPoutine
from poutine.handlers.mask import MaskPoutine
from poutine.handlers.replay import ReplayPoutine
from poutine.handlers.scale import ScalePoutine
from poutine.handlers.scope import ScopePoutine
from poutine.handlers.seed import SeedPoutine
from poutine.handlers.substitute import SubstitutePoutine
from poutine.handlers.trace import TracePoutine
from poutine.handlers.uncondition import UnconditionPoutine
from poutine.poutine import Poutine, check_wrapped
from poutine.program import name_of
from poutine.tensors import deep_copy

P = TypeVar("P", bound=Poutine)


@attrs.frozen(slots=False, eq=False, repr=False)
class Awaiting(Generic[P]):
    """A poutine that still awaits what it wraps."""

    poutine: type[P]
    options: Mapping[str, Any] = attrs.field(converter=Frozen)

    def __call__(self, *fn: Callable[..., Any], **arguments: Any) -> P:
        if len(fn) != 1 or arguments:
            raise NotAProgram(
                f"{self!r} still awaits what it wraps, one generator function or poutine: call it with that first, and the result with the "
                "arguments of the model"
            )
        return self.poutine(*fn, **self.options)

    def __repr__(self) -> str:
        inside = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return f"{self.poutine.__name__}({inside})"

    __deepcopy__ = deep_copy
    __eq__ = equal
    __hash__ = None  # type: ignore[assignment]  # options may hold tensors, which are compared by content


@attrs.frozen(slots=False)
class Alias(Generic[P]):
    """A short name of a poutine class: ``alias(fn, ...)`` is ``poutine(fn, ...)``, and ``alias(...)`` awaits ``fn``.

    Its documentation and its signature are those of the class. Raises ``TypeError`` at once for options that the class does not take.
    """

    poutine: type[P]

    def __attrs_post_init__(self) -> None:
        of = self.poutine
        self.__dict__.update(__doc__=of.__doc__, __name__=of.__name__, __module__=of.__module__, __wrapped__=of)

    @overload
    def __call__(self, fn: Callable[..., Any], *args: Any, **options: Any) -> P: ...
    @overload
    def __call__(self, **options: Any) -> Awaiting[P]: ...
    def __call__(self, fn: Callable[..., Any] | None = None, *args: Any, **options: Any) -> P | Awaiting[P]:
        if fn is None:
            self._check(None, *args, **options)
            return Awaiting(self.poutine, options)
        check_wrapped(self.poutine, fn)  # before Python misses an argument: scale(2.0) forgets a name
        try:
            return self.poutine(fn, *args, **options)
        except TypeError:
            self._check(fn, *args, **options)  # what Python says of an __init__ names no way out
            raise

    def _check(self, *args: Any, **options: Any) -> None:
        """Raises ``TypeError`` unless the class can be called so."""
        takes = signature(self.poutine)
        try:
            takes.bind(*args, **options)
        except TypeError as error:
            shown = ", ".join(str(each.replace(annotation=Parameter.empty)) for each in takes.parameters.values())
            unknown = [f"got an unexpected keyword argument {key!r}" for key in options if key not in takes.parameters]
            raise TypeError(
                f"{self.poutine.__name__}: {(unknown or [str(error)])[0]}; it is called as {self.poutine.__name__}({shown})"
            ) from None


block: Final = Alias(BlockPoutine)
broadcast: Final = Alias(BroadcastPoutine)
condition: Final = Alias(ConditionPoutine)
do: Final = Alias(DoPoutine)
escape: Final = Alias(EscapePoutine)
indep: Final = Alias(IndepPoutine)
infer_config: Final = Alias(InferConfigPoutine)
lift: Final = Alias(LiftPoutine)
mask: Final = Alias(MaskPoutine)
replay: Final = Alias(ReplayPoutine)
scale: Final = Alias(ScalePoutine)
scope: Final = Alias(ScopePoutine)
seed: Final = Alias(SeedPoutine)
substitute: Final = Alias(SubstitutePoutine)
trace: Final = Alias(TracePoutine)
uncondition: Final = Alias(UnconditionPoutine)


def chain(fn: Callable[..., Any], *links: Callable[[Callable[..., Any]], Any]) -> Any:
    """``fn`` under each link, innermost first: ``chain(f, a, b)`` is ``b(a(f))``.

    **Law** (H2): ``chain(chain(f, a), b) ≈ chain(f, a, b)``. Raises ``NotAProgram`` where a link wraps something already, is none, or is
    called with what it cannot wrap.
    """
    if isinstance(fn, Awaiting):
        raise NotAProgram(f"chain: {fn!r} awaits what it wraps, and is a link: put the model first, as in chain(model, scale(scale=2.0))")
    for link in links:
        if isinstance(link, Poutine):
            raise NotAProgram(
                f"chain: the link {link!r} wraps {name_of(link.fn)} already; leave its first argument out and name the others, as in "
                "chain(model, scale(scale=2.0))"
            )
        if not callable(link):
            hint = "; write chain(model, *links)" if isinstance(link, (list, tuple)) else ""
            raise NotAProgram(f"chain: expected a poutine that awaits its function as a link, got {link!r}{hint}")
        made = link(fn)
        if isinstance(made, GeneratorType):
            raise NotAProgram(f"chain: the link {name_of(link)} is a generator function, and is wrapped: put it first")
        fn = made
    return fn
