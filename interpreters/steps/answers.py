"""An answer: one message of a run, finished, and where its value came from."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, Literal

import attrs
import numpy
import torch

from interpreters.replies import unsealed, valued
from poutine import UNDECIDED, Choice, DistributionError, Message, NoDensity, Passing, Site, log_density, same

Density = torch.Tensor | DistributionError | None


@attrs.frozen(eq=False, slots=False)
class Answer:
    """``site`` is the finished message, as the program's chain was sent it: with a value of its own, which the program cannot change.

    given:    the value that came from outside of the program: drawn, looked up or edited; ``UNDECIDED`` where the program decided it.
    edited:   whether a person gave it.
    way:      how the message passed the poutines, up and down.
    """

    site: Message
    given: Any
    edited: bool
    way: tuple[Passing, ...] = ()
    _scored_then: Density | Literal["later"] = "later"

    @classmethod
    def of(cls, site: Message, given: bool, edited: bool) -> Answer:
        """``given``: whether the value came from outside of the program."""
        inside = unsealed(site)
        then: Density | Literal["later"] = "later" if _is_of_numbers(inside) else _density(inside)
        return cls(site, inside.value if given else UNDECIDED, edited, scored_then=then)

    @cached_property
    def density(self) -> Density:
        """The log density of ``site``, hidden or not, at the time of the answer: what its distribution is made of may be changed in place
        later on. None where it has none; the error, where it cannot be scored."""
        return _density(unsealed(self.site)) if isinstance(self._scored_then, str) else self._scored_then

    @property
    def log_density(self) -> torch.Tensor | None:
        """Of the site, scaled and masked, in nats: a scalar. None where it is hidden, or has no density. Raises ``DistributionError``."""
        if self.problem is not None:
            raise self.problem
        return self.scored

    @property
    def scored(self) -> torch.Tensor | None:
        """The same for whoever looks on: None, too, where the value cannot be scored."""
        return self.density if self.is_visible and isinstance(self.density, torch.Tensor) else None

    @property
    def problem(self) -> DistributionError | None:
        """Why the value of a visible site cannot be scored: then there is no log density of the run."""
        return self.density if self.is_visible and isinstance(self.density, DistributionError) else None

    @property
    def is_visible(self) -> bool:
        """Whether a trace around the whole program has it."""
        return isinstance(self.site, Site)

    def difference(self, site: Message) -> str | None:
        """In what the log density of ``site``, answered again, is another one than then, but for rounding."""
        now, before = unsealed(site), unsealed(self.site)
        if not isinstance(now, Choice) or not isinstance(before, Choice):
            return None
        if isinstance(self._scored_then, str):  # made of numbers: they are compared in a tenth of the time that scoring takes
            alike = _class(now) == _class(before) and all(same(getattr(now, field), getattr(before, field)) for field in _SCORED)
            return None if alike else f"it is {now!r}, and was {before!r}"
        score = _density(now)
        if not isinstance(score, torch.Tensor) or not isinstance(self.density, torch.Tensor):
            return None if type(score) is type(self.density) else f"its log density is {score} and was {self.density}"
        if score.dtype == self.density.dtype and torch.equal(score, self.density):
            return None  # nearly always, and found in a tenth of the time
        digits = torch.finfo(score.dtype).eps ** 0.5
        close = torch.isclose(score, self.density.to(score.dtype), rtol=digits, atol=digits, equal_nan=True)
        return None if close else f"its log density is {score.item():.6g}, and was {self.density.item():.6g}"

    def passing(self, way: tuple[Passing, ...], sent: Message) -> Answer:
        """This answer with its ``way``, on which ``sent`` came back; what bears its value bears the recorded one."""
        before, mine = unsealed(sent).value, unsealed(self.site).value
        shown: dict[int, Message] = {}
        for _, _, message in way:
            shown.setdefault(id(message), valued(message, mine) if unsealed(message).value is before else message)
        return attrs.evolve(self, way=tuple((what, who, shown[id(message)]) for what, who, message in way))


def _is_of_numbers(site: Message) -> bool:
    """Whether nothing that is changed in place can change its log density: which then can wait until somebody asks."""
    if not isinstance(site, Choice):
        return True
    return isinstance(site.fn, type) and {*map(type, (*site.args, *site.kwargs.values(), site.scale, site.mask))} <= {bool, int, float}


_SCORED: Final = ("value", "args", "kwargs", "scale", "mask")


def _class(site: Choice) -> str | None:
    """By its name: a class that the model defines is another one in each run."""
    return site.fn.__qualname__ if isinstance(site.fn, type) else None


def _density(site: Message) -> Density:
    try:
        return log_density(site) if isinstance(site, Choice) else None
    except NoDensity:
        return None
    except DistributionError as error:
        return error


def is_open(message: Message) -> bool:
    """Whether it is for others than the program to decide its value."""
    return unsealed(message).value is UNDECIDED


def mapped(value: Any, fn: Callable[[Any], Any]) -> Any:
    """``value`` with ``fn`` of its parts, in lists, tuples and dictionaries of any depth."""
    if type(value) in (list, tuple):
        return type(value)(mapped(each, fn) for each in value)
    return {key: mapped(each, fn) for key, each in value.items()} if type(value) is dict else fn(value)


def own(value: Any) -> Any:
    """A copy of ``value`` that is not changed when ``value`` is, in place; gradients go through it."""
    return mapped(value, _copied)


def _copied(part: Any) -> Any:
    if isinstance(part, torch.Tensor):
        return part.clone()
    return part.copy() if isinstance(part, numpy.ndarray) else part
