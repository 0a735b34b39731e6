"""Handlers with a fault each. What is wrong is said in the docstring."""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping
from functools import partial
from inspect import isgeneratorfunction
from typing import Any, ClassVar

import attrs
import numpy
import torch

import poutine.plates
from poutine import (
    BlockPoutine,
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
    LiftPoutine,
    MaskPoutine,
    Message,
    NonlocalExit,
    Observe,
    Param,
    Poutine,
    Program,
    ReplayPoutine,
    Rule,
    Rules,
    Sample,
    ScalePoutine,
    ScopePoutine,
    Sealed,
    SeedPoutine,
    Site,
    SubstitutePoutine,
    Trace,
    TracePoutine,
    UnconditionPoutine,
    drive,
)
from poutine.trace_graph import SiteFilter

fault = attrs.frozen(slots=False, eq=False, repr=False)

# State that is kept where it should not be


@fault
class CountsOnItself(Poutine):
    """Scales the second site it ever sees: keeps its count on the object."""

    seen: list[str] = attrs.field(factory=list, init=False)

    def rules(self) -> Rules:
        def up(site: Choice) -> Message:
            self.seen.append(site.name)
            return site.evolve(scale=2.0 if len(self.seen) > 1 else 1.0)

        return {Choice: Rule(up=up)}


@fault
class RemembersValues(Poutine):
    """Gives a site of the second run the value of the first: its memory is the object's."""

    known: dict[str, Any] = attrs.field(factory=dict, init=False)

    def rules(self) -> Rules:
        return {Sample: Rule(down=lambda site: site.evolve(value=self.known.setdefault(site.name, site.value)))}


@fault
class EntersOnce(IndepPoutine):
    """Counts the entries of the plate on the object, as the seed did."""

    entries: list[int] = attrs.field(factory=lambda: [0], init=False)

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        self.entries[0] += 1
        frame = CondIndepStackFrame(self.name, self.entries[0], self.vectorized)
        rule = Rule(up=lambda site: site.evolve(cond_indep_stack=(frame, *site.cond_indep_stack)))
        return (yield Handling(program, {Site: rule, EnterPlate: rule}))


class GlobalStack(Poutine):
    """Acts only where it is the innermost of its kind: a stack that all runs share, as Pyro's."""

    stack: ClassVar[list[object]] = []

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        me = object()
        self.stack.append(me)
        try:
            return (yield Handling(program, {Choice: Rule(up=lambda site: site.evolve(scale=2.0) if self.stack[-1] is me else site)}))
        finally:
            self.stack.remove(me)


@fault
class StartsAtOnce(Poutine):
    """Starts the generator when it is made, and so has only one run in it."""

    started: Generator[Any, Any, Any] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.__dict__["started"] = Program(self.fn).fn()

    def __call__(self, *args: Any, **kwargs: Any) -> Program[Any]:
        return Program(self.coroutine, Program(lambda: self.started))


class WritesOnData(ConditionPoutine):
    """Rounds the data that it was given, in place."""

    def give(self, site: Choice, value: Any) -> Message:
        return super().give(site, value.add_(1) if isinstance(value, torch.Tensor) and value.is_floating_point() else value)


# Programs that are not run as they should be


