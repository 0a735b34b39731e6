"""The writer of random programs: from choices that are drawn to statements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import attrs
from hypothesis import strategies as st

from poutine.laws.expressions import Const, Dist, Expression, Name, Op, Scalar
from poutine.laws.families import LOCATED, REALS, Family
from poutine.laws.functions import Function
from poutine.laws.scope import Scope
from poutine.laws.statements import Statement
from poutine.messages import Message

T = TypeVar("T")
Draws = Callable[[st.SearchStrategy[Any]], Any]
Block = tuple[tuple[Statement, ...], Scope]  # statements, and what is known after them


@attrs.frozen
class Features:
    """What random programs may contain besides samples and control flow."""

    observations: bool = True
    params: bool = True
    asks: bool = True
    plates: bool = True
    loops: bool = True
    submodels: bool = True
    handlers: bool = True
    blocks: bool = True
    cleanup: bool = True
    duplicates: bool = False
    messages: st.SearchStrategy[Message] | None = None


Kind = Callable[["Writer", Scope, int], Block]  # writes a statement of one kind, so many blocks deep
Possible = Callable[[Features, Scope, int], bool]  # where it may stand
Kinds = tuple[tuple[Kind, Possible], ...]


class Writer:
    """Writes one model, from the choices that ``draw`` makes. Names are numbered in the order of writing."""

    def __init__(self, draw: Draws, kinds: Kinds, allowed: Features, prefix: str) -> None:
        self.draw, self.kinds, self.allowed, self.prefix = draw, kinds, allowed, prefix
        self.written = 0

    def model(self, first: Iterable[Kind], rows: int) -> Function:
        """The whole: what it begins with, and what comes then."""
        body: list[Statement] = []
        scope = Scope(rows=rows)
        for kind in first:
            some, scope = kind(self, scope, 0)
            body += some
        some, scope = self.block(scope, 0)
        return Function("model", ("j",) if rows else (), (*body, *some), self.scalar(scope))

    def function(self, name: str, params: tuple[str, ...], scope: Scope, depth: int) -> Function:
        """One whose body has a statement at least."""
        body, inside = self.block(scope, depth + 1, least=1)
        return Function(name, params, body, self.scalar(inside))

    def block(self, scope: Scope, depth: int, least: int = 0) -> Block:
        """Some statements, and what is known after them."""
        body: list[Statement] = []
        while (more := self.draw(_one_more(self, scope, depth, least > 0))) is not None:
            least -= 1
            body += more[0]
            scope = more[1]
        return tuple(body), scope

    def name(self, stem: str, scope: Scope) -> tuple[str, Name]:
        """A new variable, and a site's name like it."""
        self.written += 1
        var = f"{self.prefix}{stem}_{self.written}"
        return var, Name(var, scope.indices)

    # Choices: of strategies that are there already, since to make one takes longer than to draw from it

    def pick(self, options: Sequence[T]) -> T:
        return options[self.draw(_BELOW[len(options)])]

    def one_in(self, number: int) -> bool:
        return bool(self.draw(_BELOW[number]) == number - 1)

    # Expressions

    def scalar(self, scope: Scope) -> Expression:
        """Something real, from what is known; the newest first."""
        if not scope.scalars:
            return Scalar(self.draw(REALS))
        known = scope.scalars[::-1]
        form = self.pick(("var", "var", "tanh", "add", "mul", "shift"))
        if form in ("add", "mul"):
            return Op(form, (self.pick(known), self.pick(known)))
        if form == "shift":
            return Op("add", (self.pick(known), Const(self.draw(REALS))))
        return Op(form, (self.pick(known),)) if form == "tanh" else self.pick(known)

    def distribution(self, scope: Scope, families: Sequence[Family]) -> tuple[Family, Dist]:
        """A distribution, which depends on what is known where its family has a location, and sometimes in its other arguments."""
        family = self.pick(families)
        dist: Dist = self.draw(family.terms)
        args = list(dist.args)
        for i, operation in enumerate(family.operations if scope.scalars else ()):
            if operation and ((i == 0 and family in LOCATED) or self.one_in(4)):
                args[i] = Op(operation, (self.scalar(scope),))
        keywords = self.pick(range(1, len(args) + 1)) if args and self.one_in(4) else 0
        return family, attrs.evolve(dist, args=tuple(args), keywords=keywords)


@st.composite
def _one_more(draw: Draws, writer: Writer, scope: Scope, depth: int, needed: bool) -> Block | None:
    """A statement, and what is known after it; None at the end of a block.

    It is a single draw, which is made at the end of a long program, too: so that Hypothesis can leave it out as a whole.
    """
    if not needed and (not draw(_BELOW[6 if depth else 9]) or writer.written >= _LONGEST):
        return None
    return writer.pick([kind for kind, possible in writer.kinds if possible(writer.allowed, scope, depth)])(writer, scope, depth)


_LONGEST: Final = 12
_BELOW: Final = (st.nothing(), *(st.integers(0, number) for number in range(64)))  # [n]: from 0 to n - 1
