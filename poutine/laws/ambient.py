"""The state around a program, which nothing may change or depend on: global generators, defaults of torch, warnings, modules."""

from __future__ import annotations

import functools
import os
import random
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import attrs
import numpy
import torch

from poutine.laws.settings import SETTINGS, kept
from poutine.messages import Message

PACKAGES: Final = ("poutine", "interpreters")
SURROUNDINGS: Final = ("the global generators", "torch's grad mode", "the environment", "the hashes of strings", "torch's default dtype")


def ambient() -> dict[str, Any]:
    """What may be read and changed from anywhere, by name; two looks are equal if nothing has changed."""
    return {name: setting.look() for name, setting in SETTINGS.items()}


@contextmanager
def other_generators(seed: int) -> Iterator[None]:
    """The three global generators in another state for a while."""
    before = torch.get_rng_state(), numpy.random.get_state(), random.getstate()
    torch.manual_seed(seed)
    numpy.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        numpy.random.set_state(before[1])
        random.setstate(before[2])


@contextmanager
def other_surroundings(*what: str, module: str = "") -> Iterator[None]:
    """Some of ``SURROUNDINGS`` otherwise than usual for a while; all of them by default. Hashes are those that ``module`` asks for."""
    wanted = what or SURROUNDINGS
    with kept(), ExitStack() as stack:
        if "the global generators" in wanted:
            stack.enter_context(other_generators(123))
        if "the environment" in wanted:
            stack.enter_context(_other_environment())
        if "the hashes of strings" in wanted:
            stack.enter_context(_other_hashes(module))
        if "torch's grad mode" in wanted:
            torch.set_grad_enabled(not torch.is_grad_enabled())
        if "torch's default dtype" in wanted:
            torch.set_default_dtype(torch.float64)
        yield


class _Answering(dict[str, str]):
    """An environment in which everything is set, and what is set already is set to something else."""

    def get(self, name: Any, default: Any = None) -> Any:
        return self[name]

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return "1"


@contextmanager
def _other_environment() -> Iterator[None]:
    before = os.environ
    others = {name: value if name.startswith("TORCH") else _another(value) for name, value in before.items()}
    os.environ = _Answering(others)  # type: ignore[assignment]  # noqa: B003  # no other process is started in it
    try:
        yield
    finally:
        os.environ = before  # noqa: B003


def _another(value: str) -> str:
    return str(int(value) + 1) if value.isdecimal() else f"{value}_elsewhere"


@contextmanager
def _other_hashes(module: str) -> Iterator[None]:
    """As in another process, where ``hash`` of a string is another: for the functions of ``module``, if it is not one of the library."""
    names = vars(sys.modules[module]) if module in sys.modules and module.split(".")[0] not in (*PACKAGES, "builtins") else {}
    before = names.get("hash", names)
    names["hash"] = lambda thing: hash(f"{thing} elsewhere") if isinstance(thing, str) else hash(thing)
    try:
        yield
    finally:
        del names["hash"]
        names.update({"hash": before} if before is not names else {})


