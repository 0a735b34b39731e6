"""H, continued. Gradients pass any handler whole: those of values, of arguments and of what is returned."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, Final

import numpy
import torch
from torch.distributions import Distribution

from poutine.equality import same
from poutine.errors import PoutineError
from poutine.laws.law import ANY, Case, Law, law
from poutine.laws.links import written
from poutine.laws.outcome import outcome
from poutine.laws.probes import NotingPoutine, keeping
from poutine.messages import Choice, Message, Site
from poutine.program import Coroutine
from poutine.tensors import tensors_in


@law(
    "H15",
    "∂(a value, an argument, a result that has passed)/∂(what it was) = 1, and its dtype is what it was",
    ANY,
    "what arrives with the numbers with which it left",
)
def gradients(case: Case) -> None:
    program, seed = case.program(), case.seed()
    handler = case.handler(program)
    source = written(handler, "model")
    for way in ("up", "down"):
        marked: list[torch.Tensor] = []
        arrived: list[Message] = []
        inner, outer = (_marking(marked), keeping(arrived)) if way == "up" else (keeping(arrived), _marking(marked))
        # A value that is moved may be none that the site can have, and who scores it fails. H20 and H27 bring such as are where they were.
        outcome(NotingPoutine(handler(NotingPoutine(program, **{way: inner})), **{way: outer}), seed=seed)
        for site in arrived:
            fault = gradient_fault(site.value, marked)
            case.expect(fault is None, f"site {site.name!r}: on its way {way}, its value {site.value} {fault}", source)
    _of_arguments(case, handler, program, seed)
    result = torch.tensor([1.5, -0.5], requires_grad=True)

    def returning() -> Coroutine[torch.Tensor]:
        yield from program()
        return result

    fault = gradient_fault(outcome(handler(returning), seed=seed).value, [result])
    case.expect(fault is None, f"the returned value: {result.tolist()} {fault}", source)


def _of_arguments(case: Case, handler: Callable[..., Any], program: Callable[..., Any], seed: int) -> None:
    """A distribution that leaves as it was asked for has the gradients of its parameters."""
    asked: list[Message] = []
    pairs: list[tuple[Message, Message]] = []

    numbers = count()

    def ask(message: Message) -> Message:
        asked.append(_with_leaves(message, numbers) if isinstance(message, Choice) else message)
        return asked[-1]

    def come(message: Message) -> Message:
        asked.pop()
        return message

    def leave(message: Message) -> Message:
        pairs.extend([(asked[-1], message)] if asked else [])
        return message

    outcome(NotingPoutine(handler(NotingPoutine(program, up=ask, down=come)), up=leave), seed=seed)
    for site, message in pairs:
        mine, yours = _parameters(site), _parameters(message)
        if mine and yours and same(mine[0], yours[0]):
            for path in mine[1].keys() & yours[1].keys():
                inside, outside = mine[1][path], yours[1][path]
                if inside.requires_grad and not same(_gradients(outside, mine[2]), _gradients(inside, mine[2])):
                    what = f"the parameter {outside.detach()} of its distribution has not the gradient that it had"
                    case.broken(f"site {site.name!r}: on its way up, {what}", written(handler, "model"))


def gradient_fault(found: Any, leaves: Sequence[torch.Tensor]) -> str | None:
    """What has become of the gradient, or of the dtype, of that leaf whose numbers ``found`` has; None if nothing, or if there is none."""
    same_numbers = [leaf for leaf in leaves if _are_the_numbers_of(leaf, found)]
    if not same_numbers:
        return None
    if not getattr(found, "requires_grad", False):
        return "has lost its gradient"
    derivatives = [grad for grad in _gradients(found, same_numbers) if grad is not None]
    if not derivatives:
        return "has lost its gradient, and has another"
    ones = torch.ones_like(same_numbers[0])
    if not any(same(grad, ones) for grad in derivatives):
        return f"has the gradient {derivatives[0].tolist()} in place of {ones.tolist()}"
    return None if found.dtype == same_numbers[0].dtype else f"is of {found.dtype}, and was of {same_numbers[0].dtype}"


def _gradients(of: torch.Tensor, leaves: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
    if not of.requires_grad:
        return [None] * len(leaves)
    return [*torch.autograd.grad(of.sum(), leaves, retain_graph=True, allow_unused=True)]


def _marking(marked: list[torch.Tensor]) -> Callable[[Message], Message]:
    """Makes each value a leaf that wants a gradient, and that no other value is equal to."""

    def mark(message: Message) -> Message:
        value = message.value
        if not isinstance(message, Site) or not _is_real(value) or not bool(value.detach().any()):
            return message
        marked.append(_unequal(value, len(marked)))
        return message.evolve(value=marked[-1])

    return mark


def _with_leaves(site: Choice, numbers: Iterator[int]) -> Choice:
    """With a distribution whose parameters are leaves, each on its own."""

    def leaf(argument: Any) -> Any:
        real = isinstance(argument, float) or _is_real(argument)
        return _unequal(torch.as_tensor(argument), next(numbers)) if real else argument

    def leaves_in(dist: Distribution) -> Distribution:
        copied = copy.copy(dist)
        for name, part in vars(dist).items():
            vars(copied)[name] = leaves_in(part) if isinstance(part, Distribution) else leaf(part)
        return copied

    if isinstance(site.fn, Distribution):
        return site.evolve(fn=leaves_in(site.fn))
    if not isinstance(site.fn, type):
        return site
    return site.evolve(args=tuple(map(leaf, site.args)), kwargs={name: leaf(arg) for name, arg in site.kwargs.items()})


def _unequal(tensor: torch.Tensor, number: int) -> torch.Tensor:
    """A leaf that no other is equal to, nor is a mean of others: a little nearer to zero, by the square of its number."""
    return (tensor.detach() * (1.0 - (number + 1) ** 2 * 2.0**-14)).requires_grad_()


def _parameters(message: Message) -> tuple[Distribution, dict[str, torch.Tensor], list[torch.Tensor]] | None:
    """The distribution of a site, the tensors that it holds, and the leaves among them and the arguments."""
    if not isinstance(message, Choice) or not isinstance(message.fn, (type, Distribution)):
        return None
    try:
        dist: Any = message.dist
    except PoutineError:  # pragma: no cover  # of a handler that makes a bad one: whoever asks for it is told
        return None
    if not isinstance(dist, Distribution):  # pragma: no cover  # of a message of the user's own
        return None
    held = dict(_held(dist))
    given = tensors_in([*held.values(), *message.args, message.kwargs])
    return dist, held, [tensor for tensor in given if tensor.requires_grad and tensor.is_leaf]


def _held(dist: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a distribution, by name; which there are depends on what it was asked before."""
    for name, part in vars(dist).items():
        if isinstance(part, Distribution):
            yield from _held(part, f"{path}{name}.")
        elif _is_real(part):
            yield f"{path}{name}", part


def _are_the_numbers_of(tensor: torch.Tensor, value: Any) -> bool:
    """Whether ``value`` is the same numbers in whatever form."""
    numbers = isinstance(value, (torch.Tensor, numpy.ndarray, numpy.number, float))
    return numbers and same(torch.as_tensor(value, dtype=tensor.dtype).detach(), tensor.detach())


def _is_real(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


SECTION_H_GRADIENTS: Final[tuple[Law, ...]] = (gradients,)
