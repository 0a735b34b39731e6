"""The statements of the kit's small language: each runs as a part of a generator, and prints as lines of Python.

``run(env)`` may assign variables in ``env``; ``lines()`` is the source, without indentation of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import attrs

from poutine.factors import factor
from poutine.handlers.indep import IndepPoutine
from poutine.laws.ask import Ask
from poutine.laws.expressions import Dist, Env, Expression, Name
from poutine.laws.links import Link
from poutine.messages import Deterministic, Observe, Param, Sample
from poutine.plates import plate
from poutine.program import Coroutine, Program


class Statement(Protocol):
    """A line of a model, or several."""

    def run(self, env: Env) -> Coroutine[None]: ...
    def lines(self) -> Iterator[str]: ...


@attrs.frozen
class Draw:
    """``x = yield Sample("x", Normal(0.0, 1.0))`` or, deferred, ``yield Sample("x", Normal, 0.0, 1.0)``."""

    var: str
    name: Name
    dist: Dist
    deferred: bool = False

    def run(self, env: Env) -> Coroutine[None]:
        name = self.name.value(env)
        if self.deferred:
            env[self.var] = yield Sample(name, self.dist.cls, *self.dist.arguments(env))
        else:
            env[self.var] = yield Sample(name, self.dist.value(env))

    def lines(self) -> Iterator[str]:
        inside = [self.dist.family, *map(str, self.dist.args)] if self.deferred else [str(self.dist)]
        yield f"{self.var} = yield Sample({self.name}, {', '.join(inside)})"


@attrs.frozen
class See:
    """``yield Observe("y", Normal(x, 1.0), torch.tensor(0.5))``."""

    name: Name
    dist: Dist
    seen: Expression

    def run(self, env: Env) -> Coroutine[None]:
        yield Observe(self.name.value(env), self.dist.value(env), self.seen.value(env))

    def lines(self) -> Iterator[str]:
        yield f"yield Observe({self.name}, {self.dist}, {self.seen})"


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
    """``w = yield Param("w", torch.tensor(0.5))``."""

    var: str
    name: Name
    init: Expression

    def run(self, env: Env) -> Coroutine[None]:
        env[self.var] = yield Param(self.name.value(env), self.init.value(env))

    def lines(self) -> Iterator[str]:
        yield f"{self.var} = yield Param({self.name}, {self.init})"


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
    """``try: ... finally: t = ...``."""

    body: tuple[Statement, ...]
    var: str
    final: Expression

    def run(self, env: Env) -> Coroutine[None]:
        try:
            yield from run_all(self.body, env)
        finally:
            env[self.var] = self.final.value(env)

    def lines(self) -> Iterator[str]:
        yield "try:"
        yield from indented(self.body)
        yield "finally:"
        yield f"    {self.var} = {self.final}"


@attrs.frozen
class Function:
    """``def name(params): ...; return result``, a generator function that sees the variables around it.

    With ``recur``, its last parameter counts down to 0, and it calls itself in between: the results are added.
    """

    name: str
    params: tuple[str, ...]
    body: tuple[Statement, ...]
    result: Expression
    recur: bool = False

    def lines(self) -> Iterator[str]:
        yield f"def {self.name}({', '.join(self.params)}):"
        yield from indented(self.body) if self.body else ()
        if self.recur:
            yield f"    if {self.params[-1]} > 0:"
            yield f"        return {self.result} + (yield from {self.name}({self.params[-1]} - 1))"
        yield f"    return {self.result}"
        if not (self.recur or _yields(self.body)):
            yield "    yield  # makes it a generator"


@attrs.frozen
class Closure:
    """A function of the language as a generator function, with the variables around it."""

    function: Function
    around: Env

    def __call__(self, *args: Any) -> Coroutine[Any]:
        function = self.function
        env = {**self.around, **dict(zip(function.params, args, strict=True)), function.name: self}
        yield from run_all(function.body, env)
        result = function.result.value(env)
        if function.recur and args[-1] > 0:
            result = result + (yield from self(*args[:-1], args[-1] - 1))
        return result


@attrs.frozen
class Call:
    """Defines a function and runs it: plainly, as a ``Program``, or under a chain of handlers."""

    var: str
    function: Function
    args: tuple[Expression, ...] = ()
    links: tuple[Link, ...] = ()
    as_program: bool = False

    def run(self, env: Env) -> Coroutine[None]:
        fn: Callable[..., Any] = Closure(self.function, dict(env))
        args = [arg.value(env) for arg in self.args]
        if self.as_program:
            env[self.var] = yield from Program(fn, *args)
            return
        for link in self.links:
            fn = link(fn)
        env[self.var] = yield from fn(*args)

    def lines(self) -> Iterator[str]:
        yield from self.function.lines()
        args = [str(arg) for arg in self.args]
        if self.as_program:
            yield f"{self.var} = yield from Program({', '.join([self.function.name, *args])})"
            return
        source = self.function.name
        for link in self.links:
            source = link.around(source)
        yield f"{self.var} = yield from {source}({', '.join(args)})"


@attrs.frozen
class InPlate:
    """Defines a function of an index and runs it in a plate."""

    var: str
    name: Name
    function: Function
    size: int
    subsample_size: int | None = None
    vectorized: bool = True

    def run(self, env: Env) -> Coroutine[None]:
        wrap = plate(self.name.value(env), self.size, self.subsample_size, vectorized=self.vectorized)
        env[self.var] = yield from wrap(Closure(self.function, dict(env)))()

    def lines(self) -> Iterator[str]:
        yield from self.function.lines()
        options = [str(self.name), str(self.size)]
        options += [] if self.subsample_size is None else [f"subsample_size={self.subsample_size}"]
        options += [] if self.vectorized else ["vectorized=False"]
        yield f"{self.var} = yield from plate({', '.join(options)})({self.function.name})()"


@attrs.frozen
class InIndep:
    """Defines a function and runs it as one entry of a plate without an index (the bare ``indep``)."""

    var: str
    name: Name
    function: Function
    vectorized: bool

    def run(self, env: Env) -> Coroutine[None]:
        env[self.var] = yield from IndepPoutine(Closure(self.function, dict(env)), self.name.value(env), self.vectorized)()

    def lines(self) -> Iterator[str]:
        yield from self.function.lines()
        yield f"{self.var} = yield from indep({self.function.name}, name={self.name}, vectorized={self.vectorized})()"


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


def _yields(statements: tuple[Statement, ...]) -> bool:
    """Whether their source makes a generator of the function that they are in."""
    for statement in statements:
        match statement:
            case Branch(then=then, otherwise=otherwise):
                inside = (*then, *otherwise)
            case Repeat(body=body) | Guard(body=body):
                inside = body
            case _:
                return True
        if _yields(inside):
            return True
    return False
