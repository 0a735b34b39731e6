"""Transcript: what a program yielded in one run, as a program that makes nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from poutine.laws.outcome import outcome
from poutine.laws.probes import NotingPoutine
from poutine.messages import Choice, Message, Site
from poutine.program import Coroutine


@attrs.frozen
class Transcript:
    """A generator function that yields ``messages`` again: with the distributions and tensors that were made when they were noted."""

    messages: tuple[Message, ...]

    @classmethod
    def of(cls, program: Callable[..., Any], seed: int, as_written: bool = False) -> Transcript:
        """What leaves ``program`` in a run under ``seed``; with distributions that are made, unless it is to be ``as_written``."""
        left: list[Message] = []

        def note(message: Message) -> Message:
            if isinstance(message, Site):
                left.append(message if as_written else _made(message))
            return message

        outcome(NotingPoutine(program, up=note), seed=seed)
        return cls(tuple(left))

    def __call__(self) -> Coroutine[list[Any]]:
        values = []
        for message in self.messages:
            values.append((yield message))
        return values


def _made(site: Site) -> Site:
    """With its distribution built, where it has one."""
    if not isinstance(site, Choice) or not site.is_deferred or not isinstance(site.fn, type):
        return site
    return site.evolve(fn=site.dist, args=(), kwargs={})