class DrivesByHand(Poutine):
    """The base of those that drive the program themselves."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        return (yield from self.driven(drive(program)))

    def driven(self, inner: Generator[Message, Message, Any]) -> Coroutine[Any]:
        raise NotImplementedError


class DrivesWell(DrivesByHand):
    """No fault: it throws errors into the program, and closes it."""

    def driven(self, inner: Generator[Message, Message, Any]) -> Coroutine[Any]:
        try:
            message = next(inner)
            while True:
                try:
                    site = yield forwarded(message)
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: B036  # it is raised where the program lies
                    message = inner.throw(error)
                else:
                    message = inner.send(site)
        except StopIteration as stop:
            return stop.value
        finally:
            inner.close()


class NeverCloses(DrivesByHand):
    """Does not close what it drives; and keeps hold of it."""

    kept: ClassVar[list[object]] = []

    def driven(self, inner: Generator[Message, Message, Any]) -> Coroutine[Any]:
        self.kept.append(inner)
        try:
            message = next(inner)
            while True:
                message = inner.send((yield forwarded(message)))
        except StopIteration as stop:
            return stop.value


class KillsOnError(DrivesByHand):
    """Closes the program where an error from outside should be thrown into it."""

    def driven(self, inner: Generator[Message, Message, Any]) -> Coroutine[Any]:
        try:
            message = next(inner)
            while True:
                message = inner.send((yield forwarded(message)))
        except StopIteration as stop:
            return stop.value
        finally:
            inner.close()


def forwarded(request: Message) -> Program[Message]:
    """The program that yields one message, and whose value is the whole site."""

    def whole() -> Coroutine[Message]:
        sites: list[Message] = []

        def once() -> Coroutine[None]:
            yield request

        yield Handling(Program(once), {type(request): Rule(down=lambda site: sites.append(site) or site)})
        return sites[0]

    return Program(whole)


class SwallowsErrors(Poutine):
    """Turns every error of the program into None."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        try:
            return (yield Handling(program, {}))
        except Exception:
            return None


class WrapsErrors(Poutine):
    """Raises a RuntimeError in place of whatever the program raised."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        try:
            return (yield Handling(program, {}))
        except Exception as error:
            raise RuntimeError("the program failed") from error


class ForgetsArguments(Poutine):
    """Runs the program without its keyword arguments."""

    def __call__(self, *args: Any, **kwargs: Any) -> Program[Any]:
        return Program(self.coroutine, Program(self.fn, *args))


class ReturnsNothing(Poutine):
    """Forgets what the program returned."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        yield Handling(program, self.rules())


class OnlyOnGenerators(Poutine):
    """Acts on generator functions only, and is silently nothing around everything else that makes a program."""

    def rules(self) -> Rules:
        fn = self.fn.func if isinstance(self.fn, partial) else self.fn
        return {Choice: Rule(up=lambda site: site.evolve(scale=site.scale * 2.0))} if isgeneratorfunction(fn) else {}


class SwallowsOne(Poutine):
    """Turns errors of one kind into None."""

    kind: ClassVar[type[BaseException]] = Exception

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        try:
            return (yield Handling(program, {}))
        except self.kind:
            return None


def swallowing(kind: type[BaseException]) -> type[Poutine]:
    return type(f"Swallows{kind.__name__}", (SwallowsOne,), {"kind": kind})


class AnswersForOthers(Poutine):
    """Answers itself where the world outside fails: the program never hears of it."""

    def rules(self) -> Rules:
        def answer(site: Site) -> Coroutine[Any]:
            try:
                return (yield site)
            except LookupError:
                return site.evolve(value=torch.tensor(0.0))

        return {Site: Rule(around=answer)}


class GoesOnAtTheEnd(DrivesByHand):
    """Yields once more where it is closed."""

    def driven(self, inner: Generator[Message, Message, Any]) -> Coroutine[Any]:
        try:
            message = next(inner)
            while True:
                message = inner.send((yield forwarded(message)))
        except StopIteration as stop:
            return stop.value
        except GeneratorExit:
            inner.close()
            yield Param("last", torch.tensor(0.0))


# Messages that are not passed on as they should be


class AnswersEverything(Poutine):
    """Answers every message that has no value, also those that it does not know."""

    def rules(self) -> Rules:
        def answer(message: Message) -> Coroutine[Any]:
            if isinstance(message, (Site, EnterPlate, Sealed)):
                return (yield message)
            return message.evolve(value=0.0)

        return {Message: Rule(around=answer)}


class CopiesUnknown(Poutine):
    """Hands on a copy of every message, and so of those that it does not know."""

    def rules(self) -> Rules:
        return {Message: Rule(up=lambda message: message.evolve())}


class ReplacesReplies(Poutine):
    """Replaces the replies of messages that it does not know."""

    def rules(self) -> Rules:
        return {Message: Rule(down=lambda site: site if isinstance(site, (Site, EnterPlate, Sealed)) else site.evolve(value=0.0))}


class AnswersTwice(Poutine):
    """Asks for each sample twice, and hands the second answer down."""

    def rules(self) -> Rules:
        def twice(site: Sample) -> Coroutine[Any]:
            yield site
            return (yield site)

        return {Sample: Rule(around=twice)}


