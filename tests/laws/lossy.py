"""Handlers that lose or double something of what passes through them: scale, mask, type, plates, gradients, dtype."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
from torch.distributions import Normal

from poutine import (
    BlockPoutine,
    Choice,
    Coroutine,
    Handling,
    LiftPoutine,
    MaskPoutine,
    Message,
    Observe,
    Param,
    Poutine,
    Program,
    ReplayPoutine,
    Rule,
    Rules,
    Sample,
    Site,
    SubstitutePoutine,
)
from tests.laws import careless


def rewriting(
    name: str, kind: type[Message], up: Callable[[Any], Message] | None = None, down: Callable[[Any], Message] | None = None
) -> Any:
    """A handler that rewrites messages of a kind."""
    return type(name, (Poutine,), {"rules": lambda self: {kind: Rule(up=up, down=down)}, "__module__": __name__})


# Scale and mask

DATUM = torch.tensor(0.5)


def _observed(site: Sample) -> Message:
    """With all but what says how much it counts."""
    context = {"cond_indep_stack": site.cond_indep_stack, "infer": site.infer, "key": site.key}
    return Observe(site.name, site.fn, DATUM, *site.args, **site.kwargs).evolve(**context)


ConditionsUnscaled = rewriting("ConditionsUnscaled", Sample, lambda site: _observed(site).evolve(mask=site.mask))
ConditionsUnmasked = rewriting("ConditionsUnmasked", Sample, lambda site: _observed(site).evolve(scale=site.scale))
SetsItsScale = rewriting("SetsItsScale", Choice, lambda site: site.evolve(scale=2.0))
Unmasks = rewriting("Unmasks", Observe, lambda site: site.evolve(scale=2.0 * site.scale, mask=True))
AveragesScales = rewriting("AveragesScales", Choice, lambda site: site.evolve(scale=float(torch.as_tensor(site.scale).mean())))
UnmasksAll = rewriting("UnmasksAll", Choice, lambda site: site.evolve(mask=bool(torch.as_tensor(site.mask).any())))
ScalesOneWay = rewriting(
    "ScalesOneWay", Choice, lambda site: site.evolve(scale=site.scale * 2.0), lambda site: site.evolve(scale=site.scale / 2.0)
)
ResetsOnTheWayBack = rewriting("ResetsOnTheWayBack", Choice, None, lambda site: site.evolve(scale=1.0, mask=True))


# What further out did


class ReturnsTheOldType(Poutine):
    """Puts some of what came back into what was asked: an observation further out is a sample further in."""

    def rules(self) -> Rules:
        def ask(site: Sample) -> Coroutine[Any]:
            back: Any = yield site
            return site.evolve(value=back.value, infer=back.infer, scale=back.scale, mask=back.mask)

        return {Sample: Rule(around=ask)}


def _returning(*fields: str) -> Any:
    """A handler that puts all of what came back into what was asked, but for these fields."""

    def ask(site: Sample) -> Coroutine[Any]:
        back: Any = yield site
        return back.evolve(**{field: getattr(site, field) for field in fields})

    rules = {Sample: Rule(around=ask)}
    return type(f"Returns_{'_'.join(fields)}", (Poutine,), {"rules": lambda self: rules, "__module__": __name__})


ReturnsOldPlates = _returning("cond_indep_stack")
ReturnsOldKey = _returning("key")
ReturnsOldDistribution = _returning("fn", "args", "kwargs")


# Gradients


def _of_value(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Any], Message]:
    def down(site: Site) -> Message:
        real = isinstance(site.value, torch.Tensor) and site.value.is_floating_point()
        return site.evolve(value=change(site.value)) if real else site

    return down


Severs = rewriting("Severs", Site, None, _of_value(lambda value: value.detach().requires_grad_(value.requires_grad)))
DoublesGradients = rewriting("DoublesGradients", Site, None, _of_value(lambda value: value + (value - value.detach())))
MakesDoubles = rewriting("MakesDoubles", Site, None, _of_value(torch.Tensor.double))


def _cut(argument: Any) -> Any:
    return argument.detach() if isinstance(argument, torch.Tensor) else argument


def _with_cut_arguments(site: Choice) -> Message:
    if isinstance(site.fn, type):
        return site.evolve(args=tuple(map(_cut, site.args)), kwargs={name: _cut(arg) for name, arg in site.kwargs.items()})
    return site.evolve(fn=Normal(site.fn.loc.detach(), site.fn.scale.detach())) if type(site.fn) is Normal else site


DetachesArguments = rewriting("DetachesArguments", Choice, _with_cut_arguments)
DetachesScales = rewriting("DetachesScales", Site, lambda site: site.evolve(scale=_cut(site.scale)))


class DetachesResult(Poutine):
    """Cuts what the program returns."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        return _cut((yield Handling(program, {})))


# Runs


