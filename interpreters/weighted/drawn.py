"""What a program draws and what it says of it, each as it was at its site: a program may change in place what it is given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import attrs
import torch

from interpreters.numeric import is_numeric
from interpreters.replies import with_own_value
from poutine import BlockPoutine, Choice, Coroutine, Deterministic, Handling, Message, Observe, Program, Rule, Sample, Trace, TracePoutine
from poutine.trace_graph import is_subsample

Score = Callable[[Any, bool], torch.Tensor | None]


@attrs.frozen(eq=False)
class Drawn:
    """A run of a program.

    trace:   its sites; their values are those that were drawn, whatever the program has made of them since.
    names:   of the samples that left the program undecided: those are draws, the others were given.
    values:  the samples and computed values by name of site, as far as they are numbers; indices of subsampled plates are left out.
    terms:   what ``score`` said, in order.
    """

    trace: Trace
    names: frozenset[str]
    values: Mapping[str, torch.Tensor]
    terms: tuple[torch.Tensor, ...] = ()


def drawn(program: Program[Any], hide: Collection[str] = (), score: Score | None = None) -> Coroutine[Drawn]:
    """Traces ``program`` and notes what is drawn. From further out only its draws and parameters are visible, without the
    sites in ``hide``: observations and computed values are no randomness of the algorithm that asks.

    score:  from a finished sample or observation, and whether it is a draw, to a term; asked before the program goes on. What it raises
            is raised at the program's yield.
    """
    names: set[str] = set()
    terms: list[torch.Tensor] = []

    def note(site: Choice) -> Message:
        if isinstance(site, Sample) and not site.is_decided:
            names.add(site.name)
        return site

    def finish(site: Choice) -> Message:
        site = as_draw(site) if site.name in names else site
        term = score(site, site.name in names) if score is not None and site.is_decided else None
        if term is not None:
            terms.append(term)
        return with_own_value(site) if isinstance(site, Sample) else site

    def noting() -> Coroutine[Trace]:
        traced = TracePoutine(copying).traced()
        rules = {Choice: Rule(up=note, down=finish), Deterministic: Rule(down=with_own_value)}
        trace: Trace = yield Handling(traced, rules)
        return trace

    def copying() -> Coroutine[Any]:
        return (yield Handling(program, {Sample: Rule(down=with_own_value), Deterministic: Rule(down=with_own_value)}))

    trace = yield from BlockPoutine(noting, hide=hide, hide_types=["observe", "deterministic"])()
    return Drawn(trace, frozenset(names), dict(_numbers(trace)), tuple(terms))


def as_draw(site: Any) -> Any:
    """A draw that somebody outside of the algorithm observes is still one to the algorithm: a sample with that value."""
    return site.unobserved().evolve(value=site.value) if isinstance(site, Observe) else site


def _numbers(trace: Trace) -> Iterator[tuple[str, torch.Tensor]]:
    for name, site in trace.nodes.items():
        if isinstance(site, (Sample, Deterministic)) and not is_subsample(site) and is_numeric(site.value):
            yield name, torch.as_tensor(site.value)
