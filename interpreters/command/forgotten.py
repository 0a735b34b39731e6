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
    tree = ast.parse(source)
    anywhere = {name for each in ast.walk(tree) if isinstance(each, ast.Global | ast.Nonlocal) for name in each.names}
    return sorted(found for found in _in(tree, frozenset()) if found[1] not in anywhere)


def _in(scope: ast.AST, known: frozenset[str]) -> Iterator[tuple[int, str]]:
    """``known``: the names of those around. A name that stands for something else here as well is not known any more."""
    inside = [*_inside(scope)]
    making = {each.name for each in inside if isinstance(each, ast.FunctionDef) and _makes_programs(each)}
    others = {name for each in inside for name in _bound(each) if not (isinstance(each, ast.FunctionDef) and _makes_programs(each))}
    if isinstance(scope, _Function | ast.Lambda):
        others |= {each.arg for each in ast.walk(scope.args) if isinstance(each, ast.arg)}
    known = (known | making) - others
    for each in inside:
        if isinstance(each, ast.Expr) and isinstance(each.value, ast.Call) and isinstance(each.value.func, ast.Name):
            if each.value.func.id in known:
                yield each.lineno, each.value.func.id
        elif isinstance(each, _Function | ast.Lambda):
            yield from _in(each, known)


def _bound(node: ast.AST) -> Iterator[str]:
    """The names to which ``node``, without what is in it, gives a meaning."""
    if isinstance(node, _Function | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        yield node.name or ""
    elif isinstance(node, ast.MatchMapping):
        yield node.rest or ""


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
