"""More handlers with a fault each, as somebody might write them who knows the library a little; and sound ones of the same kind."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import torch
from torch.distributions import Normal, Uniform, transform_to

from poutine import (
    BlockPoutine,
    BroadcastPoutine,
    Choice,
    CondIndepStackFrame,
    ConditionPoutine,
    Coroutine,
    Deterministic,
    DoPoutine,
    EnterPlate,
    EscapePoutine,
    Handling,
    IndepPoutine,
    InferConfigPoutine,
    LiftPoutine,
    MaskPoutine,
    Message,
    NonlocalExit,
    Observe,
    Param,
    PlateError,
    Poutine,
    Program,
    ReplayPoutine,
    Rule,
    Rules,
    Sample,
    ScalePoutine,
    ScopePoutine,
    SeedPoutine,
    Site,
    SubstitutePoutine,
    TracePoutine,
    UnconditionPoutine,
)

CACHE: dict[str, Any] = {}


class CachesByName(Poutine):
    """Draws each name once and for all."""

    def rules(self) -> Rules:
        return {Sample: Rule(down=lambda site: site.evolve(value=CACHE.setdefault(site.name, site.value)))}


class CachesDistributions(Poutine):
    """Builds the distribution of each name once and for all."""

    built: ClassVar[dict[Any, Any]] = {}

    def rules(self) -> Rules:
        def cached(site: Choice) -> Message:
            if not isinstance(site.fn, type):
                return site
            return site.evolve(fn=self.built.setdefault((site.name, site.fn), site.dist), args=(), kwargs={})

        return {Choice: Rule(up=cached)}


@functools.cache
def _cell(name: str) -> list[Any]:
    return []


class CachesCells(Poutine):
    """The same, in what a cached function gives."""

    def rules(self) -> Rules:
        def down(site: Sample) -> Message:
            cell = _cell(site.name)
            cell.append(site.value)
            return site.evolve(value=cell[0])

        return {Sample: Rule(down=down)}


class ActsInThreads(Poutine):
    """Does something else where it is not run in the main thread."""

    def rules(self) -> Rules:
        main = threading.main_thread()
        return {Choice: Rule(up=lambda site: site if threading.current_thread() is main else site.evolve(scale=2.0))}


class ActsByAddress(Poutine):
    """Tosses a coin with the address of the site."""

    def rules(self) -> Rules:
        return {Choice: Rule(up=lambda site: site.evolve(scale=2.0) if id(site) // 64 % 2 else site)}


class GivesUnconstrained(Poutine):
    """The program gets the parameter of an optimiser, not the constrained one."""

    def rules(self) -> Rules:
        return {Param: Rule(down=lambda site: site.evolve(value=transform_to(site.constraint).inv(site.value)))}


class DropsKey(Poutine):
    """Writes each sample anew, and forgets by what it is drawn."""

    def rules(self) -> Rules:
        def anew(site: Sample) -> Message:
            context = {"scale": site.scale, "mask": site.mask, "cond_indep_stack": site.cond_indep_stack, "value": site.value}
            return Sample(site.name, site.fn, *site.args, infer=site.infer, **site.kwargs).evolve(**context)

        return {Sample: Rule(up=anew)}


class ReturnsTheRequest(Poutine):
    """Puts the value that came back into what was asked, and so loses what others did to it."""

    def rules(self) -> Rules:
        def ask(site: Choice) -> Coroutine[Any]:
            return site.evolve(value=(yield site).value)

        return {Choice: Rule(around=ask)}


class GivesFloats(Poutine):
    """Gives the program numbers in place of tensors without dimensions, and cuts their gradients."""

    def rules(self) -> Rules:
        def plain(site: Sample) -> Message:
            return site.evolve(value=site.value.item()) if isinstance(site.value, torch.Tensor) and site.value.dim() == 0 else site

        return {Sample: Rule(down=plain)}


class SampleDrawsItself(Poutine):
    """Draws by itself, with torch's global generator."""

    def rules(self) -> Rules:
        return {Sample: Rule(up=lambda site: site if site.is_decided else site.evolve(value=site.dist.sample()))}


