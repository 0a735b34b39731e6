"""H, continued. The context of a site, which any handler leaves to it: plates, scale, mask, notes and key, both ways."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs
import torch
from hypothesis import strategies as st
from torch.distributions import Distribution

from poutine.equality import same
from poutine.laws.blame import look
from poutine.laws.law import ANY, Case, Law, law
from poutine.laws.links import Wrap, written
from poutine.messages import Choice, CondIndepStackFrame, Message, Observe, Param, Sample, Site
from poutine.messages.frames import of_all, without_dim


@law(
    "H20",
    "what h asks for in place of a site is in the site's plates, has its notes, its scale times h's, its mask and h's and, under its name, its key; "
    "no two draws have one",
    ANY,
    "scale and mask: of a choice or a param; a choice in place of a param may be one for all elements of a subsample",
)
def context_is_kept(case: Case) -> None:
    program, seed = case.program(), case.seed()
    handler = case.handler(program)
    source = written(handler, "model")
    mine = torch.tensor([2.0, 8.0]).reshape(_OWN).requires_grad_()  # a learnt one, in a dimension that nothing else has
    left, unmasked = (_left(case, handler, program, seed, mine, mask) for mask in (_FIRST, torch.ones_like(_FIRST)))
    for site, message in left:
        frames, infer = _context(site)
        found, notes = _context(message)
        same_plate = _is_shared_plate if isinstance(site, Param) and isinstance(message, Choice) else _is_plate
        kept = len(found) >= len(frames) and all(map(same_plate, found[len(found) - len(frames) :], frames))
        case.expect(kept, f"site {site.name!r}: it was in the plates {frames}, and is in {found}", source)
        case.expect(infer.keys() <= notes.keys(), f"site {site.name!r}: its infer was {infer}, and is {notes}", source)
        if isinstance(site, Choice) and isinstance(message, Choice) and site.name == message.name:
            case.same(f"site {site.name!r}: what it is drawn by", message.key, site.key, source, f"key={site.key}")
        if isinstance(site, (Choice, Param)) and isinstance(message, (Choice, type(site))):
            _counts_as_much(case, source, site, message, mine)
    _are_drawn_apart(case, source, [message for _, message in left])
    for (_, message), (_, whole) in zip(left, unmasked, strict=False):
        if isinstance(message, (Choice, Param)) and isinstance(whole, type(message)) and whole.name == message.name:
            _is_on_where_it_was(case, source, message, whole)


def _left(
    case: Case, handler: Wrap, program: Callable[..., Any], seed: int, scale: torch.Tensor, mask: torch.Tensor
) -> list[tuple[Message, Message]]:
    """What leaves h, with what was asked: a site that has a scale and a mask of its own, a plate, a note and a key."""
    asked: list[Message] = []
    left: list[tuple[Message, Message]] = []

    def ask(message: Message) -> Message:
        if isinstance(message, Site):
            message = _around(message)
        if isinstance(message, (Choice, Param)):
            message = message.evolve(scale=message.scale * scale, mask=torch.as_tensor(message.mask) & mask)
        if isinstance(message, Choice):
            message = message.evolve(key=(7, message.name, 1))  # as by a seed further in
        if isinstance(message, Observe) and isinstance(message.value, torch.Tensor) and message.value.is_floating_point():
            message = message.evolve(value=message.value.detach().clone().requires_grad_())  # learnt data
        asked.append(message)
        return message

    def come(message: Message) -> Message:
        asked.pop()
        return message

    def leave(message: Message) -> Message:
        left.extend([(asked[-1], message)] if asked and isinstance(message, Site) else [])
        return message

    look(case, handler, program, seed, ask=ask, come=come, leave=leave)
    return left


def _is_on_where_it_was(case: Case, source: str, message: Choice | Param, whole: Choice | Param) -> None:
    """Where nothing but h's own mask takes something out of ``whole``, only that and half of the site are out of ``message``."""
    mask, expected = (torch.as_tensor(each.mask) & _FIRST for each in (message, whole))
    on = same(*torch.broadcast_tensors(mask, expected))  # type: ignore[no-untyped-call]  # torch's own
    wrong = f"it is off where it was on; it is {_shown(message.mask)}, and would be {_shown(whole.mask)} if half of it were not off"
    case.expect(on, f"site {message.name!r}: its mask: {wrong}; write site.mask & mask", source)


