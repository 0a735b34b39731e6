"""Message: what programs yield, frozen, named, with a value or none yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, ClassVar, Final, NoReturn, TypeVar

import attrs
import torch
from torch.distributions import constraints

from poutine.equality import equal
from poutine.messages.frames import CondIndepStackFrame
from poutine.randomness import Key
from poutine.tensors import deep_copy


class Undecided(Enum):
    """The type of ``UNDECIDED``, the value of a message that nobody has answered yet."""

    UNDECIDED = "undecided"

    def __repr__(self) -> str:
        return self.name


UNDECIDED: Final = Undecided.UNDECIDED

Self = TypeVar("Self", bound="Message")


class _Defaults:
    """What a field is where a message's own dictionary does not hold it.

    Messages are made and rewritten at every site of every run; a dictionary that holds only what is not the default
    takes two thirds of the time.
    """

    value: Any = UNDECIDED
    scale: float | torch.Tensor = 1.0
    mask: bool | torch.Tensor = True
    cond_indep_stack: tuple[CondIndepStackFrame, ...] = ()
    infer: Mapping[str, Any] = MappingProxyType({})
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})
    key: Key | None = None
    conditioned: bool = False
    constraint: constraints.Constraint = constraints.real


@attrs.frozen(slots=False, eq=False, repr=False)
class Message(_Defaults):
    """A named request. Subclass it, with ``@attrs.frozen(slots=False, eq=False)``, for a message type of your own.

    ``name`` is the site's name; ``value`` is what the program will be sent, or ``UNDECIDED``. ``way_out`` is what the error says that is
    raised where nobody knows its type.
    **Law**: a poutine that does not know a message's type passes it on untouched, both ways (H5).
    """

    type: ClassVar[str] = "message"
    way_out: ClassVar[str] = "wrap the program in a poutine whose rules answer it"
    _fields: ClassVar[frozenset[str]] = frozenset(("name", "value"))
    name: str
    value: Any = attrs.field(default=UNDECIDED, kw_only=True)

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        cls._fields = frozenset(field.name for field in attrs.fields(cls))

    def __init_subclass__(cls) -> None:
        if cls.__dict__.get("__slots__"):
            raise TypeError(f"{cls.__name__} has __slots__; a message keeps its fields in its dictionary: write @attrs.frozen(slots=False)")

    @property
    def is_decided(self) -> bool:
        """True if it carries a value: nobody draws it again."""
        return self.value is not UNDECIDED

    @property
    def is_observed(self) -> bool:
        """True for an ``Observe``, the program's own or one that a poutine made."""
        return False

    def evolve(self: Self, **changes: Any) -> Self:
        """A copy with ``changes``; the receiver stays as it is. Raises ``TypeError`` for what is no field."""
        # Not attrs.evolve, which takes five times as long: a handler does this at every site.
        new = blank(type(self))
        fields = new.__dict__
        fields |= self.__dict__
        fields |= changes
        if len(fields) > len(self.__dict__):
            self._check_known(changes)
        if "fn" in changes:  # which is nothing that a param could have become
            for key in LIFTED:
                fields.pop(key, None)
        return new

    def recast(self: Self, **changes: Any) -> Self:
        """``evolve`` to another form of the same distribution: what was a param, and is a sample, is known to have been one."""
        new = self.evolve(**changes)
        for key in LIFTED:
            if key in self.__dict__:
                new.__dict__[key] = self.__dict__[key]
        return new

    def _check_known(self, names: Iterable[str]) -> None:
        """A property that is set would never be read: ``dist`` is made of ``fn``."""
        known = self._fields
        for name in names:
            if name not in known and name not in self.__dict__:
                hint = "; write evolve(fn=distribution, args=(), kwargs={})" if name == "dist" else ""
                cls = self.__class__
                raise TypeError(f"{cls.__name__} has no field {name!r}; it has {', '.join(f.name for f in attrs.fields(cls))}{hint}")

    def replaced(self: Self, field: str, value: Any) -> Self:
        """``evolve(field=value)``, in half of the time: for what is done at every site. Nobody checks that there is such a field."""
        new = blank(type(self))
        fields = new.__dict__
        fields |= self.__dict__
        fields[field] = value
        return new

    __deepcopy__ = deep_copy

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and not key.startswith("_") and (key in self.__dict__ or hasattr(type(self), key))

    def get(self, key: str, default: Any = None) -> Any:
        """The field or property ``key``, or ``default`` if there is none, as of a dictionary."""
        return self[key] if key in self else default

    def keys(self) -> list[str]:
        """The names of the fields, so that ``dict(message)`` is a dictionary of them."""
        return ["type", *(f.name for f in attrs.fields(self.__class__))]

    def __iter__(self) -> NoReturn:
        raise TypeError(f"{self!r} is a message, and is yielded: write `yield`, not `yield from`; its fields are in keys()")

    __eq__ = equal
    __hash__ = None  # type: ignore[assignment]  # values are tensors: equality is by content, so identity must not be hashed

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({', '.join([repr(self.name), *self._shown()])})"

    def _shown(self) -> list[str]:
        return [f"{f.name}={getattr(self, f.name)!r}" for f in attrs.fields(type(self)) if f.name != "name" and f.name in self.__dict__]


LIFTED: Final = ("_init", "_constraint")  # under these keys, a sample has those of the param that it was
blank: Final = object.__new__  # a message of a class, without fields: its maker puts them into its dictionary, which is quickest


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Sealed(Message):
    """A hidden site on its way through poutines that must not see it. Only the runtime opens ``message``."""

    type: ClassVar[str] = "sealed"
    message: Message = attrs.field(init=False)

    def __init__(self, message: Message) -> None:
        fields = self.__dict__
        fields["name"] = "(sealed)"
        fields["value"] = message.value
        fields["message"] = message


def checked_name(message: Message, name: Any) -> str:
    """What is no plain string, as one. Raises ``TypeError`` for what is none at all."""
    if not isinstance(name, str):
        kind = type(message).__name__
        raise TypeError(f"{kind}: expected a string as the name of the site, got {name!r}; write {kind}(name, ...)")
    return str.__str__(name)  # of an enumeration's member, its value