class RenamesOneWay(Poutine):
    """Renames on the way up only."""

    def rules(self) -> Rules:
        return {Sample: Rule(up=lambda site: site.evolve(name=f"my_{site.name}"))}


class EntersByItself(Poutine):
    """Switches gradients off around each site."""

    def rules(self) -> Rules:
        def ask(site: Choice) -> Coroutine[Any]:
            with torch.no_grad():
                return (yield site)

        return {Choice: Rule(around=ask)}


# Of one kind


class ForgetsThatItConditioned(ConditionPoutine):
    """Its observations look like the model's own."""

    def give(self, site: Choice, value: Any) -> Message:
        return super().give(site, value).evolve(conditioned=False)


class ObservesAgain(ConditionPoutine):
    """Replaces what the model observes, too."""

    def give(self, site: Choice, value: Any) -> Message:
        return site.evolve(value=value) if isinstance(site, Observe) else super().give(site, value)


class ScalesTwice(ScalePoutine):
    """Scales on the way up, and on the way down."""

    def rules(self) -> Rules:
        rule = Rule(
            up=lambda site: site.evolve(scale=site.scale * self.scale), down=lambda site: site.evolve(scale=site.scale * self.scale)
        )
        return {Choice: rule, Param: rule}


class ScalesSamples(ScalePoutine):
    """Leaves observations as they are."""

    def rules(self) -> Rules:
        return {Sample: Rule(up=lambda site: site.evolve(scale=site.scale * self.scale))}


class SetsMask(MaskPoutine):
    """Sets the mask, and does not combine it."""

    def rules(self) -> Rules:
        rule = Rule(up=lambda site: site.evolve(mask=self.mask))
        return {Choice: rule, Param: rule}


class FramesInside(IndepPoutine):
    """Puts its frame inside of those that are there."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        entry = yield EnterPlate(self.name)
        frame = CondIndepStackFrame(self.name, entry.counter, self.vectorized, self._dimension(entry), self.size, self.loop)
        rule = Rule(up=lambda message: message.evolve(cond_indep_stack=(*message.cond_indep_stack, frame)))
        return (yield Handling(program, {Site: rule, EnterPlate: rule}))


class ForgetsDepth(IndepPoutine):
    """Looks at the plate directly around it only: n in m in n passes."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        entry = yield EnterPlate(self.name)
        frame = CondIndepStackFrame(self.name, entry.counter, self.vectorized, self._dimension(entry), self.size, self.loop)

        def mark(message: Any) -> Message:
            return message.evolve(cond_indep_stack=(frame, *message.cond_indep_stack))

        def enter(inner: EnterPlate) -> Message:
            if inner.name == self.name and not inner.cond_indep_stack:
                raise PlateError(self.name, "this plate is entered inside itself")
            return mark(inner)

        return (yield Handling(program, {Site: Rule(up=mark), EnterPlate: Rule(up=enter)}))


class AlwaysEntersFirst(IndepPoutine):
    """Numbers every entry 1."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        yield EnterPlate(self.name)
        rule = Rule(
            up=lambda message: message.evolve(cond_indep_stack=(CondIndepStackFrame(self.name, 1, False), *message.cond_indep_stack))
        )
        return (yield Handling(program, {Site: rule, EnterPlate: rule}))


class SeedsVisits(SeedPoutine):
    """Numbers all draws together, and not the visits to each name."""

    def rules(self) -> Rules:
        number = iter(range(1, 10**9))
        return {Choice: Rule(up=lambda site: site if site.key is not None else site.evolve(key=(self.seed, site.name, next(number))))}


class LiftsAnew(LiftPoutine):
    """Draws a param again at each read, under another name."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        read: list[str] = []

        def lift(param: Param) -> Message:
            prior = self.prior.get(param.name) if isinstance(self.prior, Mapping) else self.prior
            read.append(param.name)
            number = read.count(param.name)
            return param if prior is None else param.lifted(prior).evolve(name=param.name if number == 1 else f"{param.name}_{number}")

        return (yield Handling(program, {Param: Rule(up=lift)}))


