"""News of an algorithm at work: what it hands out while it runs, and where it can be told to stop.

A notice is a ``Deterministic`` that is yielded sealed: ``go_on = yield Sealed(Progress(...))``. Poutines that act on sites do not
see it, so it is in no trace and weighs nothing; those that ask for sealed messages, and look inside, do; and the runtime opens it
and answers it as it is. So a notice that nobody handles is no error.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import torch

from interpreters.hamiltonian.chains import Chains, Part
from poutine import Deterministic, Message, Poutine, Rule, Rules, Sealed


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Progress(Deterministic):
    """``go_on = yield Sealed(Progress(...))``: how far the chains are. Answered with False, the sampler stops and returns what it has.

    draws:       for each chain how many draws it has made, warmup included; each will make ``total``.
    step_sizes:  for each chain the one in use.
    divergences: for each chain how many there were after warmup, in the chunks that have been handed over.
    so_far:      what the sampler would return now: to be saved, or resumed from.
    """

    draws: tuple[int, ...] = attrs.field(init=False)
    total: int = attrs.field(init=False)
    step_sizes: tuple[float, ...] = attrs.field(init=False)
    divergences: tuple[int, ...] = attrs.field(init=False)
    so_far: Chains = attrs.field(init=False)

    def __init__(
        self, draws: tuple[int, ...], total: int, step_sizes: tuple[float, ...], divergences: tuple[int, ...], so_far: Chains
    ) -> None:
        super().__init__("progress", True)
        self.__dict__.update(draws=draws, total=total, step_sizes=step_sizes, divergences=divergences, so_far=so_far)


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Chunk(Deterministic):
    """``yield Sealed(Chunk(part))``: consecutive draws of one chain, warmup included. Those of one chain come in order."""

    part: Part = attrs.field(init=False)

    def __init__(self, part: Part) -> None:
        super().__init__(f"chunk/{part.chain}", None)
        self.__dict__.update(part=part)

    @property
    def positions(self) -> torch.Tensor:
        return self.part.positions


@attrs.frozen(slots=False, eq=False, repr=False)
class NoticePoutine(Poutine):
    """Shows the news of a sampler, and can stop it.

    ::

        shown = NoticePoutine(nuts, progress=bar.show, chunk=file.write)
        chains = run(shown(density))                   # what was drawn until bar.show returned False

    progress:  called with each ``Progress``; the sampler stops if it returns False. None goes on.
    chunk:     called with each ``Chunk``.

    **Law**: changes no draw.
    """

    progress: Callable[[Progress], bool | None] = attrs.field(default=lambda progress: None, kw_only=True)
    chunk: Callable[[Chunk], object] = attrs.field(default=lambda chunk: None, kw_only=True)

    def rules(self) -> Rules:
        def reach(sealed: Sealed) -> Message:
            notice = sealed.message
            if isinstance(notice, Chunk):
                self.chunk(notice)
            elif isinstance(notice, Progress) and self.progress(notice) is False:
                return Sealed(notice.evolve(value=False))
            return sealed

        return {Sealed: Rule(up=reach)}
