"""H, continued. What any handler does with the sites of a program that it lets pass."""

from __future__ import annotations

import inspect
from typing import Any, Final

import attrs
import torch
from torch.distributions import constraints

from poutine.equality import CACHES
from poutine.laws.ambient import changed, state_of
from poutine.laws.law import ANY, Case, Law, law
from poutine.laws.links import written
from poutine.laws.outcome import Outcome, outcome
from poutine.laws.probes import NotingPoutine, keeping
from poutine.messages import Choice, Message, Param, Site


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

    outcome(NotingPoutine(handler(NotingPoutine(program, up=note)), down=note), seed=seed)
    for message, before in passed:
        after = _contents(message)
        where = changed(before, {name: after[name] for name in before if name in after})  # a distribution keeps what it computes
        case.expect(where is None, f"site {message.name!r}: its {where} has been changed in place", written(handler, "model"))


@law("H17", "h does the same to a site however it is written", ANY, "by keyword, scale=torch.tensor(1.), mask=torch.tensor(True)")
def however_written(case: Case) -> None:
    program, seed = case.program(), case.seed()
    handler = case.handler(program)
    left, right = (outcome(handler(fn), seed=seed) for fn in (program, NotingPoutine(program, up=_written_otherwise)))
    source = written(handler, "model")
    for mine, yours in zip(_meanings(left), _meanings(right), strict=False):
        for what in mine:
            case.same(
                f"site {mine['name']!r}: {what}", mine[what], yours[what], source, f"{source}, where model writes its sites otherwise"
            )
    case.same("the number of sites", len(left.sites), len(right.sites), source, f"{source}, where model writes its sites otherwise")
    case.same("the end of the run", left.failure or left.value, right.failure or right.value, source, f"{source}, likewise")


@law("H18", "a param that leaves has the initial value and the constraint that the program gave it", ANY)
def params_stay_whole(case: Case) -> None:
    program, seed = case.program(), case.seed()
    handler = case.handler(program)
    declared: list[Param] = []
    left: list[Message] = []

    def declare(message: Message) -> Message:
        if isinstance(message, Param):
            message = message.evolve(constraint=_WIDE)
            declared.append(message)
        return message

    outcome(NotingPoutine(handler(NotingPoutine(program, up=declare)), up=keeping(left)), seed=seed)
    for param in left:
        whole = not isinstance(param, Param) or any(param.init is w.init and param.constraint is w.constraint for w in declared)
        case.expect(whole, f"site {param.name!r}: it leaves as {param!r}, and was yielded under {_WIDE}", written(handler, "model"))


@law("H19", "a site comes back under the name under which it was asked for", ANY)
def names_come_back(case: Case) -> None:
    program, seed = case.program(), case.seed()
    handler = case.handler(program)
    asked: list[str] = []
    wrong: list[tuple[str, str]] = []

    def ask(message: Message) -> Message:
        asked.append(message.name)
        return message

    def come(message: Message) -> Message:
        name = asked.pop()
        wrong.extend([(name, message.name)] if message.name != name else [])
        return message

    outcome(handler(NotingPoutine(program, up=ask, down=come)), seed=seed)
    for name, other in wrong:
        case.broken(f"site {name!r}: it comes back as {other!r}", written(handler, "model"))


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

    outcome(handler(NotingPoutine(program, up=ask, down=come)), seed=seed)
    for param, value in wrong:
        case.broken(f"site {param.name!r}: it comes back as {value}, outside of {param.constraint}", written(handler, "model"))


def _allows(constraint: Any, value: Any) -> bool:
    return not isinstance(value, (torch.Tensor, int, float)) or bool(constraint.check(torch.as_tensor(value)).all())


_WIDE: Final = constraints.interval(-1e3, 1e3)  # type: ignore[no-untyped-call]  # torch's own


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
