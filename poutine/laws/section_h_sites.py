"""H, continued. What any handler does with the sites of a program that it lets pass."""

from __future__ import annotations

import inspect
from typing import Any, Final

import attrs
import torch
from torch.distributions import Distribution

from poutine.equality import CACHES, same
from poutine.laws.ambient import changed, state_of
from poutine.laws.blame import look
from poutine.laws.law import ANY, Case, Law, law
from poutine.laws.links import written
from poutine.laws.outcome import Outcome, outcome
from poutine.laws.probes import NotingPoutine, keeping
from poutine.messages import Choice, CondIndepStackFrame, Message, Param, Site

Plates = list[tuple[str, int | None]]  # name and dimension of each


@law("H16", "nothing that passes is changed in place", ANY)
def nothing_in_place(case: Case) -> None:
    program, seed = case.program(), case.seed()
    handler = case.handler(program)
    passed: list[tuple[Message, dict[str, Any]]] = []

    def note(message: Message) -> Message:
        if isinstance(message, Site):
            message = message.evolve(infer=dict(message.infer))  # where somebody could write
        passed.append((message, _contents(message)))
        return message

    look(case, handler, program, seed, ask=note, reply=note)
    for message, before in passed:
        after = _contents(message)
        where = changed(before, {name: after[name] for name in before if name in after})  # a distribution keeps what it computes
        case.expect(where is None, f"site {message.name!r}: its {where} has been changed in place", written(handler, "model"))


@law(
    "H17",
    "h does the same to a site however it is written",
    ANY,
    "by keyword, scale=torch.tensor(1.), mask=torch.tensor(True); Normal(0., 1.), or Normal, 0., 1.",
)
def however_written(case: Case) -> None:
    program, seed = case.program(), case.seed()
    handler = case.handler(program)
    source = written(handler, "model")
    left = outcome(handler(program), seed=seed)
    for rewrite, how in (
        (_written_otherwise, "writes its sites otherwise"),
        (_made_otherwise, "leaves Normal(0., 1.) to be made, or makes it"),
    ):
        right, otherwise = outcome(handler(NotingPoutine(program, up=rewrite)), seed=seed), f"{source}, where model {how}"
        for mine, yours in zip(_meanings(left), _meanings(right), strict=False):
            for what in mine:
                case.same(f"site {mine['name']!r}: {what}", mine[what], yours[what], source, otherwise)
        case.same("the number of sites", len(left.sites), len(right.sites), source, otherwise)
        case.same("the end of the run", left.failure or left.value, right.failure or right.value, source, otherwise)


@law("H18", "a param that leaves has the initial value and the constraint that the program gave it", ANY)
def params_stay_whole(case: Case) -> None:
    program, seed = case.program(first=("constrained",)), case.seed()
    handler = case.handler(program)
    asked: list[Message] = []
    left: list[Message] = []
    look(case, handler, program, seed, ask=keeping(asked), leave=keeping(left))
    declared = [site for site in asked if isinstance(site, Param)]
    for param in left:
        whole = not isinstance(param, Param) or any(param.init is w.init and same(param.constraint, w.constraint) for w in declared)
        case.expect(whole, f"site {param.name!r}: it leaves as {param!r}; what model yields is {declared}", written(handler, "model"))


@law("H19", "a site comes back under the name under which it was asked for, and in the plates in which it was", ANY)
def names_come_back(case: Case) -> None:
    program, seed = case.program(), case.seed()
    handler = case.handler(program)
    asked: list[Message] = []
    pairs: list[tuple[Message, Message]] = []

    def ask(message: Message) -> Message:
        if isinstance(message, Site):
            message = message.evolve(cond_indep_stack=(_PLATE, *message.cond_indep_stack))
        asked.append(message)
        return message

    def come(message: Message) -> Message:
        pairs.append((asked.pop(), message))
        return message

    look(case, handler, program, seed, ask=ask, come=come)
    reads: dict[str, list[Plates]] = {}
    for mine, yours in pairs:
        case.expect(mine.name == yours.name, f"site {mine.name!r}: it comes back as {yours.name!r}", written(handler, "model"))
        if isinstance(mine, Site) and isinstance(yours, Site):
            # What lift has drawn once comes back from the plates, and the entries of these, in which it was read first.
            # It has no dimension in those whose elements share it.
            is_lifted = isinstance(mine, Param) and isinstance(yours, Choice)
            frames, found = ([(frame.name, None if is_lifted else frame.dim) for frame in each.cond_indep_stack] for each in (mine, yours))
            places = reads.setdefault(mine.name, []) if isinstance(mine, Param) else []
            places.append(frames)
            whole = any(found[max(len(found) - len(place), 0) :] == place for place in places)
            case.expect(whole, f"site {mine.name!r}: it was in the plates {frames}, and comes back in {found}", written(handler, "model"))


