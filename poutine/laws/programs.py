"""Random programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import attrs
from hypothesis import strategies as st

from poutine.aliases import block, mask, scale, scope, seed
from poutine.laws.expressions import Const, Dist, Expression, Name, Op, Scalar, Var
from poutine.laws.families import FINITE, INFINITE, LOCATED, MODELLING, REALS, Family
from poutine.laws.links import Link
from poutine.laws.model import Model
from poutine.laws.statements import (
    Branch,
    Call,
    Draw,
    Function,
    Guard,
    InIndep,
    InPlate,
    Inquire,
    Learn,
    Record,
    Repeat,
    See,
    Statement,
    Weigh,
)

T = TypeVar("T")
Draws = Callable[[st.SearchStrategy[Any]], Any]


@attrs.frozen
class Features:
    """What random programs may contain besides samples and control flow."""

    observations: bool = True
    params: bool = True
    asks: bool = True
    plates: bool = True
    submodels: bool = True
    handlers: bool = True


def programs(
    *,
    observations: bool = True,
    params: bool = True,
    asks: bool = True,
    plates: bool = True,
    submodels: bool = True,
    handlers: bool = True,
    prefix: str = "",
) -> st.SearchStrategy[Model]:
    """Generator models: straight lines, nested submodels (plain, as programs, under handlers), recursion, loops of drawn length,
    branches on drawn values, plates, observations, params, computed values, messages of the user's own, ``try``/``finally``.

    Each of the flags leaves something out: ``observations`` also stands for factors, ``asks`` for ``Ask`` messages, ``handlers`` for those inside
    of the program. ``prefix`` begins every name. The model has no arguments and no two sites of one name in a run; ``run`` can
    run it if there are no asks, and ``poutine.laws.outcome`` can in any case. It prints as its source.
    """
    allowed = Features(observations, params, asks, plates, submodels, handlers)
    return st.composite(_model)(allowed, prefix)


def _model(draw: Draws, allowed: Features, prefix: str) -> Model:
    return Model(_Writer(draw, allowed, prefix).function("model", (), Scope(), depth=0))


@attrs.frozen
class Scope:
    """What a statement may use: scalar expressions, those that count something, and the counters that make names unique."""

    scalars: tuple[Expression, ...] = ()
    counts: tuple[Expression, ...] = ()
    indices: tuple[str, ...] = ()
    in_rows: bool = False  # inside of a vectorised plate, where what is drawn has a row for each element

    def knows(self, scalar: Expression, *counts: Expression) -> Scope:
        return attrs.evolve(self, scalars=(*self.scalars, scalar), counts=(*self.counts, *counts))

    def __add__(self, index: str) -> Scope:
        return attrs.evolve(self, indices=(*self.indices, index))


class _Writer:
    """Writes one model, from the choices that ``draw`` makes. Names are numbered in the order of writing."""

    def __init__(self, draw: Draws, allowed: Features, prefix: str) -> None:
        self.draw, self.allowed, self.prefix = draw, allowed, prefix
        self.written = 0

    def function(self, name: str, params: tuple[str, ...], scope: Scope, depth: int, recur: bool = False) -> Function:
        body, inside = self.block(scope, depth)
        return Function(name, params, body, self.scalar(inside), recur)

    def block(self, scope: Scope, depth: int) -> tuple[tuple[Statement, ...], Scope]:
        """Some statements, and what is known after them."""
        body: list[Statement] = []
        while (more := self.draw(_one_more(self, scope, depth))) is not None:
            body.append(more[0])
            scope = more[1]
        return tuple(body), scope

    def name(self, stem: str, scope: Scope) -> tuple[str, Name]:
        """A new variable, and a site's name like it."""
        self.written += 1
        var = f"{self.prefix}{stem}_{self.written}"
        return var, Name(var, scope.indices)

    # Expressions

    def scalar(self, scope: Scope) -> Expression:
        """Something real, from what is known."""
        if not scope.scalars:
            return Scalar(self.draw(REALS))
        known = st.sampled_from(scope.scalars[::-1])
        form = self.draw(st.sampled_from(("var", "tanh", "add", "mul", "shift")))
        if form in ("add", "mul"):
            return Op(form, (self.draw(known), self.draw(known)))
        if form == "shift":
            return Op("add", (self.draw(known), Const(self.draw(REALS))))
        return Op(form, (self.draw(known),)) if form == "tanh" else self.draw(known)

    def located(self, scope: Scope, families: tuple[Family, ...]) -> tuple[Family, Dist]:
        """A distribution, which depends on what is known where its family has a location."""
        family = self.draw(st.sampled_from(families))
        depends = bool(scope.scalars) and family in LOCATED
        return family, self.draw(family.terms(st.just(Op("tanh", (self.scalar(scope),))) if depends else None))

    def count(self, scope: Scope) -> Expression:
        """A small number of times, drawn by the model where it can be."""
        if scope.counts and self.draw(st.booleans()):
            return Op("count", (self.draw(st.sampled_from(scope.counts)), Const(2)))
        return Const(self.draw(st.integers(0, 2)))

    # Statements

    def sample(self, scope: Scope, depth: int) -> tuple[Statement, Scope]:
        var, name = self.name("x", scope)
        family, dist = self.located(scope, MODELLING)
        known: Expression = Op("row", (Var(var),)) if family.event else Var(var)
        if not (family.event or scope.in_rows) and self.draw(_RARELY):
            dist, known = attrs.evolve(dist, shape=(2,), event=self.draw(st.integers(0, 1))), Op("total", (Var(var),))
        deferred = dist.shape is None and self.draw(st.booleans())
        counts = (known,) if family.discrete and not scope.in_rows else ()
        return Draw(var, name, dist, deferred), scope.knows(known, *counts)

    def observe(self, scope: Scope, depth: int) -> tuple[Statement, Scope]:
        _, name = self.name("y", scope)
        family, dist = self.located(scope, LOCATED + FINITE + INFINITE)
        return See(name, dist, self.draw(family.values())), scope

    def weigh(self, scope: Scope, depth: int) -> tuple[Statement, Scope]:
        return Weigh(self.name("f", scope)[1], Op("tanh", (self.scalar(scope),))), scope

    def learn(self, scope: Scope, depth: int) -> tuple[Statement, Scope]:
        var, name = self.name("w", scope)
        return Learn(var, name, Scalar(self.draw(REALS))), scope.knows(Var(var))

    def record(self, scope: Scope, depth: int) -> tuple[Statement, Scope]:
        var, name = self.name("d", scope)
        return Record(var, name, self.scalar(scope)), scope.knows(Var(var))

    def ask(self, scope: Scope, depth: int) -> tuple[Statement, Scope]:
        var, name = self.name("a", scope)
        return Inquire(var, name, self.scalar(scope)), scope.knows(Var(var))

    def branch(self, scope: Scope, depth: int) -> tuple[Statement, Scope]:
        condition = Op("above", (self.scalar(scope), Const(self.draw(REALS))))
        then, _ = self.block(scope, depth + 1)
        otherwise, _ = self.block(scope, depth + 1)
        return Branch(condition, then, otherwise), scope

    def repeat(self, scope: Scope, depth: int) -> tuple[Statement, Scope]:
        index, _ = self.name("i", scope)
        body, _ = self.block(scope + index, depth + 1)
        return Repeat(index, self.count(scope), body), scope

    def guard(self, scope: Scope, depth: int) -> tuple[Statement, Scope]:
        var, _ = self.name("t", scope)
        body, _ = self.block(scope, depth + 1)
        return Guard(body, var, Scalar(self.draw(REALS))), scope.knows(Var(var))

    def call(self, scope: Scope, depth: int) -> tuple[Statement, Scope]:
        var, _ = self.name("r", scope)
        function = self.function(f"sub_{self.written}", (), scope, depth + 1)
        if not (self.allowed.handlers and self.draw(st.booleans())):
            return Call(var, function, as_program=self.draw(st.booleans())), scope.knows(Var(var))
        links = self.draw(st.lists(inner_links(f"{self.prefix}s_{self.written}"), min_size=1, max_size=2).map(tuple))
        return Call(var, function, links=links), scope.knows(Var(var))

    def recursion(self, scope: Scope, depth: int) -> tuple[Statement, Scope]:
        var, _ = self.name("r", scope)
        number = f"n_{self.written}"
        function = self.function(f"rec_{self.written}", (number,), scope + number, depth + 1, recur=True)
        return Call(var, function, (self.count(scope),), as_program=self.draw(st.booleans())), scope.knows(Var(var))

    def rows(self, scope: Scope, depth: int) -> tuple[Statement, Scope]:
        var, name = self.name("p", scope)
        function = self.function(f"sub_{self.written}", ("j",), attrs.evolve(scope, in_rows=True), depth + 1)
        size = self.draw(st.integers(1, 3))
        few = self.draw(st.none() | st.integers(1, size))
        return InPlate(var, name, function, size, few), scope.knows(Op("total", (Var(var),)))

    def elements(self, scope: Scope, depth: int) -> tuple[Statement, Scope]:
        var, name = self.name("p", scope)
        index = f"j_{self.written}"
        function = self.function(f"sub_{self.written}", (index,), scope + index, depth + 1)
        size = self.draw(st.integers(1, 3))
        few = self.draw(st.none() | st.integers(1, size))
        return InPlate(var, name, function, size, few, vectorized=False), scope.knows(Op("sum", (Var(var),)))

    def entry(self, scope: Scope, depth: int) -> tuple[Statement, Scope]:
        var, name = self.name("p", scope)
        function = self.function(f"sub_{self.written}", (), scope, depth + 1)
        return InIndep(var, name, function, self.draw(st.booleans())), scope.knows(Var(var))


