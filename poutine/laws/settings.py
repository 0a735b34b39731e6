"""The settings that may be read and changed from anywhere: of torch, numpy and Python. How each is looked at, and put back."""

from __future__ import annotations

import builtins
import decimal
import gc
import logging
import math
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType, ModuleType
from typing import Any, Final

import attrs
import numpy
import torch
from torch.distributions import Distribution


@attrs.frozen
class Setting:
    """``get`` and, where it can be put back, ``put``; ``key`` makes of it what can be compared."""

    get: Callable[[], Any]
    put: Callable[[Any], Any] | None = None
    key: Callable[[Any], Any] = attrs.field(default=lambda value: value)

    def look(self) -> Any:
        return self.key(self.get())


def _put_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]  # it is a list, whatever it is declared as
    warnings._filters_mutated()  # type: ignore[attr-defined]  # as warnings itself does


def _environment() -> dict[str, str]:
    """Without what parts of torch set, when they are imported at their first use."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TORCH")}


def _put_environment(before: dict[str, str]) -> None:
    for name in _environment().keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _levels() -> dict[str, Any]:
    """Of the loggers that have one of their own; but for torch's, as in the environment."""
    loggers = {name: getattr(logger, "level", 0) for name, logger in logging.root.manager.loggerDict.items()}
    levels = {name: level for name, level in loggers.items() if level and name.split(".")[0] != "torch"}
    return {"": logging.root.level, "disable": logging.root.manager.disable, **levels}


def _put_levels(before: dict[str, Any]) -> None:
    for name in _levels().keys() - {"disable"}:
        logging.getLogger(name).setLevel(before.get(name, logging.NOTSET))
    logging.disable(before["disable"])


def _rules_of(context: decimal.Context) -> tuple[Any, ...]:
    """Without its flags, which every computation raises."""
    return context.prec, context.rounding, context.Emin, context.Emax, context.capitals, context.clamp, tuple(context.traps.values())


def _put_names(of: Any, before: Mapping[str, Any]) -> None:
    """The attributes of a class or a module."""
    now = _own(of)
    for name in now.keys() - before.keys():
        delattr(of, name)  # pragma: no cover  # only what a fault has set
    for name, value in before.items():
        if name not in now or now[name] is not value:
            setattr(of, name, value)  # pragma: no cover  # only where a fault has patched it


def _own(of: Any) -> dict[str, Any]:
    """Without what Python itself, or an interactive one, fills in on demand, and without modules that are imported."""
    return {name: value for name, value in vars(of).items() if name not in _ON_DEMAND and not isinstance(value, ModuleType)}


def _ids(attributes: Mapping[str, Any]) -> dict[str, int]:
    return {name: id(value) for name, value in attributes.items()}


_ON_DEMAND: Final = frozenset(
    ("_", "__annotations__", "__doc__", "__dict__", "__weakref__", "_abc_impl", "__abstractmethods__", "__warningregistry__")
)

SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        "torch's global generator": Setting(torch.get_rng_state, torch.set_rng_state, lambda state: state.numpy().tobytes()),
        "numpy's global generator": Setting(
            numpy.random.get_state, numpy.random.set_state, lambda state: (state[0], state[1].tobytes(), *state[2:])
        ),
        "random's global generator": Setting(random.getstate, random.setstate),
        "torch's default dtype": Setting(torch.get_default_dtype, torch.set_default_dtype),
        "torch's default device": Setting(torch.get_default_device, lambda device: torch.set_default_device(None)),
        "torch's grad mode": Setting(torch.is_grad_enabled, torch.set_grad_enabled),
        "torch's inference mode": Setting(torch.is_inference_mode_enabled),
        "torch's function modes": Setting(torch._C._len_torch_function_stack),
        "torch's deterministic mode": Setting(
            lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
            lambda modes: torch.use_deterministic_algorithms(modes[0], warn_only=modes[1]),
        ),
        "torch's anomaly mode": Setting(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        "torch's precision of products": Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        "torch's number of threads": Setting(torch.get_num_threads, torch.set_num_threads),
        "torch's print options": Setting(
            lambda: dict(vars(torch._tensor_str.PRINT_OPTS)), lambda options: vars(torch._tensor_str.PRINT_OPTS).update(options)
        ),
        "torch's validation of distributions": Setting(
            lambda: vars(Distribution)["_validate_args"], Distribution.set_default_validate_args
        ),
        "numpy's handling of errors": Setting(numpy.geterr, lambda handling: numpy.seterr(**handling)),
        "numpy's print options": Setting(numpy.get_printoptions, lambda options: numpy.set_printoptions(**options)),
        "the warnings filters": Setting(lambda: list(warnings.filters), _put_filters, tuple),
        "the recursion limit": Setting(sys.getrecursionlimit, sys.setrecursionlimit),
        "the environment": Setting(_environment, _put_environment),
        "the working directory": Setting(os.getcwd, os.chdir),
        "the collection of garbage": Setting(gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
        "the levels of loggers": Setting(_levels, _put_levels),
        "the context of decimal": Setting(lambda: decimal.getcontext().copy(), decimal.setcontext, _rules_of),
        "the builtins": Setting(lambda: _own(builtins), lambda before: _put_names(builtins, before), _ids),
    }
)


def patches() -> dict[str, Any]:
    """What somebody could patch: the attributes of torch's classes and modules, and of Python's; each by its name."""
    return {f"{name}.{attribute}": value for name, of in _patched().items() for attribute, value in _ids(_own(of)).items()}


@contextmanager
def kept(patched: bool = False) -> Iterator[None]:
    """Puts back whatever setting has been changed in between; with ``patched``, what has been patched, too."""
    before = [(setting, setting.get()) for setting in SETTINGS.values()]
    attributes = [(of, _own(of)) for of in _patched().values()] if patched else []
    try:
        yield
    finally:
        for setting, value in before:
            if setting.put is not None and setting.key(value) != setting.look():
                setting.put(value)
        for of, names in attributes:
            if _ids(names) != _ids(_own(of)):
                _put_names(of, names)


@contextmanager
def warned_once() -> Iterator[None]:
    """Shows each warning once. Python does so of itself, until somebody puts the filters back, which makes it forget what it has shown."""
    show, shown = warnings.showwarning, set[tuple[Any, ...]]()

    def once(message: Warning | str, category: type[Warning], filename: str, lineno: int, *to: Any, **line: Any) -> None:
        what = str(message), category, filename, lineno
        if what not in shown:
            shown.add(what)
            show(message, category, filename, lineno, *to, **line)

    warnings.showwarning = once
    try:
        yield
    finally:
        warnings.showwarning = show


def _patched() -> dict[str, Any]:
    """Classes and modules that somebody could patch."""
    classes: list[Any] = [cls for cls in vars(torch.distributions).values() if isinstance(cls, type)]
    classes += [torch.Tensor, torch.nn.Module, torch.Generator]
    modules = [math, random, numpy, numpy.random, torch, torch.distributions, torch.nn.functional]
    return {f"{of.__module__}.{of.__qualname__}" if isinstance(of, type) else of.__name__: of for of in (*classes, *modules)}