class LiftsAnything(LiftPoutine):
    """Does not look whether the prior fits."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        def anything(param: Param) -> Message:
            return param.evolve(constraint=torch.distributions.constraints.real)

        return (yield from super().coroutine(Program(_under, program, {Param: Rule(up=anything)})))


def _under(program: Program[Any], rules: Rules) -> Coroutine[Any]:
    return (yield Handling(program, rules))


class AnswersHidden(BlockPoutine):
    """Answers hidden samples itself."""

    def rules(self) -> Rules:
        def answer(site: Choice) -> Coroutine[Any]:
            if not self.hides(site) or site.is_decided:
                return (yield site)
            return site.evolve(value=site.dist.sample())

        return {Choice: Rule(around=answer)}


class EscapesLate(EscapePoutine):
    """Leaves when the site has been answered."""

    def rules(self) -> Rules:
        def leave(site: Choice) -> Message:
            if self.escape_fn(site):
                raise NonlocalExit(site)
            return site

        return {Choice: Rule(down=leave)}


class RecordsChoices(TracePoutine):
    """Records samples and observations only."""

    def _record(self, program: Any, trace: Any, further: Any = None) -> Coroutine[Any]:
        value = yield Handling(program, {Choice: Rule(down=trace.record), **(further or {})})
        trace.add_node("_RETURN", type="return", value=value)
        return value


class ReplaysData(ReplayPoutine):
    """Replays over observations."""

    def rules(self) -> Rules:
        names = self._samples()
        return {Choice: Rule(up=lambda site: site.evolve(value=self.guide_trace[site.name].value) if site.name in names else site)}


class SubstitutesUnconstrained(SubstitutePoutine):
    """Takes the values of positive params for their logarithms."""

    def give(self, site: Any, value: Any) -> Message:
        positive = isinstance(site, Param) and site.constraint is torch.distributions.constraints.positive
        return super().give(site, torch.as_tensor(value).exp() if positive else value)


class RemovesWhatItDoes(DoPoutine):
    """Answers the intervened site itself, so that the world outside does not see the natural one."""

    def rule(self, act: Any) -> Rule:
        def answer(site: Choice) -> Coroutine[Any]:
            return act(site) if site.name in self.data else (yield site)

        return Rule(around=answer)


class PrefixesOnce(ScopePoutine):
    """Leaves names alone that begin with the prefix already."""

    def rules(self) -> Rules:
        prefix = f"{self.prefix}/"
        enter = Rule(
            up=lambda site: site if site.name.startswith(prefix) else site.evolve(name=prefix + site.name),
            down=lambda site: site.evolve(name=site.name.removeprefix(prefix)),
        )
        return {Site: enter} if self.prefix else {}


class BroadcastsNothing(BroadcastPoutine):
    """Does nothing."""

    def rules(self) -> Rules:
        return {}


class InnerNotesWin(InferConfigPoutine):
    """Of two that say something of one key, the inner one wins."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        config = self.config

        def merge(site: Site) -> Message:
            added = config(site) if callable(config) else config.get(site.name, {})
            return site.evolve(infer={**added, **site.infer}) if added else site

        return (yield Handling(program, {Site: Rule(up=merge)}))


class UnconditionsWithoutKey(UnconditionPoutine):
    """The sample that it makes is drawn by another key."""

    def rules(self) -> Rules:
        return {Observe: Rule(up=lambda site: site.unobserved().evolve(key=None))}


# Without a fault


@functools.lru_cache(maxsize=8)
def _square(number: float) -> float:
    return number * number


class ScalesBySquare(Poutine):
    """Computes its factor once and for all."""

    def rules(self) -> Rules:
        return {Choice: Rule(up=lambda site: site.evolve(scale=site.scale * _square(0.5)))}


class Numbers(Poutine):
    """Notes at each sample how many there were before: it remembers, but within a run."""

    def rules(self) -> Rules:
        number = iter(range(10**9))
        return {Sample: Rule(up=lambda site: site.evolve(infer={**site.infer, "number": next(number)}))}


