"""H11: what is around a program, and all programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import torch
from torch.distributions import Distribution

from poutine.laws.ambient import (
    SURROUNDINGS,
    ambient,
    caches_of_class,
    changed,
    module_state,
    other_generators,
    other_surroundings,
    state_of_class,
)
from poutine.laws.law import ANY, Case, law
from poutine.laws.links import Wrap, written
from poutine.laws.outcome import Outcome, difference, outcome
from poutine.laws.probes import NotingPoutine, keeping
from poutine.laws.settings import kept, patches
from poutine.laws.stepping import Stepper
from poutine.laws.transcript import Transcript
from poutine.messages import Message, Sample
from poutine.tensors import tensors_in

DTYPE: Final = "torch's default dtype"


@law(
    "H11",
    "nothing ambient is changed, or has an influence",
    ANY,
    "the default dtype has one on the dtype of what h computes, and so on its rounding and on what is drawn for h",
)
def nothing_ambient(case: Case) -> None:
    # Names that no other law has: what is remembered by name, from run to run, is yet to be remembered.
    program, seed = case.program(prefix="ambient_"), case.seed()
    wrap = case.handler(program)
    handler, source = wrap(program), written(wrap, "model")
    transcript = Transcript.of(program, seed)
    before_any_run, around = {**state_of_class(type(handler)), **patches()}, ambient()
    with kept(patched=True):
        expected = _seen(wrap, transcript, seed)  # also imports and builds what is imported and built at the first use
        _check_unchanged(case, around, ambient(), source)
        with other_generators(9):  # in a state to which nobody would set them
            _no_change(case, handler, seed, source)
        _check_unchanged(case, before_any_run, {**state_of_class(type(handler)), **patches()}, source)
    _no_influence(case, wrap, transcript, expected, seed, type(handler).__module__)
    _no_memory(case, wrap, program, seed)


def _no_memory(case: Case, wrap: Wrap, program: Callable[..., Any], seed: int) -> None:
    """What cached functions remember of earlier runs tells later ones nothing."""
    caches = caches_of_class(type(wrap(program)))
    if not caches:
        return
    warm = outcome(wrap(program), seed=seed + 1)
    for cached in caches:
        cached.cache_clear()
    source, names = written(wrap, "model"), " and ".join(cached.__name__ for cached in caches)
    case.equal(
        warm,
        outcome(wrap(program), seed=seed + 1),
        f"{source}, after a run with another seed",
        f"the same, with what {names} caches cleared",
    )


def _no_change(case: Case, handler: Any, seed: int, source: str) -> None:
    before, around = _surroundings(handler, case.is_first), ambient()
    stepper, number = Stepper(handler, seed), 0
    while stepper.step():
        number += 1
        if (found := changed(around, ambient())) is not None:
            stepper.close()
            case.broken(f"message {number}: the run changes {found}", source)
    _check_unchanged(case, before, _surroundings(handler, case.is_first), source)


def _check_unchanged(case: Case, before: Mapping[str, Any], after: Mapping[str, Any], source: str) -> None:
    found = changed(before, after)
    case.expect(found is None, f"the end of the run: it has changed {found}", source)


def _surroundings(handler: Any, everything: bool) -> dict[str, Any]:
    """All around a handler: with what hangs on its class, if it is not of this library; and once, since it takes long, on all modules."""
    return {**ambient(), **state_of_class(type(handler)), **(module_state() if everything else {})}


def _no_influence(case: Case, wrap: Wrap, transcript: Transcript, expected: Outcome, seed: int, module: str) -> None:
    """The transcript holds tensors and distributions that are made: nothing but the handler could be influenced."""

    def run(*what: str) -> Outcome:
        with other_surroundings(*what, module=module):
            return _seen(wrap, transcript, seed)

    others = [what for what in SURROUNDINGS if what != DTYPE]
    together = run(*others)
    if difference(expected, together) is not None:
        for what in others:  # which of them was it?
            case.equal(expected, run(what), written(wrap, "model"), f"the same, with {what} otherwise")
        case.equal(expected, together, written(wrap, "model"), f"the same, with {', '.join(others)} otherwise")  # pragma: no cover
    with other_surroundings(DTYPE):
        found = _seen(wrap, transcript, seed, _giving(expected))
    case.equal(expected, _rounded_like(expected, found), written(wrap, "model"), f"the same, with {DTYPE} otherwise")


def _seen(wrap: Wrap, transcript: Transcript, seed: int, give: Callable[[Message], Message] | None = None) -> Outcome:
    """What is seen of h from outside, and after that the sites that come back, as they are seen from inside."""
    came: list[Message] = []
    found = outcome(NotingPoutine(wrap(NotingPoutine(transcript, down=keeping(came))), up=give), seed=seed)
    return attrs.evolve(found, sites=(*found.sites, *came))


def _giving(expected: Outcome) -> Callable[[Message], Message]:
    """Gives a site that h draws from numbers of its own the value that it has in ``expected``, in its own dtype: another dtype has other draws.

    What is drawn from a distribution of the same dtypes as there is drawn as ever.
    """
    drawn = {site.name: (site.value, _dtypes(site)) for site in expected.sites if isinstance(site, Sample)}

    def give(message: Message) -> Message:
        value, dtypes = drawn.get(message.name, (None, None))
        if not isinstance(message, Sample) or message.is_decided or not isinstance(value, torch.Tensor) or _dtypes(message) == dtypes:
            return message
        return message.evolve(value=value.to(torch.get_default_dtype()) if value.is_floating_point() else value)

    return give


def _dtypes(site: Sample) -> list[torch.dtype]:
    return [tensor.dtype for tensor in tensors_in(site.dist)]


def _rounded_like(expected: Outcome, found: Outcome) -> Outcome:
    """``found``, with the numbers of ``expected`` where they are the same but for their dtype and what it rounds away."""
    sites = (
        tuple(_site_like(mine, yours) for mine, yours in zip(expected.sites, found.sites, strict=False))
        + found.sites[len(expected.sites) :]
    )
    return attrs.evolve(found, sites=sites, value=_like(expected.value, found.value))


def _site_like(mine: Message, yours: Message) -> Message:
    if type(mine) is not type(yours):
        return yours
    return yours.evolve(**{name: _like(getattr(mine, name), value) for name, value in vars(yours).items() if not name.startswith("_")})


def _like(mine: Any, yours: Any) -> Any:
    if isinstance(mine, (torch.Tensor, float)) and isinstance(yours, (torch.Tensor, float)):
        return mine if _is_close(torch.as_tensor(mine), torch.as_tensor(yours)) else yours
    if type(mine) is not type(yours):
        return yours
    if isinstance(mine, (list, tuple)) and len(mine) == len(yours):
        return type(mine)(map(_like, mine, yours)) if type(mine) in (list, tuple) else yours
    if isinstance(mine, dict) and mine.keys() == yours.keys():
        return {name: _like(mine[name], yours[name]) for name in mine}
    if isinstance(mine, Distribution):
        pairs = [*zip(tensors_in(mine), tensors_in(yours), strict=False)]
        return mine if all(_is_close(a, b) for a, b in pairs) else yours
    return yours


def _is_close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Up to some roundings in the coarser of both."""
    if a.shape != b.shape or not (a.is_floating_point() and b.is_floating_point()):
        return False
    return torch.allclose(a.double(), b.double(), rtol=64 * torch.finfo(torch.float32).eps, atol=1e-6, equal_nan=True)


SECTION_H_AMBIENT: Final = (nothing_ambient,)
