"""Handlers with a fault each, as somebody writes them who does not look closely: most of what they do is right."""

from __future__ import annotations

from typing import Any

from torch.distributions import Normal

from poutine import Coroutine, Handling, Message, PlateError, Poutine, Program, Rule, Rules, Sample, Site

# They fail


class Misspells(Poutine):
    """Reads a field that is not there."""

    def rules(self) -> Rules:
        return {Sample: Rule(up=lambda site: site.no_such_thing)}


class Miswrites(Poutine):
    """Writes a field that is not there."""

    def rules(self) -> Rules:
        def around(site: Sample) -> Coroutine[Any]:
            reply = yield site
            return reply.evolve(vlaue=2 * reply.value)

        return {Sample: Rule(around=around)}


class ForgetsToReturn(Poutine):
    """Has no ``return`` where one should be."""

    def rules(self) -> Rules:
        def up(site: Sample) -> Any:
            site.evolve(scale=2.0)

        return {Sample: Rule(up=up)}


class ReturnsWhatWasAsked(Poutine):
    """Asks, and returns the request without its answer."""

    def rules(self) -> Rules:
        def around(site: Sample) -> Coroutine[Any]:
            yield site
            return site

        return {Sample: Rule(around=around)}


class DividesByZero(Poutine):
    """Fails at whatever comes back."""

    def rules(self) -> Rules:
        return {Site: Rule(down=lambda site: site.evolve(scale=1 / 0))}


class FailsAtTheEnd(Poutine):
    """Expects a number as the result."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        result = yield from super().coroutine(program)
        return result.no_such_thing


class Narrows(Poutine):
    """Asks for what cannot be drawn."""

    def rules(self) -> Rules:
        return {Sample: Rule(up=lambda site: site.evolve(fn=Normal, args=(0.0, -1.0), kwargs={}))}


class RunsTwice(Poutine):
    """Runs the program twice, for a result without the noise of a warm-up, and asks all of its sites again."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        yield Handling(program, {})
        return (yield Handling(program, {}))


class RefusesAll(Poutine):
    """Refuses what it should only look at."""

    def rules(self) -> Rules:
        def up(site: Sample) -> Message:
            raise PlateError(site.name, "expected a plate")

        return {Sample: Rule(up=up)}


FAILING = (Misspells, Miswrites, ForgetsToReturn, ReturnsWhatWasAsked, DividesByZero, FailsAtTheEnd, Narrows, RunsTwice)
