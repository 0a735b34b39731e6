"""What fits a parameter: a constraint, a prior whose support lies inside of it as far as bounds tell, and a value of its shape."""

from __future__ import annotations

from math import inf
from typing import Any, Final

import torch
from torch.distributions import Distribution, constraints

from poutine.errors import ParamError
from poutine.messages import Choice, Message, Param
from poutine.randomness import call_keyed
from poutine.supports import support_of

_REAL: Final = type(constraints.real)
_BOUNDED: Final = (
    constraints.greater_than,
    constraints.greater_than_eq,
    constraints.less_than,
    constraints.interval,
    constraints.half_open_interval,
)


def check_constraint(site: Param) -> None:
    """Raises ``ParamError`` if the constraint of ``site`` is none that a value can be put to."""
    constraint: Any = site.constraint
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    if not isinstance(constraint, constraints.Constraint):
        hint = "; that is a class: call it with its arguments" if isinstance(constraint, type) else ""
        raise ParamError(site.name, f"expected a constraint, like constraints.positive, got {constraint!r}{hint}")
    if constraints.is_dependent(constraint):  # type: ignore[no-untyped-call]  # torch's own
        raise ParamError(
            site.name,
            f"the constraint {constraint!r} is that of a distribution that depends on its arguments, of which a parameter has none; "
            "give it the constraint itself, like constraints.interval(low, high)",
        )


def check_support(param: Param, prior: Any) -> None:
    """Raises ``ParamError`` if the bounds of the support of ``prior`` are not inside those of the constraint of ``param``."""
    check_constraint(param)
    support = support_of(prior) if isinstance(prior, Distribution) else None
    if support is not None and surely_leaves(support, param.constraint):
        raise ParamError(
            param.name,
            f"its prior {prior!r} has support {support!r}, which does not satisfy its constraint {param.constraint!r}; "
            "lift it with a distribution that does",
        )


def shape_of(prior: Any) -> torch.Size | None:
    """That of a draw from ``prior`` outside of all plates; None of what does not tell."""
    return prior.batch_shape + prior.event_shape if isinstance(prior, Distribution) else None


def check_lifted(param: Param, site: Message) -> None:
    """Raises ``ParamError`` if a finished ``site``, which ``param`` has become, does not fit it: what could not be asked of the prior."""
    if param.constraint is not constraints.real:
        _check_made(param, site)
    _check_shape(param, site)


def _check_made(param: Param, site: Message) -> None:
    """``check_support`` of a distribution that a callable has made.

    What tells no support (a bare callable, a distribution of the user's own) is judged by its value.
    """
    if not isinstance(site, Choice) or isinstance(site.fn, Distribution):
        return
    if isinstance(site.built, Distribution):
        check_support(param, site.built)
    elif not _may_be(param.constraint, site.value):
        raise ParamError(
            param.name,
            f"its prior {site.fn!r} gives {site.value!r}, which does not satisfy its constraint {param.constraint!r}; "
            "lift it with one whose values do",
        )


def _may_be(constraint: Any, value: Any) -> bool:
    try:
        return bool(torch._is_all_true(constraint.check(torch.as_tensor(value))))
    except RuntimeError:  # a tracer has no answer
        return True
    except (TypeError, ValueError):  # it is no number
        return False


def _check_shape(param: Param, site: Message) -> None:
    """Raises ``ParamError`` if the value of ``site``, which ``param`` has become, has not the shape of its initial value.

    There may be more to the left: plates that draw it for each element, and values of a runtime that takes many at once. A callable is
    called for it, under the param's own key.
    """
    init = param.init
    if callable(init):
        init = call_keyed(init, (), {}, param.key or (0, param.name, 0))
    expected, given = getattr(init, "shape", None), tuple(getattr(site.value, "shape", ()))
    if expected is not None and given[max(0, len(given) - len(expected)) :] != tuple(expected):
        raise ParamError(
            site.name,
            f"its initial value has shape {tuple(expected)}, and its value under the prior {site['fn']!r} has {given}; expand the prior, "
            "and wrap it in Independent if the parameter is one draw",
        )


def surely_leaves(support: Any, constraint: constraints.Constraint) -> bool:
    """True if ``support`` has values that ``constraint`` does not allow; False if it has none, or bounds do not tell.

    Bounds that are tensors do not.
    """
    outer, inner = _bounds(support), _bounds(constraint)
    if outer is None:
        return False
    if inner is None:
        return constraint.event_dim > 0  # numbers that know nothing of one another make no simplex and no triangle
    return outer[0] < inner[0] or outer[1] > inner[1]


def _bounds(constraint: Any) -> tuple[float, float] | None:
    """Of a constraint on single numbers."""
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    if isinstance(constraint, _REAL):
        return -inf, inf
    if not isinstance(constraint, _BOUNDED):
        return None
    found: Any = getattr(constraint, "lower_bound", -inf), getattr(constraint, "upper_bound", inf)
    return found if all(isinstance(bound, (int, float)) for bound in found) else None
