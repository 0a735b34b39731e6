"""An answer: one message of a run, finished, and where its value came from."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import attrs
import torch

from interpreters.replies import unsealed
from poutine import UNDECIDED, Choice, DistributionError, Message, NoDensity, Passing, Site, log_density


@attrs.frozen(eq=False, slots=False)
class Answer:
    """``site`` is the finished message, as the program's chain was sent it.

    given:   the value that came from outside of the program: drawn, looked up or edited; ``UNDECIDED`` where the program decided it.
    edited:  whether a person gave it.
    way:     how the message passed the poutines, up and down.
    """

    site: Message
    given: Any
    edited: bool
    way: tuple[Passing, ...] = ()

    @cached_property
    def log_density(self) -> torch.Tensor | None:
        """Of the site, scaled and masked, in nats: a scalar. None where it is hidden, or has no density. Raises ``DistributionError``."""
        try:
            return log_density(self.site) if isinstance(self.site, Choice) else None
        except NoDensity:
            return None

    @cached_property
    def scored(self) -> torch.Tensor | None:
        """The same for whoever looks on: None, too, where the value cannot be scored."""
        try:
            return self.log_density
        except DistributionError:
            return None

    @property
    def is_visible(self) -> bool:
        """Whether a trace around the whole program has it."""
        return isinstance(self.site, Site)


def is_open(message: Message) -> bool:
    """Whether it is for others than the program to decide its value."""
    return unsealed(message).value is UNDECIDED
