"""Generators of random numbers, not torch's, that a program may draw from behind the back of whoever runs it."""

from __future__ import annotations

import gc
import pickle
import random
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

import numpy

_GENERATORS: Final = (random.Random, numpy.random.Generator, numpy.random.RandomState)
_LIBRARIES: Final = frozenset(("torch", "numpy", "poutine", "interpreters")) | sys.stdlib_module_names


def generators_of(program: Any) -> tuple[Any, ...]:
    """The generators of ``random`` and numpy that ``program`` refers to: in its arguments, closures, the globals that its code names, and their
    parts, but not inside of libraries.

    Others may be drawn from by other threads.
    """
    waiting, seen, found = [program], {}, []
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing  # kept, or its id might become another's
        if issubclass(type(thing), _GENERATORS):  # a proxy would have to be asked
            found.append(thing)
        else:
            waiting.extend(_parts(thing))
    return tuple(found)


def states(generators: tuple[Any, ...]) -> bytes:
    """What tells whether one of them, or one of the global ones, was drawn from."""
    return pickle.dumps([random.getstate(), numpy.random.get_state(), *map(_state, generators)])


def _state(generator: Any) -> Any:
    if isinstance(generator, random.SystemRandom):  # it has none
        return None
    if isinstance(generator, random.Random):
        return generator.getstate()
    return generator.bit_generator.state if isinstance(generator, numpy.random.Generator) else generator.get_state()


def _parts(thing: Any) -> Iterator[Any]:
    kind = type(thing)  # of the thing itself: isinstance would ask a proxy, whose object may be gone
    if issubclass(kind, ModuleType):
        return
    if issubclass(kind, type):
        if not _is_of_a_library(thing):
            yield from vars(thing).values()
            yield from thing.__bases__
    elif issubclass(kind, FunctionType):
        yield from _parts_of_a_function(thing)
    elif issubclass(kind, MethodType):
        yield from (thing.__self__, thing.__func__)
    elif gc.is_tracked(thing):
        yield from gc.get_referents(thing)


def _parts_of_a_function(function: FunctionType) -> Iterator[Any]:
    yield from (function.__defaults__, function.__kwdefaults__, function.__dict__, *(function.__closure__ or ()))
    if _is_of_a_library(function):
        return
    names = set(_names(function.__code__))
    for name in names & function.__globals__.keys():
        named = function.__globals__[name]
        yield named
        if isinstance(named, ModuleType) and named.__name__.partition(".")[0] not in _LIBRARIES:
            yield from (vars(named)[inner] for inner in names & vars(named).keys())


def _names(code: CodeType) -> Iterator[str]:
    """The globals and attributes that ``code``, and the code inside of it, names."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _is_of_a_library(thing: Any) -> bool:
    return str(thing.__module__).partition(".")[0] in _LIBRARIES