@attrs.frozen(slots=False, eq=False, repr=False)
class Tempers(Poutine):
    """Tempers the observations.

    **Obeys**: H4, B.isolates, D.draws, C.scale, C.mask.
    """

    beta: float = 0.5

    def rules(self) -> Rules:
        return {Observe: Rule(up=lambda site: site.evolve(scale=site.scale * self.beta))}


class Mirrors(Poutine):
    """Mirrors what is drawn from a Normal at its mean (antithetic draws).

    **Obeys**: H4, B.isolates.
    """

    def rules(self) -> Rules:
        return {Sample: Rule(down=lambda site: site.evolve(value=2 * site.dist.loc - site.value) if type(site.dist) is Normal else site)}


class Decentres(Poutine):
    """Draws a standard Normal in place of each Normal, and computes its value.

    **Obeys**: H4.
    """

    def rules(self) -> Rules:
        def draw(site: Sample) -> Coroutine[Any]:
            dist: Any = site.dist
            if site.is_decided or type(dist) is not Normal:
                return (yield site)
            standard = Normal(torch.zeros_like(dist.loc), torch.ones_like(dist.scale))
            noise = yield site.evolve(name=f"{site.name}_noise", fn=standard, args=(), kwargs={})
            value = dist.loc + dist.scale * noise.value
            context = {"scale": site.scale, "mask": site.mask, "cond_indep_stack": site.cond_indep_stack, "infer": site.infer}
            yield Deterministic(site.name, value).evolve(**context)
            return site.evolve(value=value)

        return {Sample: Rule(around=draw)}


class Counts(Poutine):
    """Says at the end how many choices there were."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        count: list[str] = []
        value = yield Handling(program, {Choice: Rule(down=lambda site: count.append(site.name) or site)})
        yield Deterministic("how_many", float(len(count)))
        return value


@attrs.frozen(slots=False, eq=False, repr=False)
class Stops(Poutine):
    """Leaves the program after three samples."""

    most: int = 3

    def rules(self) -> Rules:
        number = iter(range(10**9))

        def leave(site: Sample) -> Message:
            if next(number) >= self.most:
                raise NonlocalExit(site)
            return site

        return {Sample: Rule(up=leave)}


@attrs.frozen(slots=False, eq=False, repr=False)
class Mean(Poutine):
    """Answers each sample with the mean of n draws: of integers, in the default dtype."""

    n: int = 3

    def rules(self) -> Rules:
        def mean(request: Sample) -> Coroutine[Any]:
            draws = []
            for i in range(self.n):
                site = yield request.evolve(name=f"{request.name}_{i}", key=None)
                draws.append(site.value)
            return request.evolve(value=sum(draws) / self.n)

        return {Sample: Rule(around=mean)}


class Metropolis(Poutine):
    """Draws another value, and takes it if its density is large enough; with a coin of its own, which is written in plain numbers."""

    def rules(self) -> Rules:
        def step(request: Sample) -> Coroutine[Any]:
            site = yield request
            if request.is_decided or not isinstance(site, Sample):
                return site
            other = yield request.evolve(name=f"{request.name}_other", key=None)
            context = {"scale": request.scale, "mask": request.mask, "cond_indep_stack": request.cond_indep_stack, "infer": request.infer}
            coin = yield Sample(f"{request.name}_coin", Uniform(0.0, 1.0)).evolve(**context)
            odds = (request.dist.log_prob(other.value) - request.dist.log_prob(site.value)).sum().exp()
            return site.evolve(value=other.value) if bool(coin.value < odds) else site

        return {Sample: Rule(around=step)}


class Scores(Poutine):
    """Says at the end what the density of all was."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        terms: list[Any] = []

        def score(site: Choice) -> Message:
            terms.append(site.log_pdf)
            return site

        value = yield Handling(program, {Choice: Rule(down=score)})
        yield Deterministic("score", sum(terms))
        return value


SOUND = (ScalesBySquare, Metropolis, Scores, Mean, Numbers, Tempers, Mirrors, Decentres, Counts, Stops)
