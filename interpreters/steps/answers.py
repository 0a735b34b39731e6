"""An answer: one message of a run, finished, and where its value came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy
import torch

from interpreters.replies import unsealed, valued
from poutine import UNDECIDED, Choice, DistributionError, Message, NoDensity, Passing, Site, log_density


@attrs.frozen(eq=False)
class Answer:
    """``site`` is the finished message, as the program's chain was sent it: with a value of its own, which the program cannot change.

    given:    the value that came from outside of the program: drawn, looked up or edited; ``UNDECIDED`` where the program decided it.
    edited:   whether a person gave it.
    density:  the log density of ``site``, hidden or not, at the time of the answer: what its distribution is made of may be changed
              in place later on. None where it has none; the error, where it cannot be scored.
    way:      how the message passed the poutines, up and down.
    """

    site: Message
    given: Any
    edited: bool
    density: torch.Tensor | DistributionError | None
    way: tuple[Passing, ...] = ()

    @classmethod
    def of(cls, site: Message, given: bool, edited: bool) -> Answer:
        """``given``: whether the value came from outside of the program."""
        return cls(site, unsealed(site).value if given else UNDECIDED, edited, _density(unsealed(site)))

    @property
    def log_density(self) -> torch.Tensor | None:
        """Of the site, scaled and masked, in nats: a scalar. None where it is hidden, or has no density. Raises ``DistributionError``."""
        if self.is_visible and isinstance(self.density, DistributionError):
            raise self.density
        return self.scored

    @property
    def scored(self) -> torch.Tensor | None:
        """The same for whoever looks on: None, too, where the value cannot be scored."""
        return self.density if self.is_visible and isinstance(self.density, torch.Tensor) else None

    @property
    def is_visible(self) -> bool:
        """Whether a trace around the whole program has it."""
        return isinstance(self.site, Site)

    def passing(self, way: tuple[Passing, ...], sent: Message) -> Answer:
        """This answer with its ``way``, on which ``sent`` came back; what bears its value bears the recorded one."""
        before, mine = unsealed(sent).value, unsealed(self.site).value
        shown: dict[int, Message] = {}
        for _, _, message in way:
            shown.setdefault(id(message), valued(message, mine) if unsealed(message).value is before else message)
        return attrs.evolve(self, way=tuple((what, who, shown[id(message)]) for what, who, message in way))


def _density(site: Message) -> torch.Tensor | DistributionError | None:
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
