"""What a prior is, and whether it fits the parameter that becomes a draw from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch.distributions import Distribution, constraints

from poutine.bounds import check_constraint, surely_leaves
from poutine.errors import ParamError
from poutine.frozen import Frozen
from poutine.initial import initial_value
from poutine.messages import Choice, Message, Param, is_distribution, param_of
from poutine.supports import is_plainly_transformed, support_of

S = TypeVar("S", bound=Message)


def as_prior(prior: Any) -> Any:
    """``prior``, of which a mapping is copied. Raises ``TypeError`` for what is no prior."""
    named = Frozen(prior) if isinstance(prior, Mapping) else None
    for each in [prior] if named is None else named.values():
        if not (is_distribution(each) or callable(each)):
            raise TypeError(f"lift: expected a distribution, a callable that returns one, or a mapping from names to these, got {prior!r}")
    return prior if named is None else named


def check_support(param: Param, prior: Any) -> None:
    """Raises ``ParamError`` if the bounds of the support of ``prior`` are not inside those of the constraint of ``param``."""
    if param.constraint is constraints.real:
        return
    check_constraint(param)
    tells = isinstance(prior, Distribution) and not is_plainly_transformed(prior)  # or else it says where its last transform ends
    support = support_of(prior) if tells else None
    if support is not None and surely_leaves(support, param.constraint):
        raise ParamError(
            param.name,
            f"its prior {prior!r} has support {support!r}, which does not satisfy its constraint {param.constraint!r}; "
            "lift it with a distribution that does",
        )


def checked(site: S, shape: Sequence[int] | None = None) -> S:
    """A finished ``site``; whoever gives a sample its value looks so whether it was a param that this does not fit.

    shape:  of one draw, where the value has many.

    Raises ``ParamError`` if it does not.
    """
    if (param := param_of(site)) is not None:
        check_lifted(param, site, shape)
    return site


def check_lifted(param: Param, site: Message, shape: Sequence[int] | None = None) -> None:
    """Raises ``ParamError`` if a finished ``site``, which ``param`` has become, does not fit it: what could not be asked of the prior."""
    if param.constraint is not constraints.real:
        _check_made(param, site)
    _check_shape(param, site, getattr(site.value, "shape", ()) if shape is None else shape)


def _check_made(param: Param, site: Message) -> None:
    """``check_support`` of a distribution that a callable has made.

    What tells no support (a bare callable, a distribution of the user's own) is judged by its value.
    """
    if not isinstance(site, Choice):
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


def _check_shape(param: Param, site: Message, shape: Sequence[int]) -> None:
    """Raises ``ParamError`` if ``shape``, that of the value of ``site``, which ``param`` has become, is not that of its initial value.

    There may be more to the left: plates that draw it for each element, and values of a runtime that takes many at once.
    """
    if param.init is None:
        return
    expected, given = tuple(initial_value(param).shape), tuple(shape)
    if given[max(0, len(given) - len(expected)) :] != expected:
        raise ParamError(
            param.name,
            f"its initial value has shape {expected}, and its value under the prior {site['fn']!r} has {given}; expand the prior, "
            "and wrap it in Independent if the parameter is one draw",
        )