def module_state(packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """Every object that hangs on a loaded module of ``packages``, deep: from the path to it to what it is there."""
    found: dict[str, Any] = {}
    for name, module in sorted(sys.modules.items()):
        if name.split(".")[0] in packages:
            _look(module.__name__, vars(module), found, set(), packages)
    return found


def state_of(thing: Any, *packages: str) -> dict[str, Any]:
    """One object, deep: from the path to each part of it to what it is. Into objects of ``packages`` (and of its own) it looks."""
    found: dict[str, Any] = {}
    _look("", thing, found, set(), (*PACKAGES, *packages, getattr(type(thing), "__module__", "").split(".")[0]))
    return found


def state_of_class(cls: type) -> dict[str, Any]:
    """A class of a user's own and its bases, as far as they are outside of the library: what hangs on them, and the globals that they use.

    But for what a cache of the standard library holds, which is no fault of a function that gives the same for the same: ``caches_of_class``.
    """
    return _around_class(cls, [])


def caches_of_class(cls: type) -> list[Any]:
    """The functions under ``functools.cache`` or ``lru_cache`` that are found there."""
    caches: list[Any] = []
    _around_class(cls, caches)
    return caches


def _around_class(cls: type, caches: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        module = base.__module__
        if module.split(".")[0] not in (*PACKAGES, "builtins", "typing"):
            _look(f"{module}.{base.__qualname__}", base, found, set(), (module,), caches)
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """The first thing that is not as it was."""
    for name in (*before, *after):
        if before.get(name) != after.get(name) or (name in before) != (name in after):
            return name
    return None


def _look(path: str, thing: Any, found: dict[str, Any], seen: set[int], packages: tuple[str, ...], caches: list[Any] | None = None) -> None:
    """``caches``: with it, the globals of functions are followed, and cached functions are put there and not looked into."""
    if id(thing) in seen:
        return
    if isinstance(thing, (int, float, str, bytes, type(None), torch.dtype)):
        found[path] = thing
        return
    seen.add(id(thing))
    found[path] = (type(thing).__name__, id(thing))
    if isinstance(thing, torch.Tensor):
        found[path] = (id(thing), thing.detach().cpu().numpy().tobytes(), thing.requires_grad)
    if caches is not None and isinstance(thing, functools._lru_cache_wrapper):
        caches.append(thing)
        _look(f"{path}.__wrapped__", thing.__wrapped__, found, seen, packages, caches)
        return
    for key, part in _parts(thing, packages):
        _look(f"{path}.{key}", part, found, seen, packages, caches)
    if caches is not None and isinstance(thing, types.FunctionType) and thing.__module__ in packages:
        for name in _names_in(thing.__code__):
            if name in thing.__globals__:
                _look(f"the global {name}", thing.__globals__[name], found, seen, packages, caches)


def _parts(thing: Any, packages: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, (Mapping, types.MappingProxyType)):
        yield from ((str(key), value) for key, value in list(thing.items()) if key != "__builtins__")
        yield "len", len(thing)
    elif isinstance(thing, (list, tuple, set, frozenset)):
        yield from ((str(i), part) for i, part in enumerate(thing))
        yield "len", len(thing)
    elif isinstance(thing, functools.partial):  # pragma: no cover  # at module level there is none today
        yield from (("func", thing.func), ("args", thing.args), ("keywords", thing.keywords))
    elif isinstance(thing, types.FunctionType):
        yield from (("__defaults__", thing.__defaults__), ("__kwdefaults__", thing.__kwdefaults__), ("__dict__", thing.__dict__))
        yield from ((f"<{i}>", cell.cell_contents) for i, cell in enumerate(thing.__closure__ or ()) if _is_filled(cell))
    elif hasattr(thing, "cache_info"):
        yield "cache_info", repr(thing.cache_info())
    elif isinstance(thing, type):
        if _within(thing.__module__, packages):
            yield from ((key, value) for key, value in vars(thing).items() if key not in _OF_PYTHON)
    elif isinstance(thing, Message):  # its fields: the distribution that it has built is kept, and may be built again
        yield from ((field.name, getattr(thing, field.name, None)) for field in attrs.fields(type(thing)))
    elif _within(type(thing).__module__, packages):
        yield from getattr(thing, "__dict__", {}).items()
        yield from ((slot, getattr(thing, slot)) for cls in type(thing).__mro__ for slot in _slots(cls) if hasattr(thing, slot))


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _within(module: str, packages: tuple[str, ...]) -> bool:
    return module.split(".")[0] in packages or module in packages


def _slots(cls: type) -> tuple[str, ...]:
    slots = cls.__dict__.get("__slots__", ())
    return tuple(slot for slot in ((slots,) if isinstance(slots, str) else slots) if slot not in _OF_PYTHON)


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # empty cells raise
    except ValueError:  # pragma: no cover  # none of this library's functions has one today
        return False
    return True


# What Python itself fills in on demand.
_OF_PYTHON: Final = frozenset(
    ("__weakref__", "__dict__", "__doc__", "__annotations__", "__abstractmethods__", "_abc_impl", "__parameters__")
)
