"""The constraint of a parameter, and whether another one lies inside of it, as far as bounds tell."""

from __future__ import annotations

from math import inf
from typing import Any, Final

import torch
from torch.distributions import constraints

from poutine.errors import ParamError
from poutine.messages import Param

_REAL: Final = type(constraints.real)
_BOUNDED: Final = (
    constraints.greater_than,
    constraints.greater_than_eq,
    constraints.less_than,
    constraints.interval,
    constraints.half_open_interval,
)
_LOOSE: Final = frozenset((type(constraints.square), constraints.cat, constraints.stack))  # of several dimensions, each by itself


def check_constraint(site: Param) -> None:
    """Raises ``ParamError`` if the constraint of ``site`` is none that a value can be put to."""
    constraint = _of_one(site.constraint)
    if not isinstance(constraint, constraints.Constraint):
        hint = "; that is a class: call it with its arguments" if isinstance(constraint, type) else ""
        raise ParamError(site.name, f"expected a constraint, like constraints.positive, got {constraint!r}{hint}")
    if constraints.is_dependent(constraint):  # type: ignore[no-untyped-call]  # torch's own
        raise ParamError(
            site.name,
            f"the constraint {constraint!r} is that of a distribution that depends on its arguments, of which a parameter has none; "
            "give it the constraint itself, like constraints.interval(low, high)",
        )


def is_at_bound(value: torch.Tensor, constraint: Any) -> bool:
    """Whether a number of ``value`` is at a bound of a constraint on single numbers."""
    bounds: Any = [getattr(_of_one(constraint), name, None) for name in ("lower_bound", "upper_bound")]
    return any(bool((value == bound).any()) for bound in bounds if bound is not None)


def surely_leaves(support: Any, constraint: constraints.Constraint) -> bool:
    """True if ``support`` has values that ``constraint`` does not allow; False if it has none, or bounds do not tell.

    Bounds that are tensors do not.
    """
    outer, inner = _bounds(support), _bounds(constraint)
    if outer is None:
        return False
    if inner is None:
        return _ties(constraint)  # numbers that know nothing of one another make no simplex and no triangle
    return outer[0] < inner[0] or outer[1] > inner[1]


def _ties(constraint: Any) -> bool:
    """Whether each number that it allows depends on the others. Of what others have defined, nobody can tell."""
    constraint = _of_one(constraint)
    ours = type(constraint).__module__.startswith(("torch.", "poutine."))
    return ours and type(constraint) not in _LOOSE and bool(constraint.event_dim)


def _bounds(constraint: Any) -> tuple[float, float] | None:
    """Of a constraint on single numbers."""
    constraint = _of_one(constraint)
    if isinstance(constraint, _REAL):
        return -inf, inf
    if not isinstance(constraint, _BOUNDED):
        return None
    found: Any = getattr(constraint, "lower_bound", -inf), getattr(constraint, "upper_bound", inf)
    return found if all(isinstance(bound, (int, float)) for bound in found) else None


def _of_one(constraint: Any) -> Any:
    """What it says of each of many that are independent."""
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    return constraint
