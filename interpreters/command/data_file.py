"""Data in JSON files, and their way into a model."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn

import torch

from interpreters.errors import InputError
from poutine import ConditionPoutine, Poutine, Program
from poutine.program import name_of

_DTYPES: Final = ((bool, torch.bool), (int, torch.int64), (float, torch.float64))
_STARS: Final[Mapping[Any, str]] = MappingProxyType({inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"})
_MOST_DIMENSIONS: Final = 64  # of a tensor

Data = Mapping[str, torch.Tensor]


def load_data(path: Path) -> dict[str, torch.Tensor]:
    """The numbers of a JSON object by key, as tensors: float64, int64 or bool.

    A value is a number, true or false, or a list of such, of any depth. A key that begins with ``_`` is a note, for example
    ``"_source"``, and is left out. Raises ``InputError``, that tells where, also for null, nan and infinity.
    """
    try:
        return _tensors(path)
    except RecursionError as error:
        raise InputError(f"{path}: lists are nested too deeply") from error


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_object)  # of UTF-8, or whatever its byte-order mark says
    except OSError as error:
        raise InputError(f"cannot read the data file {path}: {error.strerror}") from error
    except ValueError as error:  # of the encoding, or of JSON
        raise InputError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f'{path}: expected an object such as {{"y": [1.0, 2.0]}}, got {_brief(content)}')
    try:
        return {key: _tensor(value, key) for key, value in content.items() if not key.startswith("_")}
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def bind(fn: Callable[..., Any], data: Data) -> tuple[Program[Any], dict[str, torch.Tensor]]:
    """``fn`` with those of ``data`` that are its parameters as arguments, and the rest of the data: names of sites, which ``**rest`` does
    not take.

    Raises ``InputError`` if a parameter without a default is missing.
    """
    parameters = [each for each in _signature(fn).parameters.values() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    missing = [each.name for each in parameters if each.name not in data and each.default is each.empty]
    if missing:
        has = f"has {', '.join(data)}" if data else "is empty"
        raise InputError(f"the data {has}, but {called(fn)} also needs {', '.join(missing)}")
    args = [data[each.name] for each in parameters if each.kind is each.POSITIONAL_ONLY and each.name in data]
    kwargs = {each.name: data[each.name] for each in parameters if each.kind is not each.POSITIONAL_ONLY and each.name in data}
    return Program(fn, *args, **kwargs), {key: value for key, value in data.items() if key not in {each.name for each in parameters}}


def conditioned(fn: Callable[..., Any], data: Data) -> Program[Any]:
    """``fn`` on ``data``: keys that are its parameters are arguments, the others are names of samples, which are observed."""
    program, rest = bind(fn, data)
    return ConditionPoutine(program.fn, rest)(*program.args, **program.kwargs) if rest else program


def called(fn: Callable[..., Any]) -> str:
    """A model with the names of its arguments, for people."""
    return f"{name_of(fn)}({', '.join(_STARS.get(each.kind, '') + each.name for each in _signature(fn).parameters.values())})"


def _signature(fn: Callable[..., Any]) -> inspect.Signature:
    while isinstance(fn, Poutine):  # which has the arguments of what it wraps
        fn = fn.fn
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError) as error:  # of some of Python's own types, such as dict
        raise InputError(f"{name_of(fn)} is no model: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return content


def _tensor(value: Any, key: str) -> torch.Tensor:
    kinds: set[type] = set()
    if len(_check(value, key, kinds)) > _MOST_DIMENSIONS:
        raise InputError(f"{key}: lists are nested too deeply")
    if bool in kinds and len(kinds) > 1:
        raise InputError(f"{key} has both numbers and true or false")
    dtype = next((dtype for kind, dtype in _DTYPES if kinds <= {bool, int} and kind in kinds), torch.float64)
    try:
        return torch.tensor(value, dtype=dtype)
    except (RuntimeError, ValueError, OverflowError) as error:  # torch's three ways to say so
        raise InputError(f"{key} has a number that is too large for {dtype}") from error


def _check(value: Any, where: str, kinds: set[type]) -> tuple[int, ...]:
    """The shape of ``value``; its kinds of numbers are added to ``kinds``."""
    if isinstance(value, list):
        shapes = [_check(item, f"{where}[{i}]", kinds) for i, item in enumerate(value)]
        uneven = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
        if uneven is not None:
            raise InputError(f"{where} is uneven: {where}[0] has shape {shapes[0]}, {where}[{uneven}] has shape {shapes[uneven]}")
        return (len(value), *(shapes[0] if shapes else ()))
    if not isinstance(value, (bool, int, float)):
        _refuse(value, where)
    if isinstance(value, float) and not math.isfinite(value):  # of a large integer it would raise
        raise InputError(f"{where} is {value}; leave out what is missing, or mask it in the model")
    kinds.add(type(value))
    return ()


def _refuse(value: Any, where: str) -> NoReturn:
    if value is None:
        raise InputError(f"{where} is null; leave out what is missing, or mask it in the model")
    raise InputError(f"{where}: expected numbers, or lists of them, got {_brief(value)}; a key for notes begins with _")


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
