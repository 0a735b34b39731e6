"""Writes the statements of one message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from poutine.laws.expressions import Const, Dist, Expression, Name, Op, Scalar, Var
from poutine.laws.families import MODELLING, Family, as_value
from poutine.laws.scope import Scope
from poutine.laws.statements import Draw, Inquire, Learn, Record, See, Send, Weigh
from poutine.laws.writer import Block, Writer

# Constraints of params, with values that obey them.
_CONSTRAINTS: Final[tuple[tuple[str | None, tuple[float, ...]], ...]] = (
    (None, (0.0, 1.0, -1.0, 0.5)),
    (None, (0.0, 1.0, -1.0, 0.5)),
    ("positive", (1.0, 0.5, 2.0)),
    ("unit_interval", (0.5, 0.25)),
)


def sample(writer: Writer, scope: Scope, depth: int, families: Sequence[Family] = MODELLING) -> Block:
    var, name = writer.name("x", scope)
    return _drawn(writer, var, name, scope, families)


def _drawn(writer: Writer, var: str, name: Name, scope: Scope, families: Sequence[Family] = MODELLING) -> Block:
    family, dist = writer.distribution(scope, families)
    dist = _expanded(writer, scope, family, dist)
    known: Expression = Op("row", (Var(var),)) if family.event else Op("total", (Var(var),)) if dist.shape else Var(var)
    deferred = dist.shape is None and writer.one_in(2)
    counts = (known,) if family.discrete and not scope.rows else ()
    return (Draw(var, name, dist, deferred),), scope.knows(known, *counts).has(name)


def again(writer: Writer, scope: Scope, depth: int) -> Block:
    """A second site of a name."""
    var, _ = writer.name("x", scope)
    return _drawn(writer, var, writer.pick(scope.names[::-1]), scope)


def observe(writer: Writer, scope: Scope, depth: int) -> Block:
    _, name = writer.name("y", scope)
    family, dist = writer.distribution(scope, MODELLING)
    dist = _expanded(writer, scope, family, dist)
    deferred = dist.shape is None and writer.one_in(2)
    return (See(name, dist, _seen(writer, scope, family, dist), deferred),), scope.has(name)


def weigh(writer: Writer, scope: Scope, depth: int) -> Block:
    return (Weigh(writer.name("f", scope)[1], Op("tanh", (writer.scalar(scope),))),), scope


def learn(writer: Writer, scope: Scope, depth: int) -> Block:
    return _learnt(writer, scope, *writer.pick(_CONSTRAINTS))


def learn_constrained(writer: Writer, scope: Scope, depth: int) -> Block:
    return _learnt(writer, scope, *writer.pick([pair for pair in _CONSTRAINTS if pair[0] is not None]))


def _learnt(writer: Writer, scope: Scope, constraint: str | None, inits: tuple[float, ...]) -> Block:
    var, name = writer.name("w", scope)
    param = Learn(var, name, Scalar(writer.pick(inits)), constraint)
    return (param,), scope.knows(Var(var)).learns(param)


def read(writer: Writer, scope: Scope, depth: int) -> Block:
    """A param, read again."""
    var, _ = writer.name("w", scope)
    return (attrs.evolve(writer.pick(scope.params[::-1]), var=var),), scope.knows(Var(var))


def record(writer: Writer, scope: Scope, depth: int) -> Block:
    var, name = writer.name("d", scope)
    return (Record(var, name, writer.scalar(scope)),), scope.knows(Var(var))


def ask(writer: Writer, scope: Scope, depth: int) -> Block:
    var, name = writer.name("a", scope)
    return (Inquire(var, name, writer.scalar(scope)),), scope.knows(Var(var))


def _expanded(writer: Writer, scope: Scope, family: Family, dist: Dist) -> Dist:
    """``dist`` or, seldom, copies of it."""
    if family.event or scope.rows or not writer.one_in(5):
        return dist
    return attrs.evolve(dist, shape=(2,), event=writer.pick((1, 0)))


def _seen(writer: Writer, scope: Scope, family: Family, dist: Dist) -> Expression:
    """A value in the support: for all elements of a plate, or for each."""
    assert family.seen is not None
    if family.event:
        (first, *_) = dist.args
        assert isinstance(first, Const)
        length = len(first.number)
        return as_value(writer.draw(family.seen.filter(lambda value: len(value) == length)))
    size = dist.shape[0] if dist.shape else scope.rows if writer.one_in(2) else 0
    return as_value(tuple(writer.draw(family.seen) for _ in range(size)) if size else writer.draw(family.seen))


def tell(writer: Writer, scope: Scope, depth: int) -> Block:
    """A message of a user's own, whose reply is recorded."""
    var, name = writer.name("m", scope)
    assert writer.allowed.messages is not None
    return (
        Send(var, name, writer.draw(writer.allowed.messages)),
        Record(f"{var}_reply", attrs.evolve(name, base=f"{var}_reply"), Var(var)),
    ), scope
