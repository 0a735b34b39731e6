"""How a distribution is made from its parameters, so that the parameters of many can be stacked.

Only torch's own distributions are taken apart: they broadcast over leading dimensions of their parameters, which is not known
of anybody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any, Final

import attrs
import numpy as np
import torch
from torch.distributions import Distribution, Independent, LogisticNormal, Uniform

from poutine import Choice, Unit

Arguments = tuple[Any, ...]

_DIMS: Final = MappingProxyType({Uniform: 0, Unit: 0, LogisticNormal: 1})  # of each argument, where the constraints do not tell
_INSTEAD: Final = frozenset(("covariance_matrix", "precision_matrix"))  # of which scale_tril tells as much


@attrs.frozen
class Recipe:
    """The class of a distribution, the names of its arguments, and how many batch dimensions belong to one draw.

    Two distributions of one recipe differ in the values of their arguments alone.
    """

    cls: type
    names: tuple[str, ...]
    validate: bool | None = None
    reinterpreted: int = 0

    @property
    def event_dims(self) -> tuple[int | None, ...]:
        """How many dimensions of each argument belong to one draw; None where it is no parameter. Raises ``NotImplementedError``."""
        if self.cls in _DIMS:
            return (_DIMS[self.cls],) * len(self.names)
        constraints: Any = self.cls.arg_constraints  # type: ignore[attr-defined]  # torch's distributions have them
        if isinstance(constraints, property):  # which only a distribution that is built can answer
            raise NotImplementedError
        return tuple(constraints[name].event_dim if name in constraints else None for name in self.names)

    @property
    def has_parameters(self) -> bool:
        """Whether there is anything to stack. A mixture is made of distributions: to stack these is to take them apart, which nobody does."""
        try:
            return any(dims is not None for dims in self.event_dims)
        except NotImplementedError:
            return True

    @property
    def is_of_numbers(self) -> bool:
        """Whether each argument is a parameter that is a number for one draw."""
        try:
            return set(self.event_dims) == {0}
        except NotImplementedError:
            return False

    def make(self, arguments: Sequence[Any]) -> Distribution:
        """The distribution of these arguments. Raises what its class raises."""
        named = dict(zip(self.names, arguments, strict=True))
        if self.validate is not None:
            named["validate_args"] = self.validate
        made: Distribution = self.cls(**named)
        return Independent(made, self.reinterpreted, validate_args=self.validate) if self.reinterpreted else made


def is_known(fn: Any) -> bool:
    """True for a class of torch's that is made from parameters."""
    return isinstance(fn, type) and issubclass(fn, Distribution) and fn.__module__.startswith("torch.distributions.")


def recipe_of(site: Choice) -> tuple[Recipe, Arguments] | None:
    """The recipe of a site's distribution, with its arguments; None if they cannot be stacked with others'."""
    fn = site.fn
    if is_known(fn):
        recipe = of_class(fn, len(site.args), site.kwargs)
        return None if recipe is None or not recipe.has_parameters else (recipe, (*site.args, *site.kwargs.values()))
    return _taken_apart(fn) if isinstance(fn, Distribution) else None


def of_class(cls: type, positional: int, named: Iterable[str] = ()) -> Recipe | None:
    """The recipe of a class with its first arguments, and those ``named``; None if it has less parameters."""
    names = _parameters(cls)
    return Recipe(cls, (*names[:positional], *named)) if positional <= len(names) else None


def _taken_apart(dist: Distribution) -> tuple[Recipe, Arguments] | None:
    if type(dist) is Unit:
        return Recipe(Unit, ("log_factor",)), (dist.log_factor,)
    if type(dist) is Independent:
        inner = _taken_apart(dist.base_dist)
        if inner is None:
            return None
        recipe, arguments = inner
        return attrs.evolve(recipe, reinterpreted=recipe.reinterpreted + dist.reinterpreted_batch_ndims), arguments
    if not is_known(type(dist)):
        return None
    found = {name: getattr(dist, name, None) for name in _parameters(type(dist)) if _is_given(dist, name)}
    recipe = Recipe(type(dist), tuple(found), bool(dist._validate_args))
    return (recipe, tuple(found.values())) if found and None not in found.values() and recipe.has_parameters else None


def _parameters(cls: type) -> tuple[str, ...]:
    """The names of the arguments of a class, in order."""
    code = cls.__init__.__code__  # type: ignore[misc]  # a function, for torch's classes
    return tuple(name for name in code.co_varnames[1 : code.co_argcount] if name != "validate_args")


def _is_given(dist: Any, name: str) -> bool:
    """Whether an argument is to be given again: of two that say the same, the one that was given."""
    if name in ("probs", "logits"):
        given = [each for each in ("probs", "logits") if each in vars(dist)]
        return name == (given[0] if len(given) == 1 else "logits")
    return name not in _INSTEAD


def stack(
    columns: Sequence[Sequence[Any] | torch.Tensor], event_dims: Sequence[int | None], numbers: torch.dtype, rank: int = 0
) -> list[Any]:
    """Columns of arguments as tensors with a leading dimension, right of which there are ``rank`` batch dimensions or more.

    numbers:  the type of a column of plain numbers. Where ``event_dims`` has None, the column's first stands for all.
    """
    parts = [column[0] if event_dim is None else tensor(column, numbers) for column, event_dim in zip(columns, event_dims, strict=True)]
    own = [0 if event_dim is None else part.dim() - 1 - event_dim for part, event_dim in zip(parts, event_dims, strict=True)]
    most = max((rank, *own))
    return [part if dim is None else aligned(part, most - mine) for part, dim, mine in zip(parts, event_dims, own, strict=True)]


def tensor(column: Sequence[Any] | torch.Tensor, numbers: torch.dtype | None) -> torch.Tensor:
    """A column of tensors, or of numbers, as one tensor."""
    if isinstance(column, torch.Tensor):
        return column.to(numbers)
    if isinstance(column[0], torch.Tensor):
        return torch.stack(tuple(column))
    if numbers is torch.float64:
        return torch.from_numpy(np.array(column, dtype=np.float64))  # a quarter of the time
    return torch.tensor(column, dtype=numbers)


def aligned(part: torch.Tensor, missing: int) -> torch.Tensor:
    """``part`` with so many dimensions of size one after the first."""
    return part.reshape(part.shape[0], *[1] * missing, *part.shape[1:]) if missing > 0 else part
