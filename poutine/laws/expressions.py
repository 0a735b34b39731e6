"""The expressions of the kit's small language: each has a value in an environment, and prints as Python.

``str(expression)`` is its source. An environment maps the names of a function's variables to their values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

import attrs
import torch
from torch import distributions

Env = dict[str, Any]


class Expression(Protocol):
    """What has a value in an environment. Its ``str`` is its source."""

    def value(self, env: Env) -> Any: ...


@attrs.frozen(repr=False)
class Const:
    """A number, or a tensor that is written as a nested tuple of numbers."""

    number: Any

    def value(self, env: Env) -> Any:
        return torch.tensor(self.number) if isinstance(self.number, tuple) else self.number

    def __str__(self) -> str:
        return f"torch.tensor({_listed(self.number)})" if isinstance(self.number, tuple) else repr(self.number)

    __repr__ = __str__


@attrs.frozen(repr=False)
class Scalar:
    """A tensor without dimensions."""

    number: float

    def value(self, env: Env) -> Any:
        return torch.tensor(self.number)

    def __str__(self) -> str:
        return f"torch.tensor({self.number!r})"

    __repr__ = __str__


@attrs.frozen(repr=False)
class Var:
    """A variable of the function."""

    name: str

    def value(self, env: Env) -> Any:
        return env[self.name]

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


@attrs.frozen
class _Operation:
    """What an operation of the language computes, and how it is written."""

    compute: Callable[..., Any]
    template: str


OPERATIONS: Final[Mapping[str, _Operation]] = MappingProxyType(
    {
        "add": _Operation(lambda a, b: a + b, "({} + {})"),
        "mul": _Operation(lambda a, b: a * b, "({} * {})"),
        "tanh": _Operation(torch.tanh, "torch.tanh({})"),
        # Far out it would be rounded to 1, which is no probability of a NegativeBinomial.
        "sigmoid": _Operation(lambda a: torch.sigmoid(torch.tanh(a)), "torch.sigmoid(torch.tanh({}))"),
        "positive": _Operation(lambda a: 0.5 + torch.sigmoid(a), "(0.5 + torch.sigmoid({}))"),
        "exp": _Operation(lambda a: torch.exp(torch.tanh(a)), "torch.exp(torch.tanh({}))"),
        "total": _Operation(lambda a: a.sum(), "{}.sum()"),
        "row": _Operation(lambda a: a.sum(-1), "{}.sum(-1)"),
        "sum": _Operation(sum, "sum({})"),
        "above": _Operation(lambda a, b: bool(a > b), "bool({} > {})"),
        "count": _Operation(lambda a, b: min(int(a), b), "min(int({}), {})"),
        "pair": _Operation(lambda a, b: (a, b), "({}, {})"),
    }
)


@attrs.frozen(repr=False)
class Op:
    """An operation of the table ``OPERATIONS``, by its name there."""

    name: str
    args: tuple[Expression, ...]

    def value(self, env: Env) -> Any:
        return OPERATIONS[self.name].compute(*(arg.value(env) for arg in self.args))

    def __str__(self) -> str:
        return OPERATIONS[self.name].template.format(*self.args)

    __repr__ = __str__


@attrs.frozen(repr=False)
class Dist:
    """A distribution: ``Normal(x, scale=1.0)``, ``Independent(Normal(x, 1.0).expand([3]), 1)``.

    family:    the name of a class in ``torch.distributions``.
    shape:     what it is expanded to, if anything. event: how many of those dimensions belong to one draw.
    keywords:  how many of its arguments, the last ones, are passed by their names.
    """

    family: str
    args: tuple[Expression, ...]
    shape: tuple[int, ...] | None = None
    event: int = 0
    keywords: int = 0

    def value(self, env: Env) -> Any:
        args, kwargs = self.arguments(env)
        built = self.cls(*args, **kwargs)
        built = built if self.shape is None else built.expand(self.shape)
        return distributions.Independent(built, self.event) if self.event else built

    @property
    def cls(self) -> Any:
        return getattr(distributions, self.family)

    def arguments(self, env: Env) -> tuple[list[Any], dict[str, Any]]:
        """Those that are passed by position, and by name."""
        values = [arg.value(env) for arg in self.args]
        first = len(values) - self.keywords
        return values[:first], dict(zip(self._names(), values[first:], strict=True))

    def written(self) -> list[str]:
        """The arguments as they are written."""
        args = [*map(str, self.args)]
        first = len(args) - self.keywords
        return [*args[:first], *(f"{name}={arg}" for name, arg in zip(self._names(), args[first:], strict=True))]

    def _names(self) -> list[str]:
        if not self.keywords:
            return []
        return list(inspect.signature(self.cls).parameters)[len(self.args) - self.keywords : len(self.args)]

    def __str__(self) -> str:
        expand = "" if self.shape is None else f".expand({list(self.shape)})"
        source = f"{self.family}({', '.join(self.written())}){expand}"
        return f"Independent({source}, {self.event})" if self.event else source

    __repr__ = __str__


@attrs.frozen(repr=False)
class Name:
    """A site's name: a base and the values of counters around it, ``f"x_1_{i_1}"``."""

    base: str
    indices: tuple[str, ...] = ()

    def value(self, env: Env) -> str:
        return "_".join([self.base, *(str(env[index]) for index in self.indices)])

    def __str__(self) -> str:
        parts = "".join(f"_{{{index}}}" for index in self.indices)
        return f'f"{self.base}{parts}"' if parts else f'"{self.base}"'

    __repr__ = __str__


def _listed(numbers: Any) -> str:
    return f"[{', '.join(map(_listed, numbers))}]" if isinstance(numbers, tuple) else repr(numbers)