class ShiftsValues(Poutine):
    """Says that it moves no draw, and moves every one."""

    def rules(self) -> Rules:
        return {Sample: Rule(down=lambda site: site.evolve(value=site.value + 1))}


class ObservesLater(Poutine):
    """Lets every observation wait for the next message."""

    def rules(self) -> Rules:
        waiting: list[Message] = []

        def hold(site: Observe) -> Coroutine[Any]:
            waiting.append(site)
            return site
            yield

        def release(site: Sample) -> Coroutine[Any]:
            while waiting:
                yield waiting.pop()
            return (yield site)

        return {Observe: Rule(around=hold), Sample: Rule(around=release)}


class OpensSealed(Poutine):
    """Scales hidden sites, too: opens what is sealed."""

    def rules(self) -> Rules:
        def opened(sealed: Sealed) -> Message:
            inside = sealed.message
            return Sealed(inside.evolve(value=torch.tensor(1.0)) if isinstance(inside, Sample) else inside)

        return {Sealed: Rule(up=opened)}


class EscapesHidden(EscapePoutine):
    """Leaves at hidden sites, too."""

    def rules(self) -> Rules:
        def leave(sealed: Sealed) -> Message:
            if self.escape_fn(sealed.message):
                raise NonlocalExit(sealed.message)
            return sealed

        return {**super().rules(), Sealed: Rule(up=leave)}


class Detaches(Poutine):
    """Cuts the gradient of every value."""

    def rules(self) -> Rules:
        return {Sample: Rule(down=lambda site: site.evolve(value=site.value.detach()))}


class DetachesData(Poutine):
    """Cuts the gradient of what is observed or computed."""

    def rules(self) -> Rules:
        def cut(site: Site) -> Message:
            return site.evolve(value=site.value.detach()) if isinstance(site.value, torch.Tensor) else site

        return {Observe: Rule(up=cut), Deterministic: Rule(up=cut)}


class RoundsInPlace(Poutine):
    """Rounds every value where it lies."""

    def rules(self) -> Rules:
        def round_(site: Site) -> Message:
            site.value.round_() if isinstance(site.value, torch.Tensor) and site.value.is_floating_point() else None
            return site

        return {Sample: Rule(down=round_)}


class ShiftsDataInPlace(Poutine):
    """Shifts what the program observes where it lies, and back again after the site is answered by others."""

    def rules(self) -> Rules:
        def shift(site: Observe) -> Message:
            site.value.add_(1) if isinstance(site.value, torch.Tensor) and site.value.is_floating_point() else None
            return site

        return {Observe: Rule(up=shift)}


class NotesInPlace(Poutine):
    """Writes its notes into the configuration of the site itself."""

    def rules(self) -> Rules:
        def note(site: Site) -> Message:
            site.infer["seen"] = True if isinstance(site.infer, dict) else None
            return site

        return {Choice: Rule(up=lambda site: note(site) if isinstance(site.infer, dict) else site)}


class DropsConstraint(Poutine):
    """Makes each param anew, and loses its constraint."""

    def rules(self) -> Rules:
        def anew(param: Param) -> Message:
            return Param(param.name, param.init).evolve(
                scale=param.scale, mask=param.mask, cond_indep_stack=param.cond_indep_stack, infer=param.infer
            )

        return {Param: Rule(up=anew)}


class DropsKeywords(Poutine):
    """Makes each sample anew, and loses what its distribution is given by keyword."""

    def rules(self) -> Rules:
        return {Sample: Rule(up=lambda site: site.evolve(kwargs={}))}


class ScalesMasked(Poutine):
    """Scales those sites only that are under a mask."""

    def rules(self) -> Rules:
        return {Choice: Rule(up=lambda site: site if site.mask is True else site.evolve(scale=site.scale * 2.0))}


class ScalesHidden(Poutine):
    """Scales hidden sites, too."""

    def rules(self) -> Rules:
        def opened(sealed: Sealed) -> Message:
            return Sealed(sealed.message.evolve(scale=2.0)) if isinstance(sealed.message, Choice) else sealed

        return {Sealed: Rule(up=opened)}


