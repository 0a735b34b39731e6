"""Arrivals: who of many runs waits where, and at which messages."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Final

from poutine.messages import Message, Observe, Sample

NUMBERS: Final = frozenset((int, float))


class Apart:
    """Runs, by number, that wait at messages of one name."""

    __slots__ = ("messages", "runs")

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.messages: list[Message] = []

    def add(self, run: int, message: Message) -> None:
        self.runs.append(run)
        self.messages.append(message)


class Alike(Sequence[Any]):
    """Runs that wait at samples, or observations, of one name and class which differ in arguments alone, and in what is observed.

    Only these are kept; a message is made again for whoever asks for it. Thousands of messages that wait, or tuples of their arguments,
    keep the garbage collector busy.

    kind:     ``Sample`` or ``Observe``.
    size:     how many fields such a message has, ``args`` among them.
    width:    how many arguments; ``numbers`` are those of one after the other.
    """

    __slots__ = ("fn", "kind", "name", "numbers", "observed", "runs", "size", "width")

    def __init__(self, message: Any) -> None:
        self.kind, self.name, self.fn, self.size = type(message), message.name, message.fn, len(message.__dict__)
        self.width = len(message.args)
        self.runs: list[int] = []
        self.numbers: list[Any] = []
        self.observed: list[Any] = []

    def fits(self, message: Any) -> bool:
        return self.fn is message.fn and self.width == len(message.args)

    def add(self, run: int, message: Any) -> None:
        self.runs.append(run)
        self.numbers += message.args
        if self.kind is Observe:
            self.observed.append(message.value)

    @property
    def messages(self) -> Sequence[Any]:
        return self

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, j: Any) -> Any:
        j = range(len(self))[j]
        args = self.numbers[j * self.width : (j + 1) * self.width]
        return Sample(self.name, self.fn, *args) if self.kind is Sample else Observe(self.name, self.fn, self.observed[j], *args)


Key = Hashable


class Arrivals(dict[Key, Apart | Alike]):
    """Who waits where. The key of those who are ``Alike`` is their name; of a second kind at one name, the kind, too.

    known:  by name, what tells who belongs to those who are ``Alike``, and where to enter them, for whoever adds thousands: kind, fn, size
            and width, then runs, numbers and what is observed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[Key, tuple[type, type, int, int, list[int], list[Any], list[Any]]] = {}

    def add(self, run: int, message: Any) -> Key | None:
        """Its key, if ``run`` is the first there."""
        key: Key = message.name
        if _is_of_numbers(message):
            there: Any = self.get(key)
            if there is not None and there.kind is not type(message):
                key = message.name, type(message)
                there = self.get(key)
            if there is None:
                there = self[key] = Alike(message)
                self.known[key] = there.kind, there.fn, there.size, there.width, there.runs, there.numbers, there.observed
                there.add(run, message)
                return key
            if there.fits(message):
                there.add(run, message)
                return None
        key = (message.name,)
        is_first = key not in self
        self.setdefault(key, Apart()).add(run, message)
        return key if is_first else None

    def take(self, key: Key) -> Apart | Alike:
        """Those at ``key``, who wait no longer."""
        self.known.pop(key, None)
        return self.pop(key)


def _is_of_numbers(message: Any) -> bool:
    """Whether a message is of nothing but a name, a class, arguments of which the first is a number, and what is observed, a number."""
    fields = message.__dict__
    if type(message) is Sample:
        is_plain = len(fields) == 3
    else:
        is_plain = type(message) is Observe and len(fields) == 4 and type(message.value) in NUMBERS
    return is_plain and "args" in fields and isinstance(message.fn, type) and type(message.args[0]) in NUMBERS
