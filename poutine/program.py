"""Programs and rules, as values.

1. A program is a generator: it yields messages and is sent values. ``Program`` is the frozen, restartable value of one.
2. Programs run other programs by yielding them: ``yield from program``.
3. A poutine's ``Rule`` sees each message on its way up and the finished site on its way down; ``Handling`` runs a program
   under such rules.

What runs them is in ``driver``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from types import CoroutineType, GeneratorType, MethodType
from typing import Any, Final, Generic, TypeVar

import attrs

from poutine.equality import equal
from poutine.errors import NotAProgram
from poutine.frozen import Frozen
from poutine.hints import hint_for
from poutine.messages import Message
from poutine.tensors import deep_copy, filled_in
from poutine.undecorated import picklable

T = TypeVar("T")

Coroutine = Generator[Any, Any, T]

_NOTHING: Final[Mapping[str, Any]] = Frozen()


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Program(Generic[T]):
    """A generator function with its arguments. Each run starts a fresh generator.

    ``fn`` may also return another ``Program`` (as a poutine does), which is then run instead.
    ``yield from program`` runs it inside another program and evaluates to what it returns.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __init__(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        if not callable(fn):
            raise NotAProgram(f"a program needs a generator function or a poutine, got {fn!r}{hint_for(fn)}")
        fields = self.__dict__
        fields["fn"] = fn
        fields["args"] = args
        fields["kwargs"] = Frozen(kwargs) if kwargs else _NOTHING

    def __iter__(self) -> Generator[Program[T], T, T]:
        return (yield self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "fn": picklable(self.fn)}

    def __copy__(self) -> Program[T]:
        return filled_in(object.__new__(type(self)), self.__dict__)

    __deepcopy__ = deep_copy
    __eq__ = equal
    __hash__ = None  # type: ignore[assignment]  # arguments are compared by content

    def __repr__(self) -> str:
        shown, args, kwargs = name_of(self.fn), self.args, self.kwargs
        poutine = getattr(self.fn, "__self__", None)
        if args and isinstance(args[0], Program) and getattr(poutine, "fn", None) is args[0].fn:  # as it was written: Poutine(fn)(*args)
            method = self.fn.__name__.strip("_")
            shown = repr(poutine) if method == "coroutine" else f"{poutine!r}.{method}"
            args, kwargs = (*args[0].args, *args[1:]), {**args[0].kwargs, **kwargs}
        return f"{shown}({', '.join([*map(repr, args), *(f'{key}={value!r}' for key, value in kwargs.items())])})"


def as_program(program: Program[T] | Callable[..., Any]) -> Program[T]:
    """``program`` itself, or the program of a callable without arguments."""
    return program if isinstance(program, Program) else Program(program)


def name_of(fn: Any) -> str:
    """A callable's name for people."""
    if isinstance(fn, MethodType):
        return f"{fn.__self__!r}.{fn.__name__}"
    return getattr(fn, "__qualname__", None) or repr(fn)


@attrs.frozen
class Rule:
    """What a poutine does at one type of message: any of

    up:      request -> request, called on the way up. May change the message's type.
    down:    site -> site, called on the way down.
    undo:    site -> site, in place of down: takes back, for poutines further in, what up did for those further out (a name, a seal).
             Nobody calls it where no poutine further in looks at the site; the value must stay as it is.
    around:  a generator function of the request. It yields messages outwards, is sent sites, and returns the site for the
             program. It may answer without yielding, or yield more than once. Stands alone. An error that is thrown at its yield (the
             runtime's, or a poutine's further out) it may raise as another; it cannot recover from it: if it returns a site all the same,
             the error is raised again at the program's next yield, as where a program swallows it.
    """

    up: Callable[[Any], Message] | None = None
    down: Callable[[Any], Message] | None = None
    undo: Callable[[Any], Message] | None = None
    around: Callable[[Any], Coroutine[Any]] | None = None

    def __attrs_post_init__(self) -> None:
        if self.around is not None and (self.up is not None or self.down is not None or self.undo is not None):
            raise ValueError("a rule with around stands alone: do in it what up and down would do before and after its yield")
        if self.down is not None and self.undo is not None:
            raise ValueError("a rule has down or undo: down may do both")


Rules = Mapping[type[Message], Rule]


@attrs.frozen
class Handling:
    """What a poutine's coroutine yields to run ``program`` under ``rules``; evaluates to what the program returns."""

    program: Program[Any]
    rules: Rules


def start(program: Program[Any]) -> Coroutine[Any]:
    """A fresh generator of ``program``. Raises ``NotAProgram``, and what its function raises."""
    made = program.fn(*program.args, **program.kwargs)
    if type(made) is GeneratorType:  # most are
        return made
    while isinstance(made, Program):
        program = made
        made = program.fn(*program.args, **program.kwargs)
    return started(made, program.fn)


def starts(program: Program[Any], number: int) -> Iterator[Coroutine[Any]]:
    """``start(program)``, as often as ``number`` says: for thousands, in two thirds of the time."""
    make = partial(program.fn, *program.args, **program.kwargs)
    for _ in range(number):
        made = make()
        yield made if type(made) is GeneratorType else start(made) if isinstance(made, Program) else started(made, program.fn)


def started(generator: Any, fn: Any) -> Coroutine[Any]:
    """``generator``, which ``fn`` returned, if it is one. Raises ``NotAProgram``."""
    # The type of a generator function's first: to ask an abstract class takes longer than to start a generator.
    if type(generator) is not GeneratorType and not isinstance(generator, Generator):
        if isinstance(generator, CoroutineType):
            generator.close()  # nobody will await it
        raise NotAProgram(
            f"{name_of(fn)} is no generator function: calling it returned {generator!r}{hint_for(generator)}. "
            "A model yields messages; one that has none needs `return value; yield` to be a generator"
        )
    return generator