def _are_drawn_apart(case: Case, source: str, left: Iterable[Message]) -> None:
    """No two samples have the same key: they would be the same number."""
    names: dict[Any, str] = {}
    for site in left:
        if isinstance(site, Sample) and not site.is_decided and site.key is not None:
            first = names.setdefault(site.key, site.name)
            same_key = f"site {site.name!r}: it is drawn by the key of {first!r}, {site.key}, and so is the same draw; write key=None"
            case.expect(first == site.name, same_key, source)


def _counts_as_much(case: Case, source: str, site: Choice | Param, message: Site, mine: torch.Tensor) -> None:
    """The scale of ``message`` is a multiple of that of ``site``, and its mask is off where that is."""
    scale, mask = torch.as_tensor(message.scale), torch.as_tensor(message.mask)
    split = scale.expand(torch.broadcast_shapes(scale.shape, _OWN))  # type: ignore[no-untyped-call]  # torch's own
    was = f"it was {_shown(site.scale)}, and is {_shown(scale)}"
    times = bool((split.select(-6, 1) == 4 * split.select(-6, 0)).all())  # powers of two: exact
    case.expect(times, f"site {site.name!r}: its scale is no multiple of what it was; {was}; write site.scale * factor", source)
    learns = scale.requires_grad and torch.autograd.grad(scale.sum(), mine, retain_graph=True, allow_unused=True)[0] is not None
    case.expect(learns or not bool(scale.any()), f"site {site.name!r}: its scale has lost its gradient; {was}", source)
    off = not bool(mask.expand(torch.broadcast_shapes(mask.shape, _OWN)).select(-6, 1).any())  # type: ignore[no-untyped-call]  # torch's own
    wrong = f"it is on where it was off; it was {_shown(site.mask)}, and is {_shown(mask)}; write site.mask & mask"
    case.expect(off, f"site {site.name!r}: its mask: {wrong}", source)


@law(
    "H22",
    "what comes back to a site further in is what came back from further out: type, plates, scale, mask, key, notes, distribution",
    ANY,
    "a site that leaves under its name, and as what it is or another choice",
)
def seen_from_inside(case: Case) -> None:
    program, seed, observes = case.program(), case.seed(), case.draw(st.booleans())
    handler = case.handler(program)
    source = written(handler, "model")
    waiting: list[Message] = []
    replies: list[list[tuple[Message, Message]]] = []  # for each that waits: what left as it was, and what came back for that
    leaving: list[Message] = []
    pairs: list[tuple[Message, list[tuple[Message, Message]], Message]] = []

    def ask(message: Message) -> Message:
        waiting.append(message)
        replies.append([])
        return message

    def leave(message: Message) -> Message:
        leaving.append(message)
        return message

    def do(message: Message) -> Message:
        left, asked = leaving.pop(), waiting[-1] if waiting else None
        if not isinstance(message, Site):
            return message
        message = _done(message, observes)
        if asked is not None and left.name == asked.name and _is_as_it_was(left, asked):
            replies[-1].append((left, message))
        return message

    def come(message: Message) -> Message:
        pairs.append((waiting.pop(), replies.pop(), message))
        return message

    look(case, handler, program, seed, ask=ask, come=come, leave=leave, reply=do)
    for asked, came, site in pairs:
        faults = [_unseen(asked, left, outside, site) for left, outside in came]
        if faults and all(faults):
            (what, outside, inside), name = faults[0] or ("", None, None), asked.name
            case.same(f"site {name!r}: its {what}; return what came back, not what was asked", inside, outside, source, "what came back")


