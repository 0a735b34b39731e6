"""Replies that come from elsewhere than the default runtime: into what is hidden, and whether a value fits its site."""

from __future__ import annotations

from numbers import Number
from typing import Any, TypeVar

import torch
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily

from interpreters.errors import WrongAnswer
from poutine import (
    UNDECIDED,
    Choice,
    DistributionError,
    Message,
    NoDensity,
    Param,
    ParamError,
    ParamStore,
    Sample,
    Sealed,
    batch_log_density,
)
from poutine.plates import Subsample
from poutine.priors import checked
from poutine.runtime import draw_site

S = TypeVar("S", bound=Message)


def unsealed(message: Message) -> Message:
    """The message itself, or what a block hides in it."""
    while isinstance(message, Sealed):
        message = message.message
    return message


def valued(message: Message, value: Any) -> Message:
    """``message``, or what is hidden in it, with this value."""
    if isinstance(message, Sealed):
        return Sealed(valued(message.message, value))
    return message.evolve(value=value)


def with_own_value(site: S) -> S:
    """``site`` with a copy of its value, if that is a tensor: the one who gave the value, and the one who gets it, may change it in place."""
    return site.replaced("value", site.value.clone()) if isinstance(site.value, torch.Tensor) else site


def as_index(site: Sample) -> Sample:
    """``site`` with whole numbers, if it has floats where its distribution draws indices: a program may index with them, as with a draw."""
    value: Any = site.value
    if not isinstance(value, torch.Tensor) or not value.is_floating_point() or not _draws_indices(site.dist):
        return site
    return site if torch._is_any_true(value.isnan()) else site.replaced("value", value.long())


def _draws_indices(dist: Any) -> bool:
    if isinstance(dist, MixtureSameFamily):
        return _draws_indices(dist.component_distribution)
    return isinstance(dist, Categorical) or (isinstance(dist, Independent) and _draws_indices(dist.base_dist))


def fitted(site: Message, value: Any) -> Any:
    """``value`` as an answer to ``site``, of the shape and type of the value that ``site`` has. Raises ``WrongAnswer``.

    That is what a runtime would answer. Numbers and lists become tensors; a value that is out of bounds is refused, too.
    """
    value = _tensor(site, value) if isinstance(site.value, torch.Tensor) else _like(site, value)
    check_value(site.evolve(value=value))
    return value


def _like(site: Message, value: Any) -> Any:
    kind = Number if isinstance(site.value, Number) else type(site.value)
    if not isinstance(value, kind):
        raise WrongAnswer(site.name, f"expected a {kind.__name__}, such as {site.value!r}, got {value!r}")
    return value


def _tensor(site: Message, value: Any) -> torch.Tensor:
    pattern = site.value
    try:
        given = torch.as_tensor(value, device=pattern.device)
    except (TypeError, ValueError, RuntimeError) as error:  # torch's ways to say so
        raise WrongAnswer(site.name, f"expected numbers of shape {tuple(pattern.shape)}, got {value!r}") from error
    if given.shape != pattern.shape:
        raise WrongAnswer(site.name, f"expected a value of shape {tuple(pattern.shape)}, got shape {tuple(given.shape)}: {value!r}")
    if isinstance(value, float | list) and pattern.dtype == torch.float64:
        given = torch.as_tensor(value, dtype=torch.float64, device=pattern.device)  # which Python's floats are, not torch's default
    made = given.to(pattern.dtype)
    if not pattern.dtype.is_floating_point and not pattern.dtype.is_complex and not torch.equal(made.to(given.dtype), given):
        raise WrongAnswer(site.name, f"expected values of type {pattern.dtype}, got {value!r}")
    return made


def fitted_to(site: Message, value: Any) -> Any:
    """``fitted`` for a ``site`` that no runtime has answered, where it can be told of what shape and type that would be."""
    pattern = _pattern(site, value)
    if pattern is not UNDECIDED:
        return fitted(site.evolve(value=pattern), value)
    check_value(site.evolve(value=value))
    return value


def _pattern(site: Message, value: Any) -> Any:
    """A value of the shape and the type that ``site`` asks for; ``UNDECIDED`` if any will do."""
    try:
        if isinstance(site, Param):
            return ParamStore().read(site).detach()
        if isinstance(site, Sample) and isinstance(site.dist, Distribution):
            return _drawn(site, site.dist, value)
    except ParamError:  # without an initial value there is nothing to tell the shape by
        return _of_floats(value)
    except NoDensity:  # a bare callable, whose values are all that it has
        pass
    return UNDECIDED


def _drawn(site: Sample, dist: Distribution, value: Any) -> torch.Tensor:
    try:
        return draw_site(site, site.key or (0, site.name, 0))  # type: ignore[no-any-return]  # a distribution of torch's draws tensors
    except DistributionError:  # it cannot be drawn, which may be why it is awaited
        kept = value.dtype if isinstance(value, torch.Tensor) else None
        return torch.empty(dist.batch_shape + dist.event_shape, dtype=kept)


def _of_floats(value: Any) -> torch.Tensor:
    try:
        return torch.as_tensor(value) + torch.zeros(())
    except (TypeError, ValueError, RuntimeError):  # it is none that a parameter can have, as the answer's check will say
        return torch.zeros(())


def _check_index(name: str, value: Any, plate: Subsample) -> None:
    """Raises ``WrongAnswer`` if a plate draws no such index."""
    try:
        index = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):  # torch's ways to say so
        index = torch.empty(0)
    is_whole = not (index.is_floating_point() or index.is_complex() or index.dtype == torch.bool)
    if not is_whole or index.shape != (plate.drawn,) or not bool(((index >= 0) & (index < plate.size)).all()):
        raise WrongAnswer(name, f"expected {plate.drawn} numbers from 0 to {plate.size - 1}, got {value!r}")
    if len(set(index.tolist())) < len(index):
        raise WrongAnswer(name, f"expected different numbers, as a plate draws without replacement, got {value!r}")


def check_value(site: Message) -> None:
    """Raises ``WrongAnswer`` if the value of ``site`` is outside of the support or the constraint, or cannot be scored at all; ``ParamError`` if
    it does not fit a param that has become a sample.
    """
    if isinstance(site, Sample) and isinstance(site.fn, Subsample):
        _check_index(site.name, site.value, site.fn)
    if isinstance(site, Param) and not bool(site.constraint.check(site.value).all()):  # type: ignore[no-untyped-call]  # torch's own
        raise WrongAnswer(site.name, f"{site.value!r} does not satisfy {site.constraint!r}")
    checked(site)
    try:
        scored = batch_log_density(site) if isinstance(site, Choice) else None
    except NoDensity:
        return
    except DistributionError as error:
        raise WrongAnswer(site.name, error.problem) from error
    if scored is not None and bool(scored.isnan().any()):
        raise WrongAnswer(site.name, f"its log density is nan at {site.value!r}")
