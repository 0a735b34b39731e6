"""The statements that contain others: branches, loops, and what catches or cleans up."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from poutine.laws.expressions import Env, Expression
from poutine.laws.statements import Statement, indented, run_all
from poutine.program import Coroutine


@attrs.frozen
class Branch:
    """``if condition: ... else: ...``."""

    condition: Expression
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]

    def run(self, env: Env) -> Coroutine[None]:
        yield from run_all(self.then if self.condition.value(env) else self.otherwise, env)

    def lines(self) -> Iterator[str]:
        yield f"if {self.condition}:"
        yield from indented(self.then)
        if self.otherwise:
            yield "else:"
            yield from indented(self.otherwise)


@attrs.frozen
class Repeat:
    """``for i in range(count): ...``."""

    index: str
    count: Expression
    body: tuple[Statement, ...]

    def run(self, env: Env) -> Coroutine[None]:
        for i in range(self.count.value(env)):
            env[self.index] = i
            yield from run_all(self.body, env)

    def lines(self) -> Iterator[str]:
        yield f"for {self.index} in range({self.count}):"
        yield from indented(self.body)


@attrs.frozen
class Guard:
    """``try: ... finally: t = ...``, and what else is to be done in the end."""

    body: tuple[Statement, ...]
    var: str
    assigned: Expression
    final: tuple[Statement, ...] = ()

    def run(self, env: Env) -> Coroutine[None]:
        try:
            yield from run_all(self.body, env)
        finally:
            env[self.var] = self.assigned.value(env)
            yield from run_all(self.final, env)

    def lines(self) -> Iterator[str]:
        yield "try:"
        yield from indented(self.body)
        yield "finally:"
        yield f"    {self.var} = {self.assigned}"
        yield from indented(self.final) if self.final else ()


@attrs.frozen
class Rescue:
    """``try: ...; if condition: raise ArithmeticError`` and ``except ArithmeticError: ...``."""

    body: tuple[Statement, ...]
    condition: Expression
    rescue: tuple[Statement, ...]

    def run(self, env: Env) -> Coroutine[None]:
        try:
            yield from run_all(self.body, env)
            if self.condition.value(env):
                raise ArithmeticError
        except ArithmeticError:
            yield from run_all(self.rescue, env)

    def lines(self) -> Iterator[str]:
        yield "try:"
        yield from indented(self.body) if self.body else ()
        yield f"    if {self.condition}:"
        yield "        raise ArithmeticError"
        yield "except ArithmeticError:"
        yield from indented(self.rescue)


def yields(statements: tuple[Statement, ...]) -> bool:
    """Whether their source makes a generator of the function that they are in."""
    for statement in statements:
        match statement:
            case Branch(then=one, otherwise=other) | Guard(body=one, final=other) | Rescue(body=one, rescue=other):
                inside = (*one, *other)
            case Repeat(body=inside):
                pass
            case _:
                return True
        if yields(inside):
            return True
    return False