# Ambient state


class DrawsFromTorch(Poutine):
    """Adds noise of its own, from torch's global generator."""

    def rules(self) -> Rules:
        return {Sample: Rule(down=lambda site: site.evolve(value=site.value + torch.rand(())))}


class DrawsFromNumpy(Poutine):
    """Adds noise of its own, from numpy's global generator."""

    def rules(self) -> Rules:
        return {Sample: Rule(down=lambda site: site.evolve(value=site.value + numpy.random.rand()))}


class DrawsFromRandom(Poutine):
    """Adds noise of its own, from the generator of ``random``."""

    def rules(self) -> Rules:
        return {Sample: Rule(down=lambda site: site.evolve(value=site.value + random.random()))}


class SeedsTorch(Poutine):
    """Seeds torch's global generator at every site, to be reproducible."""

    def rules(self) -> Rules:
        def seed(site: Sample) -> Message:
            torch.manual_seed(0)
            return site

        return {Sample: Rule(up=seed)}


class WithoutGradients(Poutine):
    """Switches gradients off, and does not switch them on again while others run."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        with torch.no_grad():
            return (yield Handling(program, {}))


class ReadsGradMode(Poutine):
    """Scales only where gradients are on."""

    def rules(self) -> Rules:
        return {Choice: Rule(up=lambda site: site.evolve(scale=2.0 if torch.is_grad_enabled() else 1.0))}


class ReadsDtype(Poutine):
    """Gives the program its values in the default dtype of the moment."""

    def rules(self) -> Rules:
        return {Sample: Rule(down=lambda site: site.evolve(value=torch.as_tensor(site.value, dtype=torch.get_default_dtype())))}


LOG: list[str] = []


class WritesGlobal(Poutine):
    """Keeps a log that hangs on its module. No run sees it; but it is there."""

    def rules(self) -> Rules:
        def log(site: Site) -> Message:
            LOG.append(site.name)
            return site

        return {Site: Rule(up=log)}


class CountsOnClass(Poutine):
    """Counts its runs on its class."""

    runs: ClassVar[int] = 0

    def rules(self) -> Rules:
        type(self).runs += 1
        return {}


class PatchesLibrary(Poutine):
    """Leaves something behind in a module of the library."""

    def rules(self) -> Rules:
        poutine.plates.last = object()
        return {}


# Handlers of the library, done wrong


class DropsScale(ConditionPoutine):
    """Makes the observation anew, and loses the scale of the sample."""

    def give(self, site: Choice, value: Any) -> Message:
        made = super().give(site, value)
        return made.evolve(scale=1.0)


class DropsConfiguration(UnconditionPoutine):
    """Loses what infer_config said about the observation."""

    def rules(self) -> Rules:
        return {Observe: Rule(up=lambda site: site.unobserved().evolve(infer={}))}


class LosesFrames(LiftPoutine):
    """The sample that it makes has lost the frames of the param."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        def lift(param: Param) -> Message:
            prior = self.prior.get(param.name) if isinstance(self.prior, Mapping) else self.prior
            return param if prior is None else param.lifted(prior).evolve(cond_indep_stack=())

        return (yield Handling(program, {Param: Rule(up=lift)}))


class LiftsAgain(LiftPoutine):
    """Lifts what an inner lift has lifted: the outer prior wins."""

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        priors = self.prior if isinstance(self.prior, Mapping) else {}
        relift = Rule(up=lambda site: site.evolve(fn=priors[site.name], args=(), kwargs={}) if site.name in priors else site)
        return (yield from super().coroutine(Program(_under, program, {Sample: relift})))


def _under(program: Program[Any], rules: Rules) -> Coroutine[Any]:
    return (yield Handling(program, rules))


class InnerWins(SubstitutePoutine):
    """Leaves alone what is decided already: of two, the inner one wins."""

    def give(self, site: Any, value: Any) -> Message:
        return site if site.is_decided else super().give(site, value)


class OuterSeedWins(SeedPoutine):
    """Overwrites the seed of an inner one."""

    def rules(self) -> Rules:
        visits: dict[str, int] = {}

        def key(site: Choice) -> Message:
            visits[site.name] = visits.get(site.name, 0) + 1
            return site.evolve(key=(self.seed, site.name, visits[site.name]))

        return {Choice: Rule(up=key)}


