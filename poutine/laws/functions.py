"""The functions of the kit's small language, and the statements that define one and run it: as it is, in a plate, in a ``markov`` loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from poutine.handlers.indep import IndepPoutine
from poutine.laws.control import yields
from poutine.laws.expressions import Env, Expression, Name
from poutine.laws.links import Link
from poutine.laws.statements import Statement, indented, run_all
from poutine.markov import markov
from poutine.plates import plate
from poutine.program import Coroutine, Program


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
        if not (self.recur or yields(self.body)):
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


@attrs.frozen
class InMarkov:
    """Defines a function of a step's number and a state, and runs it step after step."""

    var: str
    name: Name
    function: Function
    size: int
    initial: Expression

    def run(self, env: Env) -> Coroutine[None]:
        steps = markov(self.name.value(env), self.size)(Closure(self.function, dict(env)))
        env[self.var] = yield from steps(self.initial.value(env))

    def lines(self) -> Iterator[str]:
        yield from self.function.lines()
        yield f"{self.var} = yield from markov({self.name}, {self.size})({self.function.name})({self.initial})"
