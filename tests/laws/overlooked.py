"""Handlers with a fault each that shows only in some circumstances, or only in what they do to one site for another; and sound ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import torch
from torch.distributions import Normal

from poutine import (
    BlockPoutine,
    BroadcastPoutine,
    Choice,
    Coroutine,
    DoPoutine,
    EnterMarkov,
    Message,
    Observe,
    Param,
    Poutine,
    Program,
    ReplayPoutine,
    Rule,
    Rules,
    Sample,
    ScopePoutine,
    Sealed,
    SeedPoutine,
    Site,
    SubstitutePoutine,
    TracePoutine,
)
from poutine.trace_graph import is_subsample
from tests.laws.lossy import rewriting

# They fail where a site is not as it mostly is


def failing(name: str, where: Callable[[Any], bool]) -> Any:
    """A handler that fails at the choices where something is so."""

    def up(site: Choice) -> Message:
        if where(site):
            raise ValueError("what is this?")
        return site

    return rewriting(name, Choice, up)


def _has_elements(weight: Any) -> bool:
    return isinstance(weight, torch.Tensor) and weight.numel() > 1


FailsAtKeys = failing("FailsAtKeys", lambda site: site.key is not None)
FailsAtNotes = failing("FailsAtNotes", lambda site: bool(site.infer))
FailsAtMasks = failing("FailsAtMasks", lambda site: _has_elements(site.mask))
FailsAtScales = failing("FailsAtScales", lambda site: _has_elements(site.scale))
FailsAtGradients = failing("FailsAtGradients", lambda site: isinstance(site.value, torch.Tensor) and site.value.requires_grad)
TakesScalesForNumbers = rewriting(
    "TakesScalesForNumbers", Choice, lambda site: site.evolve(scale=float(torch.as_tensor(site.scale).detach()) * 2)
)

# They look at how a site is written


def _scaled(where: Callable[[Any], bool]) -> Callable[[Any], Message]:
    return lambda site: site.evolve(scale=site.scale * 2) if where(site) else site


ScalesMade = rewriting("ScalesMade", Choice, _scaled(lambda site: isinstance(site.fn, Normal)))
ScalesDeferred = rewriting("ScalesDeferred", Choice, _scaled(lambda site: site.fn is Normal))

# They lose something

MasksWhole = rewriting("MasksWhole", Observe, lambda site: site.evolve(mask=bool(torch.as_tensor(site.mask).all())))


def _renamed(site: Site) -> Message:
    frames = tuple(attrs.evolve(frame, name=f"a.{frame.name}") for frame in site.cond_indep_stack)
    return site.evolve(name=f"a.{site.name}", cond_indep_stack=frames)


RenamesPlates = rewriting("RenamesPlates", Site, _renamed, lambda site: site.evolve(name=site.name.removeprefix("a.")))


class GivesTheLastAnswer(Poutine):
    """Gives each sample the answer to the one before."""

    def rules(self) -> Rules:
        last: list[Any] = []

        def down(site: Sample) -> Message:
            last.append(site.value)
            return site.evolve(value=last[-2]) if len(last) > 1 else site

        return {Sample: Rule(down=down)}


# Messages of its own


@attrs.frozen(slots=False, eq=False)
class Get(Message):
    """Asks for what is kept under a key."""

    key: str = "k"


@attrs.frozen(slots=False, eq=False)
class Put(Message):
    """Keeps something under a key."""

    key: str = "k"
    what: float = 0.0


STATEFUL = (Get("g"), Get("h", "b"), Put("p", "k", 3.0))


class DrawsUnderOneName(Poutine):
    """Draws every sample under one name."""

    def rules(self) -> Rules:
        def around(site: Sample) -> Coroutine[Any]:
            return (yield site.evolve(name="z", key=None)).evolve(name=site.name)

        return {Sample: Rule(around=around)}


class RemembersAnswers(Poutine):
    """Keeps the first answer to each name, as long as it runs, and says that it keeps nothing.

    **Obeys**: H4.
    """

    def rules(self) -> Rules:
        known: dict[str, Any] = {}

        def around(get: Get) -> Coroutine[Any]:
            if get.name not in known:
                known[get.name] = (yield get).value
            return get.evolve(value=known[get.name])

        return {Get: Rule(around=around)}


class AnswersNoneNow(Poutine):
    """Answers some of a type with None, on the way up."""

    def rules(self) -> Rules:
        return {Get: Rule(up=lambda get: get.evolve(value=1.0 if get.key == "k" else None))}


class AnswersOnTheWayDown(Poutine):
    """Asks, and answers something else."""

    def rules(self) -> Rules:
        return {Get: Rule(down=lambda get: get.evolve(value=1.0))}


ABOUT_STATE = [
    ("H23", DrawsUnderOneName),
    ("H4", RemembersAnswers),
    ("H24", AnswersNoneNow),
    ("H25", AnswersOnTheWayDown),
]


# Handlers of the library, done wrong


class PrefixesPlatesForGood(ScopePoutine):
    """Takes the prefix off the names of sites again, and not off those of plates."""

    def rules(self) -> Rules:
        rules = super().rules()
        prefix = f"{self.prefix}/"
        back = Rule(up=rules[Site].up, down=lambda site: site.evolve(name=site.name.removeprefix(prefix))) if rules else None
        return {kind: back for kind in rules if back is not None}


class PrefixesNoLoops(ScopePoutine):
    """Knows sites and plates, and no markov loops."""

    def rules(self) -> Rules:
        return {kind: rule for kind, rule in super().rules().items() if kind is not EnterMarkov}


class SeedsChoices(SeedPoutine):
    """Leaves what the initial values of params draw to the seed outside."""

    def rules(self) -> Rules:
        return {kind: rule for kind, rule in super().rules().items() if kind is not Param}


class SeedsTheVisible(SeedPoutine):
    """Leaves hidden draws to the seed outside."""

    def rules(self) -> Rules:
        return {kind: rule for kind, rule in super().rules().items() if kind is not Sealed}


class IntervenesWithOne(DoPoutine):
    """Gives the model one number for all elements of a plate."""

    def give(self, site: Choice, value: Any) -> Message:
        return site.evolve(value=value)


class SubstitutesOne(SubstitutePoutine):
    """The same."""

    def give(self, site: Any, value: Any) -> Message:
        return super().give(site, value).evolve(value=value)


class ExposesNames(BlockPoutine):
    """Exposes names, and no types."""

    def hides(self, site: Message) -> bool:
        return super().hides(site) or (self.expose is not None and site.name not in self.expose)


class NeverMind(BlockPoutine):
    """Takes ``hide_all=False`` for what it is otherwise."""

    def hides(self, site: Message) -> bool:
        return super().hides(site) or (not self.hide_all and self.hide is None and self.hide_types is None)


class ReplaysAnyIndex(ReplayPoutine):
    """Does not look from how many elements an index was drawn."""

    def rules(self) -> Rules:
        known = {name: site.value for name, site in self._samples().items() if is_subsample(site)}
        inner = super().rules()[Sample]
        assert inner.up is not None
        decide = inner.up
        up = Rule(up=lambda site: site.evolve(value=known[site.name]) if site.name in known else decide(site), down=inner.down)
        return {**super().rules(), Sample: up}


class ReplaysWhatStands(ReplayPoutine):
    """Says nothing where its sites are observed by the model."""

    def rules(self) -> Rules:
        return {Sample: super().rules()[Sample]}


class ExpandsIndices(BroadcastPoutine):
    """Draws the index of a plate for each element of the plate around it."""

    def rules(self) -> Rules:
        rules = super().rules()
        expand = rules[Choice].up
        assert expand is not None
        up = Rule(up=lambda site: expand(site.evolve(infer={**site.infer, "is_subsample": False})), down=rules[Choice].down)
        return {**rules, Choice: up}


class CountsOn(TracePoutine):
    """Does not count the entries of plates anew."""

    def _traced(self, program: Program[Any]) -> Coroutine[Any]:
        trace = self._new()
        yield from self._record(program, trace)
        return trace


# Without a fault


class State(Poutine):
    """Keeps and tells; what it was told comes back as nothing."""

    def rules(self) -> Rules:
        kept: dict[str, float] = {}

        def put(message: Put) -> Coroutine[Any]:
            kept[message.key] = message.what
            return message.evolve(value=None)
            yield

        def get(message: Get) -> Coroutine[Any]:
            return message.evolve(value=kept.get(message.key, 0.0))
            yield

        return {Put: Rule(around=put), Get: Rule(around=get)}


class AnswersOnTheWayUp(Poutine):
    """Answers what nobody has answered, as condition does: whoever is further out sees the answer.

    **Obeys**: H4.
    """

    def rules(self) -> Rules:
        return {Get: Rule(up=lambda get: get if get.is_decided else get.evolve(value=1.0))}


class DrawsAnswers(Poutine):
    """Draws what it answers, under one name."""

    def rules(self) -> Rules:
        def around(get: Get) -> Coroutine[Any]:
            return get.evolve(value=(yield Sample("draw", Normal(0.0, 1.0))).value)

        return {Get: Rule(around=around)}


class Asks(Poutine):
    """Passes on, with a note, what it is asked.

    **Obeys**: H4.
    """

    def rules(self) -> Rules:
        return {Message: Rule(up=lambda message: message, down=lambda message: message)}


SOUND_ABOUT_STATE = (State, AnswersOnTheWayUp, DrawsAnswers, Asks)


class Walks(Poutine):
    """Adds to each sample the one before."""

    def rules(self) -> Rules:
        last: list[Any] = []

        def down(site: Sample) -> Message:
            value = site.value
            if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() == 0 and type(site.dist) is Normal:
                last.append(value if not last else value + 0.125 * last[-1])
                return site.evolve(value=last[-1])
            return site

        return {Sample: Rule(down=down)}


class GivesMeans(Poutine):
    """Gives the program the mean of each sample in place of what was drawn."""

    def rules(self) -> Rules:
        def down(site: Sample) -> Message:
            return site.evolve(value=site.dist.mean) if type(site.dist) is Normal else site

        return {Sample: Rule(down=down)}


Clamps = rewriting("Clamps", Sample, None, lambda site: site.evolve(value=site.value.clamp(-1, 1)) if type(site.dist) is Normal else site)

FAULTS = [
    ("H20", FailsAtKeys),
    ("H20", FailsAtNotes),
    ("H20", FailsAtMasks),
    ("H20", FailsAtScales),
    ("H20", FailsAtGradients),
    ("H20", TakesScalesForNumbers),
    ("H17", ScalesMade),
    ("H17", ScalesDeferred),
    ("H20", MasksWhole),
    ("H19", RenamesPlates),
    ("H27", GivesTheLastAnswer),
    ("H19", PrefixesPlatesForGood),
    ("I.names", PrefixesPlatesForGood),
    ("I.names", PrefixesNoLoops),
    ("R.seed", SeedsChoices),
    ("R.seed", SeedsTheVisible),
    ("R.shared", IntervenesWithOne),
    ("R.shared", SubstitutesOne),
    ("B.exposes", ExposesNames),
    ("B.exposes", NeverMind),
    ("R.index", ReplaysAnyIndex),
    ("C.observed", ReplaysWhatStands),
    ("D.index", ExpandsIndices),
    ("K.entries", CountsOn),
]
SOUND = (Walks, GivesMeans, Clamps)