def inner_links(prefix: str) -> st.SearchStrategy[Link]:
    """Handlers that a model may have around a part of itself: they need no names of it. ``prefix`` keeps scopes apart."""
    return st.one_of(
        st.sampled_from((2.0, 0.5, 4.0)).map(lambda factor: Link("scale", scale.poutine, {"scale": factor})),
        st.booleans().map(lambda on: Link("mask", mask.poutine, {"mask": on})),
        st.just(Link("block", block.poutine, {})),
        st.just(Link("scope", scope.poutine, {"prefix": prefix})),
        st.integers(0, 3).map(lambda number: Link("seed", seed.poutine, {"seed": number})),
    )


@st.composite
def _one_more(draw: Draws, writer: _Writer, scope: Scope, depth: int) -> tuple[Statement, Scope] | None:
    """A statement, and what is known after it; None at the end of a block.

    It is a single draw, which is made at the end of a long program, too: so that Hypothesis can leave it out as a whole.
    """
    if not draw(_MORE) or writer.written >= _LONGEST:
        return None
    kinds = [kind for kind, possible in _KINDS if possible(writer.allowed, scope, depth)]
    statement: tuple[Statement, Scope] = draw(st.sampled_from(kinds))(writer, scope, depth)
    return statement


_LONGEST: Final = 12
_MORE: Final = st.integers(0, 5).map(bool)
_RARELY: Final = st.integers(0, 4).map(lambda number: number == 4)
_DEEPEST: Final = 3

