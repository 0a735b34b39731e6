"""Frozen: a dictionary that does not change, for the fields of frozen values."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Frozen(dict[K, V]):
    """A dictionary of its own with what it was made of; whatever would change it raises ``TypeError``.

    ``types.MappingProxyType`` can neither be pickled nor copied, and shows what somebody else may change. ``frozen | more`` is a
    new, plain dictionary.
    """

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(f"{dict(self)!r} is part of a frozen value, and does not change; make a new value, with dict(...) | changes")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)