def _trying_again(error: type[Exception]) -> Any:
    """A handler that runs the program again after an error."""

    def coroutine(self: Poutine, program: Program[Any]) -> Coroutine[Any]:
        try:
            return (yield Handling(program, {}))
        except error:
            return (yield Handling(program, {}))

    return type(f"TriesAgain_{error.__name__}", (Poutine,), {"coroutine": coroutine, "__module__": __name__})


# Of one kind


class AllOrNothing(MaskPoutine):
    """Takes a mask of elements for one of all."""

    def rules(self) -> Rules:
        mask = bool(torch.as_tensor(self.mask).all())
        rule = Rule(up=lambda site: site.evolve(mask=torch.as_tensor(site.mask) & mask))
        return {Choice: rule, Param: rule}


class ForgetsToBeStrict(SubstitutePoutine):
    """Does not look at the end which names were there."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        return (yield from SubstitutePoutine(self.fn, self.data, strict=False).coroutine(program))


class HidesOneOrTheOther(BlockPoutine):
    """Where names are given, takes no types."""

    def hides(self, site: Message) -> bool:
        return site.name in self.hide if self.hide is not None else super().hides(site)


class ExposesNothing(BlockPoutine):
    """Does not know ``hide_all=False``."""

    def hides(self, site: Message) -> bool:
        return super().hides(site) or (not self.hide_all and site.name not in (self.expose or ()))


class ReplaysItsOwnNames(ReplayPoutine):
    """Takes a mapping for a list of names."""

    def rules(self) -> Rules:
        names = list(self.sites) if self.sites is not None else None
        return ReplayPoutine(self.fn, self.guide_trace, names).rules()


class LiftsBuilt(LiftPoutine):
    """Does not call a prior that is a callable."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        named = isinstance(self.prior, Mapping)
        prior = {name: each for name, each in self.prior.items() if not callable(each)} if named else self.prior
        return (yield from LiftPoutine(self.fn, prior, strict=False).coroutine(program))


# Messages of its own


@attrs.frozen(slots=False, eq=False)
class Query(Message):
    """A message type of a user's own."""

    question: str = ""


QUERIES = (Query("q", "where?"), Query("r", "who?"))


def _answering(name: str, tell: Callable[[Query], Coroutine[Any]]) -> Any:
    """A handler that answers where, and about who does something else."""

    def around(query: Query) -> Coroutine[Any]:
        if query.question == "where?":
            return query.evolve(value=1.0)
        return (yield from tell(query))

    return type(name, (Poutine,), {"rules": lambda self: {Query: Rule(around=around)}, "__module__": __name__})


def _deaf(query: Query) -> Coroutine[Any]:
    yield query
    return query.evolve(value=2.0)


def _with_nothing(query: Query) -> Coroutine[Any]:
    return query.evolve(value=None)
    yield


def _as_it_came(query: Query) -> Coroutine[Any]:
    return query
    yield


def _renamed(query: Query) -> Coroutine[Any]:
    reply = yield Query("other", query.question)
    return query.evolve(value=reply.value)


def _as_a_sample(query: Query) -> Coroutine[Any]:
    return (yield Sample(query.name, Normal, 0.0, 1.0))


def _passed(query: Query) -> Coroutine[Any]:
    return (yield query)


def _drawn(query: Query) -> Coroutine[Any]:
    return query.evolve(value=(yield Sample(f"answer_{query.name}", Normal, 0.0, 1.0)).value)


PassesOn, Draws = _answering("PassesOn", _passed), _answering("Draws", _drawn)  # without a fault

ABOUT_QUERIES = [
    ("H25", _answering("Ignores", _deaf)),
    ("H24", _answering("AnswersNone", _with_nothing)),
    ("H24", _answering("LeavesUndecided", _as_it_came)),
    ("H24", _answering("Renames", _renamed)),
    ("H24", _answering("ReturnsASample", _as_a_sample)),
]

FAULTS = [
    ("D.mask", AllOrNothing),
    ("I.strict", ForgetsToBeStrict),
    ("B.types", HidesOneOrTheOther),
    ("B.types", ExposesNothing),
    ("D.lift", LiftsBuilt),
    ("I.sites", ReplaysItsOwnNames),
    ("H26", careless.RunsTwice),
    ("H26", _trying_again(ZeroDivisionError)),
    ("H26", _trying_again(OSError)),
    ("H20", ConditionsUnscaled),
    ("H20", ConditionsUnmasked),
    ("H20", SetsItsScale),
    ("H20", Unmasks),
    ("H20", AveragesScales),
    ("H20", UnmasksAll),
    ("H20", DetachesScales),
    ("H22", ScalesOneWay),
    ("H22", ResetsOnTheWayBack),
    ("H22", ReturnsTheOldType),
    ("H22", ReturnsOldPlates),
    ("H22", ReturnsOldKey),
    ("H22", ReturnsOldDistribution),
    ("H15", Severs),
    ("H15", DoublesGradients),
    ("H15", MakesDoubles),
    ("H15", DetachesArguments),
    ("H15", DetachesResult),
]
