"""The default runtime: ``run`` answers every message that no poutine answered. Only here is anything drawn or looked up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.distributions import Distribution

from poutine.driver.engine import answer
from poutine.errors import DistributionError, PoutineError, UnhandledMessage
from poutine.messages import (
    UNDECIDED,
    Deterministic,
    EnterMarkov,
    EnterPlate,
    MarkovEntry,
    Message,
    Observe,
    Param,
    PlateEntry,
    Sample,
    Sealed,
    is_distribution,
)
from poutine.options import as_seed
from poutine.params import ParamStore
from poutine.priors import checked
from poutine.program import Program, as_program
from poutine.randomness import Key, draw, draw_unbuilt, draws_nothing
from poutine.whole_numbers import has_whole_parameters

T = TypeVar("T")


def run(program: Program[T] | Callable[..., Any], seed: int = 0, params: ParamStore | None = None) -> T:
    """Runs ``program`` and returns its value.

    seed:    names the stream of every draw, together with the site's name and the number of the visit to it.
    params:  where ``Param`` sites live; without it, each run starts from their initial values.

    **Laws**: the same program and seed give the same (H12). Conditioning or removing a site moves no other draw.
    Raises ``UnhandledMessage`` for a message type that nobody knows, ``NotAProgram`` where the program returns a message in place of yielding
    it, and what the program raises.
    """
    return answer(as_program(program), Runtime(seed, params))


class Runtime(dict[type[Message], Callable[[Any], Message]]):
    """The default behaviour of every message: from its type to what answers it.

    One object serves one run, or several that are to be one stream: it counts the visits to each name.

    hidden:  what answers those messages that ``block`` hides, where that differs.
    wide:    for a runtime built on this one that takes many values at once, along batch dimensions to the left of all plates.
    """

    # No entry refers back to this object, so that what a run made is freed as it ends, and not when the garbage collector comes.

    def __init__(self, seed: int = 0, params: ParamStore | None = None, *, wide: bool = False) -> None:
        draws = _Draws(seed)
        super().__init__()
        self.hidden: dict[type[Message], Callable[[Any], Message]] = {}
        self[Sample] = draws.sample
        self[Observe] = draws.observe
        self[Param] = _reading(params, draws.seed)
        self[Deterministic] = _as_it_is
        self[EnterPlate] = _numbering(wide)
        self[EnterMarkov] = _next_step

    def __missing__(self, kind: type[Message]) -> Callable[[Any], Message]:
        if kind is Sealed:
            return self._open
        return next((self[cls] for cls in kind.__mro__ if cls in self), _refuse)

    def _open(self, sealed: Sealed) -> Message:
        message = sealed.message
        kind = type(message)
        act = next((self.hidden[cls] for cls in kind.__mro__ if cls in self.hidden), None) if self.hidden else None
        act = act or self[kind]
        if act is _refuse and not message.is_decided:
            raise UnhandledMessage(
                f"nobody answers {message!r}: it is hidden, so that only the runtime may, which does not know {kind.__name__}; "
                "expose it, or answer it inside of block"
            )
        return Sealed(act(message))


class _Draws:
    """Answers what has a distribution; counts the visits to each name, by which draws are keyed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed if type(seed) is int else as_seed(seed)
        self.visits: defaultdict[str, int] = defaultdict(int)

    def sample(self, site: Sample) -> Message:
        name = site.name
        self.visits[name] += 1
        if site.value is not UNDECIDED:
            return site if isinstance(site.fn, Distribution) else self._keyed(site)
        drawn = site.replaced("value", draw_site(site, site.key or (self.seed, name, self.visits[name])))
        return checked(drawn) if "_init" in drawn.__dict__ else drawn  # a look takes less time than a call

    def observe(self, site: Observe) -> Message:
        # Counted like a draw, so that observing one visit to a name moves no other draw.
        self.visits[site.name] += 1
        return site if isinstance(site.fn, Distribution) else self._keyed(site)  # the commonest needs no look

    def _keyed(self, site: Any) -> Message:
        """A decided site. If its distribution is yet to be made by a callable that may draw, then under the key of this visit."""
        if draws_nothing(site.fn) or not site.is_deferred:
            return site  # type: ignore[no-any-return]  # it is a Choice
        site.check_callable()
        if site.key is not None:
            return site  # type: ignore[no-any-return]  # it is a Choice
        return site.replaced("key", (self.seed, site.name, self.visits[site.name]))  # type: ignore[no-any-return]


def _reading(params: ParamStore | None, seed: int) -> Callable[[Param], Message]:
    """Answers parameters from ``params`` or, without it, from a store of its own. An initial value that is drawn is keyed by ``seed``."""

    if params is not None and not isinstance(params, ParamStore):
        raise TypeError(f"expected a ParamStore as params, got {params!r}; to give parameters values, wrap the program in substitute")

    def read(site: Param) -> Message:
        nonlocal params
        if params is None:
            params = ParamStore()  # made when it is needed: it takes as long as some ten sites
        return params.answer(site if site.key is not None or not callable(site.init) else site.evolve(key=(seed, site.name, 0)))

    return read


def _numbering(wide: bool) -> Callable[[EnterPlate], Message]:
    """Counts the entries of each plate, from 1."""
    entries: defaultdict[str, int] = defaultdict(int)

    def enter(entry: EnterPlate) -> Message:
        entries[entry.name] += 1
        return entry.evolve(value=PlateEntry(entries[entry.name], entry.cond_indep_stack, wide))

    return enter


def _next_step(entry: EnterMarkov) -> Message:
    """One step after the other."""
    return entry.evolve(value=MarkovEntry(entry.start, entry.start + 1, entry.state))


def draw_site(site: Sample, key: Key) -> Any:
    """The value of an undecided site from the stream of ``key``. A bare callable is called under it."""
    dist = site.fn
    try:
        if site.is_deferred:
            value = draw_unbuilt(dist, site.args, site.kwargs, key)
            if value is not None:
                return value
            dist = site.call(key)
            if isinstance(dist, torch.Tensor) or not is_distribution(dist):
                return dist
        return draw(dist, key)
    except PoutineError:
        raise
    except Exception as error:
        is_whole = isinstance(dist, Distribution) and has_whole_parameters(dist)
        hint = "; its parameters are whole numbers: give them a point, as in torch.tensor(3.0)" if is_whole else ""
        raise DistributionError(site.name, f"cannot draw from {dist!r}: {error}{hint}") from error


def _as_it_is(site: Message) -> Message:
    return site


def _refuse(message: Message) -> Message:
    if message.is_decided:
        return message  # a poutine has answered it on the way up
    raise UnhandledMessage(
        f"nobody answers {message!r}: no poutine around the program knows {type(message).__name__}, and neither does the runtime; "
        f"{message.way_out}"
    )
