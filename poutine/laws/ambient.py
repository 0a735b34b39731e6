"""The state around a program, which nothing may change or depend on: global generators, defaults of torch, warnings, modules."""

from __future__ import annotations

import random
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import numpy
import torch
from torch.distributions import Distribution

PACKAGES: Final = ("poutine", "interpreters")


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


def module_state(packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """Every object that hangs on a loaded module of ``packages``, deep: from the path to it to what it is there."""
    found: dict[str, Any] = {}
    for name, module in sorted(sys.modules.items()):
        if name.split(".")[0] in packages:
            _look(module.__name__, vars(module), found, set(), packages)
    return found


def state_of(thing: Any) -> dict[str, Any]:
    """One object, deep: from the path to each part of it to what it is."""
    found: dict[str, Any] = {}
    _look("", thing, found, set(), (*PACKAGES, getattr(type(thing), "__module__", "").split(".")[0]))
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """The first thing that is not as it was."""
    for name in (*before, *after):
        if before.get(name) != after.get(name) or (name in before) != (name in after):
            return name
    return None


def _look(path: str, thing: Any, found: dict[str, Any], seen: set[int], packages: tuple[str, ...]) -> None:
    if id(thing) in seen:
        return
    if isinstance(thing, (int, float, str, bytes, type(None), torch.dtype)):
        found[path] = thing
        return
    seen.add(id(thing))
    found[path] = (type(thing).__name__, id(thing))
    if isinstance(thing, torch.Tensor):
        found[path] = (id(thing), thing.detach().numpy().tobytes(), thing.requires_grad)
    for key, part in _parts(thing, packages):
        _look(f"{path}.{key}", part, found, seen, packages)


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
        if thing.__module__.split(".")[0] in packages:
            yield from ((key, value) for key, value in vars(thing).items() if key not in _OF_PYTHON)
    elif type(thing).__module__.split(".")[0] in packages:
        yield from getattr(thing, "__dict__", {}).items()
        yield from ((slot, getattr(thing, slot)) for cls in type(thing).__mro__ for slot in _slots(cls) if hasattr(thing, slot))


def _slots(cls: type) -> tuple[str, ...]:
    slots = cls.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


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
