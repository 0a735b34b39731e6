"""Writes the statements that contain others."""

from __future__ import annotations

from typing import Any, Final

import attrs
import torch

from poutine import aliases
from poutine.laws.control import Branch, Guard, Repeat, Rescue
from poutine.laws.expressions import Const, Expression, Op, Scalar, Var
from poutine.laws.families import COUNTING, REALS
from poutine.laws.functions import Call, InIndep, InMarkov, InPlate
from poutine.laws.links import Link
from poutine.laws.scope import Scope
from poutine.laws.write_sites import sample
from poutine.laws.writer import Block, Writer

# Handlers inside of a program, which need no names of it: kinds, an option, and its values.
_LINKS: Final[tuple[tuple[str, str, tuple[Any, ...]], ...]] = (
    ("mask", "mask", (False, True)),
    ("mask", "mask", (False,)),
    ("scale", "scale", (2.0, 0.5, 4.0)),
    ("scope", "prefix", ()),  # one of its own
    ("seed", "seed", (0, 1, 2, 3)),
    ("block", "", ()),
    ("uncondition", "", ()),
)
_OPEN_LINKS: Final = tuple(link for link in _LINKS if link[0] != "block")


def _condition(writer: Writer, scope: Scope) -> Expression:
    return Op("above", (writer.scalar(scope), Const(writer.draw(REALS))))


def branch(writer: Writer, scope: Scope, depth: int) -> Block:
    condition = _condition(writer, scope)
    then, _ = writer.block(scope, depth + 1)
    otherwise, _ = writer.block(scope, depth + 1)
    return (Branch(condition, then, otherwise),), scope


def repeat(writer: Writer, scope: Scope, depth: int) -> Block:
    (before, scope), count, most = _times(writer, scope)
    index, _ = writer.name("i", scope)
    body, _ = writer.block(scope.inside(index, most), depth + 1, least=1)
    return (*before, Repeat(index, count, body)), scope


def guard(writer: Writer, scope: Scope, depth: int) -> Block:
    var, _ = writer.name("t", scope)
    body, _ = writer.block(scope, depth + 1)
    assigned, scope = Scalar(writer.draw(REALS)), scope.knows(Var(var))
    final, scope = writer.block(scope, depth + 1, least=1) if writer.allowed.cleanup and writer.one_in(2) else ((), scope)
    return (Guard(body, var, assigned, final),), scope


def rescue(writer: Writer, scope: Scope, depth: int) -> Block:
    body, inside = writer.block(scope, depth + 1)
    condition = _condition(writer, inside)
    rescue, _ = writer.block(scope, depth + 1)
    return (Rescue(body, condition, rescue),), scope


def call(writer: Writer, scope: Scope, depth: int) -> Block:
    var, _ = writer.name("r", scope)
    function = writer.function(f"sub_{writer.written}", (), scope, depth)
    return (Call(var, function, as_program=writer.one_in(2)),), scope.knows(Var(var))


def handled(writer: Writer, scope: Scope, depth: int) -> Block:
    """A part under one handler or two."""
    var, _ = writer.name("r", scope)
    number = writer.written
    function = writer.function(f"sub_{number}", (), scope, depth)
    links = tuple(_link(writer, scope, f"{writer.prefix}s_{number}") for _ in range(1 + writer.one_in(3)))
    return (Call(var, function, links=links),), scope.knows(Var(var))


def _link(writer: Writer, scope: Scope, prefix: str) -> Link:
    """One handler. ``prefix`` keeps scopes apart; in a plate, masks and scales may be of its elements."""
    kind, option, values = writer.pick(_LINKS if writer.allowed.blocks else _OPEN_LINKS)
    if option == "prefix":
        options: dict[str, Any] = {option: prefix}
    elif scope.rows and kind in ("mask", "scale") and writer.one_in(2):
        options = {option: torch.tensor([writer.pick(values) for _ in range(scope.rows)])}
    else:
        options = {option: writer.pick(values)} if values else {}
    return Link(kind, getattr(aliases, kind).poutine, options)


def recursion(writer: Writer, scope: Scope, depth: int) -> Block:
    (before, scope), count, most = _times(writer, scope)
    var, _ = writer.name("r", scope)
    number = f"n_{writer.written}"
    function = writer.function(f"rec_{writer.written}", (number,), scope.inside(number, most + 1), depth)
    call = Call(var, attrs.evolve(function, recur=True), (count,), as_program=writer.one_in(2))
    return (*before, call), scope.knows(Var(var))


def rows(writer: Writer, scope: Scope, depth: int) -> Block:
    var, name = writer.name("p", scope)
    size, few = _sizes(writer)
    function = writer.function(f"sub_{writer.written}", ("j",), scope.in_rows(few or size), depth)
    return (InPlate(var, name, function, size, few),), scope.knows(Op("total", (Var(var),)))


def elements(writer: Writer, scope: Scope, depth: int) -> Block:
    var, name = writer.name("p", scope)
    index = f"j_{writer.written}"
    size, few = _sizes(writer, scope.most)
    function = writer.function(f"sub_{writer.written}", (index,), scope.inside(index, size), depth)
    return (InPlate(var, name, function, size, few, vectorized=False),), scope.knows(Op("sum", (Var(var),)))


def _sizes(writer: Writer, most: int = 3) -> tuple[int, int | None]:
    """The size of a plate and, one time in three, that of a subsample."""
    size = writer.pick(range(1, min(most, 3) + 1))
    return size, writer.pick(range(1, size + 1)) if writer.one_in(3) else None


def entry(writer: Writer, scope: Scope, depth: int) -> Block:
    var, name = writer.name("p", scope)
    function = writer.function(f"sub_{writer.written}", (), scope, depth)
    return (InIndep(var, name, function, writer.one_in(2)),), scope.knows(Var(var))


def steps(writer: Writer, scope: Scope, depth: int) -> Block:
    var, name = writer.name("m", scope)
    time, state = f"t_{writer.written}", f"s_{writer.written}"
    size = writer.pick(range(1, min(scope.most, 4) + 1))
    inside = attrs.evolve(scope, entries=scope.entries * size).knows(Var(state))
    function = writer.function(f"step_{writer.written}", (time, state), inside, depth)
    function = attrs.evolve(function, result=Op("tanh", (function.result,)))  # bounded, however many steps there are
    return (InMarkov(var, name, function, size, writer.scalar(scope)),), scope.knows(Var(var))


def _times(writer: Writer, scope: Scope) -> tuple[Block, Expression, int]:
    """How often a loop runs: a number or, as often, what the model draws; with the draw, if it is made for this, and the most."""
    if not writer.one_in(2):
        number = writer.pick(range(scope.most + 1))
        return ((), scope), Const(number), number
    most = min(scope.most, 3)
    before, scope = ((), scope) if scope.counts or scope.rows else sample(writer, scope, 0, COUNTING)
    if not scope.counts:
        return (before, scope), Const(1), 1
    return (before, scope), Op("count", (writer.pick(scope.counts[::-1]), Const(most))), most
