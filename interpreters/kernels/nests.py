"""Loops over the numbers of tensors, as C++; those over the same numbers become one, and what only it reads is never stored.

Every operation gives a loop. It joins the last loop of the same size that it may follow in each iteration: what is between
them does not need it nor is needed by it, and of what one writes, the other reads the very same entry.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Final

import attrs

_NAME: Final = re.compile(r"(?<!:)\b[A-Za-z_]\w*")  # but not what is in namespace std
_BACK: Final = 400  # lines that are looked through for a loop to join


@attrs.frozen(slots=False, eq=False)
class Statement:
    """Writes ``target``, an entry of ``name`` or the number itself, by ``text``.

    is_own:  no other iteration reads or writes ``target``; ``is_new`` if it is written for the first time.
    sums:    each iteration adds to the number ``name``.
    Else iterations must be run one after the other.
    """

    name: str
    target: str
    text: str
    is_own: bool = False
    is_new: bool = False
    sums: bool = False

    @cached_property
    def names(self) -> Counter[str]:
        return names_in(self.text)

    @cached_property
    def entry(self) -> re.Pattern[str]:
        return re.compile(rf"(?<!\w){re.escape(self.target)}")


@attrs.frozen(slots=False, eq=False)
class Number:
    """The declaration of a number."""

    name: str
    value: str

    @property
    def text(self) -> str:
        return f"const double {self.name} = {self.value};"

    @cached_property
    def names(self) -> Counter[str]:
        return names_in(self.text)


@attrs.define(slots=False, eq=False)
class Nest:
    """Loops over ``size``; in each iteration, one statement after the other. ``before``: the sums, declared."""

    size: tuple[int, ...]
    statements: list[Statement]
    before: list[str] = attrs.field(factory=list)

    @property
    def is_serial(self) -> bool:
        return not all(statement.is_own or statement.sums for statement in self.statements)

    def joins(self, other: Nest) -> bool:
        return self.size == other.size and self.is_serial == other.is_serial and not self.minds(other)

    def minds(self, other: Nest) -> bool:
        """Whether one reads or writes what the other writes, but for the same entries in the same iteration."""
        return self._disturbs(other) or other._disturbs(self)

    def _disturbs(self, other: Nest) -> bool:
        written: dict[str, dict[str, Statement]] = {}
        for statement in self.statements:
            written.setdefault(statement.name, {})[statement.target] = statement
        for statement in other.statements:
            for name in written.keys() & statement.names.keys():
                same = sum(len(one.entry.findall(statement.text)) for one in written[name].values() if one.is_own)
                if statement.names[name] > same:
                    return True
        return False

    def touches(self, names: Counter[str]) -> bool:
        """Whether it writes one of ``names``."""
        return any(statement.name in names for statement in self.statements)

    def names(self) -> Counter[str]:
        return Counter(name for statement in self.statements for name in statement.names.elements())

    def flattened(self) -> Nest:
        """Two loops as one over the product, where all that either counts lies one after the other; and so on."""
        *_, outer, inner = [0, 0, *(d for d, n in enumerate(self.size) if n != 1)]
        if outer == inner:
            return self
        counted = re.compile(rf"(?<![-\d])(\d+) \* i{outer} \+ (\d+) \* i{inner}\b")
        texts = "\n".join(f"{statement.text}\n{statement.target}" for statement in self.statements)
        steps, names = counted.findall(texts), names_in(texts)
        if any(int(a) != self.size[inner] * int(b) for a, b in steps) or {names[f"i{outer}"], names[f"i{inner}"]} != {len(steps)}:
            return self

        def merged(text: str) -> str:
            return counted.sub(rf"\2 * i{inner}", text)

        size = [1 if d == outer else n * self.size[outer] if d == inner else n for d, n in enumerate(self.size)]
        statements = [attrs.evolve(one, target=merged(one.target), text=merged(one.text)) for one in self.statements]
        return Nest(tuple(size), statements, self.before).flattened()

    def written(self, everywhere: Counter[str] | None = None) -> Iterator[str]:
        """``everywhere`` counts the names of the whole function: what is named here only is not stored."""
        texts, stores = [statement.text for statement in self.statements], []
        if everywhere is not None:
            here, locals_ = self.names(), Counter[str]()
            for i, statement in enumerate(self.statements):
                if statement.is_new:
                    local = f"v_{statement.name}" + (f"_{locals_[statement.name]}" if locals_[statement.name] else "")
                    locals_[statement.name] += 1
                    texts = [statement.entry.sub(local, text) for text in texts]
                    texts[i] = f"double {texts[i]}"
                    stores += [f"{statement.target} = {local};"] if everywhere[statement.name] > here[statement.name] else []
        yield from self.before
        yield " ".join([*self._heads(), "{", *texts, *stores, "}"])

    def _heads(self) -> list[str]:
        heads = [f"for (int i{d} = 0; i{d} < {n}; ++i{d})" for d, n in enumerate(self.size) if n != 1]
        if heads and not self.is_serial:
            sums = ", ".join(dict.fromkeys(statement.name for statement in self.statements if statement.sums))
            heads.insert(-1, "\n#pragma omp simd" + (f" reduction(+: {sums})" if sums else "") + "\n")
        return heads


Line = str | Number | Nest  # what is a string stays where it is


def join(lines: list[Line], new: Nest) -> None:
    """Adds ``new`` to a nest that it can be one with, or else to the end."""
    names = new.names()
    for line in islice(reversed(lines), _BACK):
        if isinstance(line, str):
            break
        if isinstance(line, Number):
            if line.name in names or new.touches(line.names):
                break
        elif line.joins(new):
            line.statements += new.statements
            line.before += new.before
            return
        elif line.touches(names) or new.touches(line.names()):
            break
    lines.append(new)


def early(lines: list[Line], number: Number) -> None:
    """Adds a number ahead of the loops that it does not need: they may then join others."""
    place = len(lines)
    for line in islice(reversed(lines), _BACK):
        if isinstance(line, str) or (line.name in number.names if isinstance(line, Number) else line.touches(number.names)):
            break
        place -= 1
    lines.insert(place, number)


def rendered(lines: Sequence[Line]) -> Iterator[str]:
    everywhere = Counter[str]()
    for line in lines:
        everywhere.update(line.names() if isinstance(line, Nest) else names_in(line) if isinstance(line, str) else line.names)
    for line in lines:
        yield from line.flattened().written(everywhere) if isinstance(line, Nest) else (line if isinstance(line, str) else line.text,)


def names_in(text: str) -> Counter[str]:
    return Counter(_NAME.findall(text))
