"""The state around a program, which nothing may change or depend on: global generators, defaults of torch, warnings, modules."""

from __future__ import annotations

import random
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Final

import attrs
import numpy
import torch
from torch.distributions import Distribution

from poutine.messages import Message

PACKAGES: Final = ("poutine", "interpreters")
SURROUNDINGS: Final = ("the global generators", "torch's default dtype", "torch's grad mode")


def ambient() -> dict[str, Any]:
    """What may be read and changed from anywhere, by name; two looks are equal if nothing has changed."""
    return {
        "torch's global generator": torch.get_rng_state().numpy().tobytes(),
        "numpy's global generator": repr(numpy.random.get_state(legacy=False)),
        "random's global generator": random.getstate(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's default device": torch.get_default_device(),
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's inference mode": torch.is_inference_mode_enabled(),
        "torch's function modes": torch._C._len_torch_function_stack(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "torch's validation of distributions": Distribution.__dict__["_validate_args"] if "_validate_args" in vars(Distribution) else None,
        "the warnings filters": tuple(warnings.filters),
        "the recursion limit": sys.getrecursionlimit(),
    }


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
def other_surroundings(*what: str) -> Iterator[None]:
    """Some of ``SURROUNDINGS`` otherwise than usual for a while; all of them by default."""
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    wanted = what or SURROUNDINGS
    with other_generators(123) if "the global generators" in wanted else nullcontext():
        torch.set_default_dtype(torch.float64 if "torch's default dtype" in wanted else dtype)
        torch.set_grad_enabled(grad != ("torch's grad mode" in wanted))
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(grad)


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
    """A class of a user's own and its bases, as far as they are outside of the library: what hangs on them, and the globals that they use."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        module = base.__module__
        if module.split(".")[0] not in (*PACKAGES, "builtins", "typing"):
            _look(f"{module}.{base.__qualname__}", base, found, set(), (module,), follow=True)
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """The first thing that is not as it was."""
    for name in (*before, *after):
        if before.get(name) != after.get(name) or (name in before) != (name in after):
            return name
    return None


def _look(path: str, thing: Any, found: dict[str, Any], seen: set[int], packages: tuple[str, ...], follow: bool = False) -> None:
    if id(thing) in seen:
        return
    if isinstance(thing, (int, float, str, bytes, type(None), torch.dtype)):
        found[path] = thing
        return
    seen.add(id(thing))
    found[path] = (type(thing).__name__, id(thing))
    if isinstance(thing, torch.Tensor):
        found[path] = (id(thing), thing.detach().cpu().numpy().tobytes(), thing.requires_grad)
    for key, part in _parts(thing, packages):
        _look(f"{path}.{key}", part, found, seen, packages, follow)
    if follow and isinstance(thing, types.FunctionType) and thing.__module__ in packages:
        for name in _names_in(thing.__code__):
            if name in thing.__globals__:
                _look(f"the global {name}", thing.__globals__[name], found, seen, packages, follow)


def _parts(thing: Any, packages: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, (Mapping, types.MappingProxyType)):
        yield from ((str(key), value) for key, value in list(thing.items()) if key != "__builtins__")
        yield "len", len(thing)
    elif isinstance(thing, (list, tuple, set, frozenset)):
        yield from ((str(i), part) for i, part in enumerate(thing))
        yield "len", len(thing)
    elif isinstance(thing, partial):  # pragma: no cover  # at module level there is none today
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