class SeedsByOrder(SeedPoutine):
    """Keys each draw by the number of the draw before it, and not by its name."""

    def rules(self) -> Rules:
        visits = iter(range(10**9))

        def key(site: Sample) -> Message:
            return site.evolve(key=(self.seed, "draw", next(visits)))

        return {Sample: Rule(up=key)}


class MasksByScale(MaskPoutine):
    """Switches sites off with a factor of zero, whose gradient is nan where the density is infinite."""

    def rules(self) -> Rules:
        rule = Rule(up=lambda site: site.evolve(scale=site.scale * torch.as_tensor(self.mask, dtype=torch.float32)))
        return {Choice: rule, Param: rule}


class SetsScale(ScalePoutine):
    """Sets the scale, and does not multiply it."""

    def rules(self) -> Rules:
        rule = Rule(up=lambda site: site.evolve(scale=self.scale))
        return {Choice: rule, Param: rule}


class KeepsPrefix(ScopePoutine):
    """Does not take the prefix off again on the way down."""

    def rules(self) -> Rules:
        return {Site: Rule(up=lambda site: site.evolve(name=f"{self.prefix}/{site.name}"))} if self.prefix else {}


class HidesTooMuch(BlockPoutine):
    """Hides observations, whatever their names."""

    def hides(self, site: Message) -> bool:
        return super().hides(site) or isinstance(site, Observe)


class IntervenesOutside(DoPoutine):
    """Shows the intervened value to the world outside, where the natural one belongs."""

    def rule(self, act: Any) -> Rule:
        return Rule(up=act)


class ReplaysTwice(ReplayPoutine):
    """Turns what it replays into observations."""

    def rules(self) -> Rules:
        names = {name for name, site in self.guide_trace.nodes.items() if isinstance(site, Sample)}
        return {Sample: Rule(up=lambda site: site.observed(self.guide_trace[site.name].value) if site.name in names else site)}


class UnconditionsSome(UnconditionPoutine):
    """Leaves the observations that condition made."""

    def rules(self) -> Rules:
        return {Observe: Rule(up=lambda site: site if site.conditioned else site.unobserved())}


# Traces, done wrong


def tracing(trace_class: type[Trace]) -> type[TracePoutine]:
    """A tracing handler that records in traces of this class."""

    class Faulty(TracePoutine):
        def _new(self) -> Trace:
            return trace_class(self.graph_type or "flat")

    Faulty.trace_class = trace_class
    return Faulty


class StaleTrace(Trace):
    """Remembers densities by name, so that they go stale."""

    def compute_batch_log_pdf(self, site_filter: SiteFilter | None = None) -> dict[str, torch.Tensor]:
        known: dict[str, torch.Tensor] = self.__dict__.setdefault("known", {})
        found = super().compute_batch_log_pdf(site_filter)
        return {name: known.setdefault(name, density) for name, density in found.items()}


class SharedTrace(Trace):
    """Its copies have the same nodes."""

    def copy(self) -> Trace:
        new = super().copy()
        new._nodes = self._nodes
        return new


class TangledTrace(Trace):
    """Leaves the edges of a node that is removed."""

    def remove_node(self, name: str) -> None:
        del self._nodes[name]


class ForgetfulTrace(Trace):
    """Counts each density twice in the sum."""

    def log_pdf(self, site_filter: Any = None) -> torch.Tensor:
        return 2 * super().log_pdf(site_filter)


class RecordsRequests(TracePoutine):
    """Records what the program asks for, before anybody further out has changed or answered it."""

    def _record(self, program: Any, trace: Any, further: Any = None) -> Coroutine[Any]:
        value = yield Handling(program, {Site: Rule(up=trace.record), **(further or {})})
        trace.add_node("_RETURN", type="return", value=value)
        return value


class LastOneCounts(Trace):
    """A second site of the same name replaces the first, without a word."""

    def record(self, site: Message) -> Message:
        self._nodes[site.name] = site
        return site

    def __contains__(self, name: object) -> bool:
        return False