@law("H21", "a param comes back as a value that its constraint allows", ANY)
def params_stay_within(case: Case) -> None:
    program, seed = case.program(first=("constrained",)), case.seed()
    handler = case.handler(program)
    asked: list[Message] = []
    wrong: list[tuple[Param, Any]] = []

    def ask(message: Message) -> Message:
        asked.append(message)
        return message

    def come(message: Message) -> Message:
        param = asked.pop()
        if isinstance(param, Param) and not _allows(param.constraint, message.value):
            wrong.append((param, message.value))
        return message

    look(case, handler, program, seed, ask=ask, come=come)
    for param, value in wrong:
        case.broken(f"site {param.name!r}: it comes back as {value}, outside of {param.constraint}", written(handler, "model"))


def _allows(constraint: Any, value: Any) -> bool:
    return not isinstance(value, (torch.Tensor, int, float)) or bool(constraint.check(torch.as_tensor(value)).all())


_PLATE: Final = CondIndepStackFrame("plate", 1, False)


def _contents(message: Message) -> dict[str, Any]:
    """Its fields, deep; but for what torch itself fills in where a density is computed."""
    fields = ((field.name, getattr(message, field.name, None)) for field in attrs.fields(type(message)))
    parts = {f"{name}{path}": part for name, value in fields for path, part in state_of(value, "torch").items()}
    return {path: part for path, part in parts.items() if CACHES.isdisjoint(path.split("."))}


def _written_otherwise(message: Message) -> Message:
    """The same site in other words."""
    if not isinstance(message, Site):
        return message
    ones = {
        "scale": message.scale if isinstance(message.scale, torch.Tensor) else torch.tensor(message.scale),
        "mask": message.mask if isinstance(message.mask, torch.Tensor) else torch.tensor(message.mask),
    }
    if isinstance(message, Choice) and isinstance(message.fn, type) and message.args:
        bound = inspect.signature(message.fn).bind(*message.args, **message.kwargs)
        return message.evolve(**ones, args=(), kwargs=bound.arguments)
    return message.evolve(**ones)


def _made_otherwise(message: Message) -> Message:
    """The same site with a distribution that is made, where it has a class and arguments; or the other way round."""
    if not isinstance(message, Choice):
        return message
    if isinstance(message.fn, type):
        return message.evolve(fn=message.dist, args=(), kwargs={})
    if not isinstance(message.fn, Distribution):
        return message
    cls, held = type(message.fn), vars(message.fn)
    asked = inspect.signature(cls).parameters.values()
    arguments = {each.name: held[each.name] for each in asked if each.name in held}
    if not arguments or any(each.default is each.empty and each.name not in arguments for each in asked):
        return message  # it does not keep what it was made of
    otherwise = message.evolve(fn=cls, args=(), kwargs=arguments)
    return otherwise if same(otherwise.dist, message.fn) else message


def _meanings(found: Outcome) -> list[dict[str, Any]]:
    """What its sites mean, however they are written."""
    return [_meaning(site) for site in found.sites if isinstance(site, Site)]


def _meaning(site: Site) -> dict[str, Any]:
    meaning = {"name": site.name, "type": site.type, "value": site.value, "frames": site.cond_indep_stack, "infer": dict(site.infer)}
    dist = site.dist if isinstance(site, Choice) else None
    mask = torch.as_tensor(site.mask)
    if not mask.any():
        mask = torch.tensor(False)  # what is off everywhere is off, of whatever shape
    return {**meaning, "scale": torch.as_tensor(site.scale), "mask": mask, "distribution": dist}


SECTION_H_SITES: Final[tuple[Law, ...]] = (
    nothing_in_place,
    however_written,
    params_stay_whole,
    names_come_back,
    params_stay_within,
)