@law(
    "H27",
    "the answer from further out to a site goes to that site: what comes back depends on it, where it depends on answers at all",
    ANY,
    "what h asks for in place of a site is a site's answer, too",
)
def answers_find_their_sites(case: Case) -> None:
    program, seed = case.program(first=("sample", "sample")), case.seed()
    handler = case.handler(program)
    waiting: list[list[torch.Tensor]] = []  # for each site that waits, the answers to what was asked for it
    others: list[torch.Tensor] = []
    found: list[tuple[Message, Any, list[torch.Tensor], list[torch.Tensor]]] = []

    def ask(message: Message) -> Message:
        waiting.append([])
        return message

    def reply(message: Message) -> Message:
        value = message.value
        if not isinstance(message, Site) or not isinstance(value, torch.Tensor) or not value.is_floating_point() or not waiting:
            return message
        waiting[-1].append(value.detach().clone().requires_grad_())
        return message.evolve(value=waiting[-1][-1])

    def come(message: Message) -> Message:
        own, value = waiting.pop(), message.value
        if own and isinstance(value, torch.Tensor) and value.requires_grad:
            found.append((message, value, own, [*others]))
        others.extend(own)
        # What the program computes of it does not depend on the answer any more, but on the value alone.
        return message.evolve(value=value.detach()) if isinstance(message, Site) and isinstance(value, torch.Tensor) else message

    look(case, handler, program, seed, ask=ask, come=come, reply=reply)
    for site, value, own, earlier in found:
        gradients = torch.autograd.grad(value.sum(), [*own, *earlier], retain_graph=True, allow_unused=True)
        astray = all(gradient is None for gradient in gradients[: len(own)]) and any(gradient is not None for gradient in gradients)
        what = f"site {site.name!r}: it comes back as {value.detach()}, which is the answer to another site; its own is {own[-1].detach()}"
        case.expect(not astray, what, written(handler, "model"))


def _done(site: Site, observes: bool) -> Site:
    """What a site may be when it comes back: in a plate, weighted, with a note, perhaps observed."""
    site = _around(site).evolve(scale=site.scale * torch.tensor(3.0), mask=torch.as_tensor(site.mask) & _FIRST)
    if isinstance(site, Choice):
        site = site.evolve(key=(7, site.name, 1))
        if isinstance(site.fn, Distribution):
            site = site.evolve(fn=copy.copy(site.fn))
    return site.observed(site.value) if observes and isinstance(site, Sample) and site.value is not None else site


def _is_as_it_was(left: Message, asked: Message) -> bool:
    return type(left) is type(asked) or (isinstance(left, Choice) and isinstance(asked, Choice))


def _unseen(asked: Message, left: Message, outside: Message, inside: Message) -> tuple[str, Any, Any] | None:
    """What of a site that came back from further out is not so further in, with both."""
    if type(inside) is not type(outside):
        return "type", type(outside).__name__, type(inside).__name__  # pragma: no cover  # for faults that few random programs meet
    for what in ("cond_indep_stack", "scale", "mask", "key", "conditioned"):
        mine, yours = getattr(outside, what, None), getattr(inside, what, None)
        if not same(mine, yours):
            return what, mine, yours
    notes = dict(getattr(inside, "infer", {}))
    if "noted" not in notes:
        return (
            "infer",
            dict(getattr(outside, "infer", {})),
            notes,
        )  # pragma: no cover  # the planted faults that lose notes lose more, which is told first
    fn = getattr(asked, "fn", None)
    if isinstance(fn, Distribution) and getattr(left, "fn", None) is fn and getattr(inside, "fn", None) is fn:
        return (
            "distribution",
            "another, from further out",
            "what was asked for",
        )  # pragma: no cover  # for faults that random programs seldom meet
    return None


def _around(site: Site) -> Site:
    return site.evolve(cond_indep_stack=(_AROUND, *site.cond_indep_stack), infer={**site.infer, "noted": True})


def _shown(weight: Any) -> Any:
    return weight.flatten().tolist() if isinstance(weight, torch.Tensor) else weight


def _is_plate(found: CondIndepStackFrame, frame: CondIndepStackFrame) -> bool:
    """Whether it is the same plate, which may have got a prefix to its name."""
    return found.name.endswith(frame.name) and attrs.evolve(found, name=frame.name) == frame


def _is_shared_plate(found: CondIndepStackFrame, frame: CondIndepStackFrame) -> bool:
    """The same of what all of its elements may share, as they share a param: those that a subsample has not, too."""
    return any(_is_plate(found, each) for each in (frame, of_all(frame), without_dim(frame)))


def _context(message: Message) -> tuple[tuple[CondIndepStackFrame, ...], dict[str, Any]]:
    return getattr(message, "cond_indep_stack", ()), dict(getattr(message, "infer", {}))


_OWN: Final = (2, 1, 1, 1, 1, 1)  # a dimension that neither a random program nor a random handler has
_AROUND: Final = CondIndepStackFrame("around", 1, False)
_FIRST: Final = torch.tensor([True, False]).reshape(_OWN)

SECTION_H_CONTEXT: Final[tuple[Law, ...]] = (context_is_kept, seen_from_inside, answers_find_their_sites)
