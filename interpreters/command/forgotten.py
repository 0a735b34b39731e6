"""Calls that run nothing: what a model's author wrote without ``yield from``.

``rows()`` alone makes a program, as a call of a coroutine function makes a coroutine, and drops it: its sites, and its likelihood, are
missing without a word. Python warns of coroutines; nobody knows of a program, which is a value, whether it will be run, but of a statement
that is nothing but the call, one does.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def forgotten(source: bytes) -> list[tuple[int, str]]:
    """The line of each statement that is nothing but the call of a generator function, which is defined around it, and that one's name."""
    return sorted(_in(ast.parse(source), frozenset()))


def _in(scope: ast.AST, known: frozenset[str]) -> Iterator[tuple[int, str]]:
    """``known``: the names of those around. A name that is defined anew, as something else, is not known any more."""
    inside = [*_inside(scope)]
    functions = {each.name: _makes_programs(each) for each in inside if isinstance(each, _Function)}
    bound = {each.id for each in inside if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
    if isinstance(scope, _Function | ast.Lambda):
        bound |= {each.arg for each in ast.walk(scope.args) if isinstance(each, ast.arg)}
    known = known - bound - functions.keys() | {name for name, makes in functions.items() if makes and name not in bound}
    for each in inside:
        if isinstance(each, ast.Expr) and isinstance(each.value, ast.Call) and isinstance(each.value.func, ast.Name):
            if each.value.func.id in known:
                yield each.lineno, each.value.func.id
        elif isinstance(each, _Function | ast.Lambda):
            yield from _in(each, known)


def _inside(scope: ast.AST) -> Iterator[ast.AST]:
    """What is in a function or a module, and not in a function inside of it."""
    waiting = [*ast.iter_child_nodes(scope)]
    while waiting:
        each = waiting.pop()
        yield each
        if not isinstance(each, _Function | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(each)


def _makes_programs(function: _Function) -> bool:
    """Whether a call makes what is yet to be run: of a generator function, unless it is decorated by something that may run it."""
    is_generator = any(isinstance(each, ast.Yield | ast.YieldFrom) for each in _inside(function))
    return isinstance(function, ast.FunctionDef) and is_generator and all(map(_is_loop, function.decorator_list))


def _is_loop(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id in ("plate", "markov")
