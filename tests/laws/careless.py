"""Handlers with a fault each, as somebody writes them who does not look closely: most of what they do is right."""

from __future__ import annotations

import decimal
import gc
import logging
import os
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy
import torch
from torch.distributions import Distribution, Normal

from poutine import (
    Choice,
    ConditionPoutine,
    Coroutine,
    Handling,
    Message,
    Param,
    PlateError,
    Poutine,
    Program,
    Rule,
    Rules,
    Sample,
    ScalePoutine,
    Site,
)

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


class ProposesTheSame(Poutine):
    """Draws another value for a site, but by the key that a seed has given to the site: it is the same."""

    def rules(self) -> Rules:
        def propose(request: Sample) -> Coroutine[Any]:
            site = yield request
            other = yield request.evolve(name=f"{request.name}_other")
            return site.evolve(value=other.value)

        return {Sample: Rule(around=propose)}


def trying_again(*kinds: type[BaseException]) -> type[Poutine]:
    """A handler that runs the program again where it fails in one of some ways."""

    class TriesAgain(Poutine):
        def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
            try:
                return (yield from super().coroutine(program))
            except kinds:
                return (yield from super().coroutine(program))

    TriesAgain.__name__ = TriesAgain.__qualname__ = f"TriesAgain_{kinds[0].__name__}"
    return TriesAgain


FAILING = (Misspells, Miswrites, ForgetsToReturn, ReturnsWhatWasAsked, DividesByZero, FailsAtTheEnd, Narrows, RunsTwice)


# They leave something behind


def setting(name: str, change: Callable[[], Any]) -> type[Poutine]:
    """A handler that changes something for all, always to the same."""

    class Sets(Poutine):
        def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
            change()
            return (yield from super().coroutine(program))

    Sets.__name__ = Sets.__qualname__ = f"Sets_{name}"
    return Sets


def _set_environment() -> None:
    os.environ["POUTINE_CARELESS"] = "1"


def _set_attribute() -> None:
    Normal.careless = True  # type: ignore[attr-defined]  # so it is


def _set_method() -> None:
    Normal.__repr__ = Distribution.__repr__  # type: ignore[method-assign]  # so it is


LEAVING = (
    setting("dtype", lambda: torch.set_default_dtype(torch.float64)),
    setting("grad_mode", lambda: torch.set_grad_enabled(False)),
    setting("filters", lambda: warnings.simplefilter("ignore", RuntimeWarning)),
    setting("validation", lambda: Distribution.set_default_validate_args(False)),
    setting("deterministic", lambda: torch.use_deterministic_algorithms(True)),
    setting("torch_seed", lambda: torch.manual_seed(0)),
    setting("random_seed", lambda: random.seed(0)),
    setting("numpy_errors", lambda: numpy.seterr(all="raise")),
    setting("threads", lambda: torch.set_num_threads(3)),
    setting("print_options", lambda: torch.set_printoptions(precision=7)),
    setting("numpy_print_options", lambda: numpy.set_printoptions(precision=7)),
    setting("garbage", gc.disable),
    setting("levels", lambda: logging.getLogger("careless").setLevel(logging.DEBUG)),
    setting("decimal", lambda: setattr(decimal.getcontext(), "prec", 5)),
    setting("environment", _set_environment),
    setting("attribute", _set_attribute),
    setting("method", _set_method),
)


# They depend on what is around them


class ReadsEnvironment(Poutine):
    """Does more where somebody has set a variable."""

    def rules(self) -> Rules:
        factor = 2.0 if os.environ.get("POUTINE_CARELESS") else 1.0
        return {Choice: Rule(up=lambda site: site.evolve(scale=site.scale * factor))}


class ActsByHash(Poutine):
    """Tosses a coin with the hash of the name, which is another in each process."""

    def rules(self) -> Rules:
        return {Choice: Rule(up=lambda site: site.evolve(scale=site.scale * (1 + hash(site.name) % 64)))}


class ActsByDtype(Poutine):
    """Does more where numbers are double."""

    def rules(self) -> Rules:
        factor = 2.0 if torch.get_default_dtype() is torch.float64 else 1.0
        return {Choice: Rule(up=lambda site: site.evolve(scale=site.scale * factor))}


class NotesHome(Poutine):
    """Notes something of the machine, which nobody but the program gets to see."""

    def rules(self) -> Rules:
        return {Sample: Rule(down=lambda site: site.evolve(infer={**site.infer, "home": os.environ.get("HOME")}))}


class NotesHash(Poutine):
    """Notes the hash of the name, in what the program gets."""

    def rules(self) -> Rules:
        return {Sample: Rule(down=lambda site: site.evolve(infer={**site.infer, "hash": hash(site.name)}))}


DEPENDENT = (ReadsEnvironment, ActsByHash, ActsByDtype, NotesHome, NotesHash)


# They are a handler of the library but for one thing


class ScalesChoices(ScalePoutine):
    """Leaves params as they are, which may be lifted further out."""

    def rules(self) -> Rules:
        return {Choice: Rule(up=lambda site: site.evolve(scale=site.scale * self.scale))}


class ScalesByMean(ScalePoutine):
    """Takes a scale of elements for one."""

    def rules(self) -> Rules:
        factor = float(torch.as_tensor(self.scale).detach().mean())
        rule = Rule(up=lambda site: site.evolve(scale=site.scale * factor))
        return {Choice: rule, Param: rule}


class DetachesItsScale(ScalePoutine):
    """Its scale cannot be learnt."""

    def rules(self) -> Rules:
        factor = self.scale.detach() if isinstance(self.scale, torch.Tensor) else self.scale
        rule = Rule(up=lambda site: site.evolve(scale=site.scale * factor))
        return {Choice: rule, Param: rule}


class DetachesItsData(ConditionPoutine):
    """Its data cannot be learnt."""

    def give(self, site: Choice, value: Any) -> Message:
        return super().give(site, value.detach() if isinstance(value, torch.Tensor) else value)


ALMOST = (("D.scale", ScalesChoices), ("D.scale", ScalesByMean), ("D.scale", DetachesItsScale), ("R.given", DetachesItsData))
