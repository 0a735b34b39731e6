"""The statements of the kit's small language: each runs as a part of a generator, and prints as lines of Python.

``run(env)`` may assign variables in ``env``; ``lines()`` is the source, without indentation of its own. Those that yield one
message are here; those that contain others are in ``control`` and ``functions``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import attrs
from torch.distributions import constraints

from poutine.factors import factor
from poutine.laws.ask import Ask
from poutine.laws.expressions import Dist, Env, Expression, Name
from poutine.messages import UNDECIDED, Deterministic, Message, Observe, Param, Sample, Site
from poutine.program import Coroutine


class Statement(Protocol):
    """A line of a model, or several."""

    def run(self, env: Env) -> Coroutine[None]: ...
    def lines(self) -> Iterator[str]: ...


@attrs.frozen
class Draw:
    """``x = yield Sample("x", Normal(0.0, 1.0))`` or, deferred, ``yield Sample("x", Normal, 0.0, scale=1.0)``."""

    var: str
    name: Name
    dist: Dist
    deferred: bool = False

    def run(self, env: Env) -> Coroutine[None]:
        fn, args, kwargs = _carried(self.dist, self.deferred, env)
        env[self.var] = yield Sample(self.name.value(env), fn, *args, **kwargs)

    def lines(self) -> Iterator[str]:
        yield f"{self.var} = yield Sample({', '.join([str(self.name), *_written(self.dist, self.deferred)])})"


@attrs.frozen
class See:
    """``yield Observe("y", Normal(x, 1.0), torch.tensor(0.5))`` or, deferred, ``yield Observe("y", Normal, torch.tensor(0.5), x, 1.0)``."""

    name: Name
    dist: Dist
    seen: Expression
    deferred: bool = False

    def run(self, env: Env) -> Coroutine[None]:
        fn, args, kwargs = _carried(self.dist, self.deferred, env)
        yield Observe(self.name.value(env), fn, self.seen.value(env), *args, **kwargs)

    def lines(self) -> Iterator[str]:
        fn, *args = _written(self.dist, self.deferred)
        yield f"yield Observe({', '.join([str(self.name), fn, str(self.seen), *args])})"


def _carried(dist: Dist, deferred: bool, env: Env) -> tuple[Any, list[Any], dict[str, Any]]:
    """What a message carries of a distribution: itself, or its class and arguments."""
    return (dist.cls, *dist.arguments(env)) if deferred else (dist.value(env), [], {})


def _written(dist: Dist, deferred: bool) -> list[str]:
    return [dist.family, *dist.written()] if deferred else [str(dist)]


@attrs.frozen
class Weigh:
    """``yield factor("f", x)``."""

    name: Name
    log_factor: Expression

    def run(self, env: Env) -> Coroutine[None]:
        yield factor(self.name.value(env), self.log_factor.value(env))

    def lines(self) -> Iterator[str]:
        yield f"yield factor({self.name}, {self.log_factor})"


@attrs.frozen
class Learn:
    """``w = yield Param("w", torch.tensor(0.5), constraint=constraints.positive)``.

    constraint:  the name of one of torch's that has no arguments, if there is one.
    """

    var: str
    name: Name
    init: Expression
    constraint: str | None = None

    def run(self, env: Env) -> Coroutine[None]:
        constraint = constraints.real if self.constraint is None else getattr(constraints, self.constraint)
        env[self.var] = yield Param(self.name.value(env), self.init.value(env), constraint=constraint)

    def lines(self) -> Iterator[str]:
        constraint = [] if self.constraint is None else [f"constraint=constraints.{self.constraint}"]
        yield f"{self.var} = yield Param({', '.join([str(self.name), str(self.init), *constraint])})"


@attrs.frozen
class Record:
    """``d = yield Deterministic("d", x + 1.0)``."""

    var: str
    name: Name
    computed: Expression

    def run(self, env: Env) -> Coroutine[None]:
        env[self.var] = yield Deterministic(self.name.value(env), self.computed.value(env))

    def lines(self) -> Iterator[str]:
        yield f"{self.var} = yield Deterministic({self.name}, {self.computed})"


@attrs.frozen
class Inquire:
    """``a = yield Ask("a", x)``: a message of the user's own."""

    var: str
    name: Name
    question: Expression

    def run(self, env: Env) -> Coroutine[None]:
        env[self.var] = yield Ask(self.name.value(env), self.question.value(env))

    def lines(self) -> Iterator[str]:
        yield f"{self.var} = yield Ask({self.name}, {self.question})"


@attrs.frozen
class Send:
    """``m = yield Tell("m")``: a message of a type that somebody else has made. A site gets a name of its own."""

    var: str
    name: Name
    message: Message

    def run(self, env: Env) -> Coroutine[None]:
        message = self.message
        env[self.var] = yield message.evolve(name=self.name.value(env)) if isinstance(message, Site) else message

    def lines(self) -> Iterator[str]:
        given = {field.alias: getattr(self.message, field.name) for field in attrs.fields(type(self.message)) if field.init}
        name = given.pop("name", self.message.name)
        options = [f"{key}={value!r}" for key, value in given.items() if value is not UNDECIDED]
        shown = str(self.name) if isinstance(self.message, Site) else repr(name)
        yield f"{self.var} = yield {type(self.message).__name__}({', '.join([shown, *options])})"


def run_all(statements: tuple[Statement, ...], env: Env) -> Coroutine[None]:
    """Runs one after the other."""
    for statement in statements:
        yield from statement.run(env)


def indented(statements: tuple[Statement, ...]) -> Iterator[str]:
    """Their source as the body of something."""
    for statement in statements:
        for line in statement.lines():
            yield f"    {line}"
    if not statements:
        yield "    pass"
