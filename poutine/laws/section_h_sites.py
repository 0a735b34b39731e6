"""H, continued. What any handler does with the sites of a program that it lets pass."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import attrs
import numpy
import torch
from torch.distributions import constraints

from poutine.equality import same
from poutine.laws.ambient import changed, state_of
from poutine.laws.law import ANY, Case, Law, law
from poutine.laws.links import written
from poutine.laws.outcome import Outcome, outcome
from poutine.laws.probes import NotingPoutine
from poutine.messages import Choice, CondIndepStackFrame, Message, Param, Site


@law("H15", "a value that passes keeps its gradient", ANY)
def gradients(case: Case) -> None:
    program, seed = case.program(), case.seed()
    handler = case.handler(program)
    source = written(handler, "model")
    for way in ("up", "down"):
        marked: list[torch.Tensor] = []
        arrived: list[Message] = []
        inner, outer = (_marking(marked), _keeping(arrived)) if way == "up" else (_keeping(arrived), _marking(marked))
        outcome(NotingPoutine(handler(NotingPoutine(program, **{way: inner})), **{way: outer}), seed=seed)
        for site in arrived:
            lost = not getattr(site.value, "requires_grad", False) and any(_are_the_numbers_of(value, site.value) for value in marked)
            case.expect(not lost, f"site {site.name!r}: on its way {way}, its value {site.value} has lost its gradient", source)


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

    outcome(NotingPoutine(handler(NotingPoutine(program, up=declare)), up=_keeping(left)), seed=seed)
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


def _is_plate(found: CondIndepStackFrame, frame: CondIndepStackFrame) -> bool:
    """Whether it is the same plate, which may have got a prefix to its name."""
    return found.name.endswith(frame.name) and attrs.evolve(found, name=frame.name) == frame


@law("H20", "what h asks for in place of a site is in the site's plates, has its notes and, under its name, its key", ANY)
def context_is_kept(case: Case) -> None:
    program, seed = case.program(), case.seed()
    handler = case.handler(program)
    source = written(handler, "model")
    asked: list[Message] = []
    left: list[tuple[Message, Message]] = []

    def ask(message: Message) -> Message:
        if isinstance(message, Site):
            message = message.evolve(cond_indep_stack=(_AROUND, *message.cond_indep_stack), infer={**message.infer, "noted": True})
        if isinstance(message, Choice):
            message = message.evolve(key=(7, message.name, 1))  # as by a seed further in
        asked.append(message)
        return message

    def come(message: Message) -> Message:
        asked.pop()
        return message

    def leave(message: Message) -> Message:
        left.extend([(asked[-1], message)] if asked and isinstance(message, Site) else [])
        return message

    outcome(NotingPoutine(handler(NotingPoutine(program, up=ask, down=come)), up=leave), seed=seed)
    for site, message in left:
        frames, infer = _context(site)
        found, notes = _context(message)
        kept = len(found) >= len(frames) and all(map(_is_plate, found[len(found) - len(frames) :], frames))
        case.expect(kept, f"site {site.name!r}: it was in the plates {frames}, and is in {found}", source)
        case.expect(infer.keys() <= notes.keys(), f"site {site.name!r}: its infer was {infer}, and is {notes}", source)
        if isinstance(site, Choice) and isinstance(message, Choice) and site.name == message.name:
            case.same(f"site {site.name!r}: what it is drawn by", message.key, site.key, source, f"key={site.key}")


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


@law("H22", "what further out did to a site is seen further in", ANY, "a site that leaves under its name and as what it is")
def seen_from_inside(case: Case) -> None:
    program, seed = case.program(), case.seed()
    handler = case.handler(program)
    waiting: list[Message] = []
    left: list[Message] = []  # those that wait and have left as they were: identical, since a name may come twice
    blind: list[Message] = []

    def ask(message: Message) -> Message:
        waiting.append(message)
        return message

    def leave(message: Message) -> Message:
        asked = waiting[-1] if waiting else None
        if isinstance(message, Site) and (type(message), message.name) == (type(asked), getattr(asked, "name", None)):
            left.append(asked)  # type: ignore[arg-type]  # it is of the type of a site
        return message

    def do(message: Message) -> Message:
        return message.evolve(infer={**message.infer, "done": True}) if isinstance(message, Site) else message

    def come(message: Message) -> Message:
        asked = waiting.pop()
        if any(asked is other for other in left) and isinstance(message, Site) and "done" not in message.infer:
            blind.append(message)
        return message

    outcome(NotingPoutine(handler(NotingPoutine(program, up=ask, down=come)), up=leave, down=do), seed=seed)
    for site in blind:
        case.broken(
            f"site {site.name!r}: infer had an entry 'done' outside, and is {dict(site.infer)}; return what came back, not what was asked",
            written(handler, "model"),
        )


def _allows(constraint: Any, value: Any) -> bool:
    return not isinstance(value, (torch.Tensor, int, float)) or bool(constraint.check(torch.as_tensor(value)).all())


_AROUND: Final = CondIndepStackFrame("around", 1, False)


def _context(message: Message) -> tuple[tuple[CondIndepStackFrame, ...], dict[str, Any]]:
    return getattr(message, "cond_indep_stack", ()), dict(getattr(message, "infer", {}))


_WIDE: Final = constraints.interval(-1e3, 1e3)  # type: ignore[no-untyped-call]  # torch's own


def _marking(marked: list[torch.Tensor]) -> Callable[[Message], Message]:
    """Makes each value a leaf that wants a gradient, and that no other value is equal to: a little nearer to zero."""

    def mark(message: Message) -> Message:
        value = message.value
        if not isinstance(message, Site) or not _is_real(value) or not bool(value.detach().any()):
            return message
        marked.append((value.detach() * (1.0 - 2.0**-10)).requires_grad_())
        return message.evolve(value=marked[-1])

    return mark


def _keeping(kept: list[Message]) -> Callable[[Message], Message]:
    """Keeps sites as they pass; what is wrong with them is said afterwards, since an error now would be one of the run."""

    def keep(message: Message) -> Message:
        if isinstance(message, Site):
            kept.append(message)
        return message

    return keep


def _contents(message: Message) -> dict[str, Any]:
    """Its fields, deep."""
    fields = ((field.name, getattr(message, field.name, None)) for field in attrs.fields(type(message)))
    return {f"{name}{path}": part for name, value in fields for path, part in state_of(value, "torch").items()}


def _are_the_numbers_of(tensor: torch.Tensor, value: Any) -> bool:
    """Whether ``value`` is the same numbers in whatever form."""
    numbers = isinstance(value, (torch.Tensor, numpy.ndarray, numpy.number, float))
    return numbers and same(torch.as_tensor(value, dtype=tensor.dtype).detach(), tensor.detach())


def _is_real(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


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
    return {**meaning, "scale": torch.as_tensor(site.scale), "mask": torch.as_tensor(site.mask), "distribution": dist}


SECTION_H_SITES: Final[tuple[Law, ...]] = (
    gradients,
    nothing_in_place,
    however_written,
    params_stay_whole,
    names_come_back,
    context_is_kept,
    params_stay_within,
    seen_from_inside,
)