_Possible = Callable[[Features, Scope, int], bool]
_Kind = Callable[[_Writer, Scope, int], tuple[Statement, Scope]]

# In the order in which they shrink: towards the first. What most programs are made of is there more than once.
_KINDS: Final[tuple[tuple[_Kind, _Possible], ...]] = (
    *[(_Writer.sample, lambda allowed, scope, depth: True)] * 6,
    (_Writer.observe, lambda allowed, scope, depth: allowed.observations),
    (_Writer.learn, lambda allowed, scope, depth: allowed.params),
    (_Writer.record, lambda allowed, scope, depth: True),
    (_Writer.weigh, lambda allowed, scope, depth: allowed.observations),
    (_Writer.ask, lambda allowed, scope, depth: allowed.asks),
    (_Writer.branch, lambda allowed, scope, depth: depth < _DEEPEST and not scope.in_rows),
    (_Writer.repeat, lambda allowed, scope, depth: depth < _DEEPEST and not scope.in_rows),
    (_Writer.guard, lambda allowed, scope, depth: depth < _DEEPEST),
    *[(_Writer.call, lambda allowed, scope, depth: allowed.submodels and depth < _DEEPEST)] * 2,
    (_Writer.recursion, lambda allowed, scope, depth: allowed.submodels and depth < _DEEPEST and not scope.in_rows),
    (_Writer.rows, lambda allowed, scope, depth: allowed.plates and depth < _DEEPEST),
    (_Writer.elements, lambda allowed, scope, depth: allowed.plates and depth < _DEEPEST and not scope.in_rows),
    (_Writer.entry, lambda allowed, scope, depth: allowed.plates and depth < _DEEPEST and not scope.in_rows),
)
