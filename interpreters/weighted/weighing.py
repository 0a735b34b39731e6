"""One particle: a run of the guide and of the model at the guide's draws, and its weight."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import attrs
import torch

from interpreters.errors import GuideMismatch
from interpreters.ranges import contains, is_bounded, value_in_range
from interpreters.weighted.drawn import Drawn, drawn
from interpreters.weighted.particles import computed_or_drawn
from interpreters.weighted.scores import check_not_subsampled, score
from poutine import Choice, Coroutine, Handling, Message, Observe, Program, ReplayPoutine, Rule, Sample, Trace, batch_log_density
from poutine.trace_graph import is_subsample


@attrs.frozen(eq=False)
class Weighted:
    """A particle: the model's trace, what it draws and computes by name of site, and the log weight, a scalar, in nats."""

    trace: Trace
    draws: Mapping[str, torch.Tensor]
    log_weight: torch.Tensor


def weighted(program: Program[Any], guide: Program[Any] | None = None) -> Coroutine[Weighted]:
    """Runs one particle. Raises ``GuideMismatch``, ``SubsampledWeight``."""
    proposal = Drawn(Trace(), frozenset()) if guide is None else (yield from drawn(guide))
    given = [name for name, site in proposal.trace.nodes.items() if isinstance(site, Sample)]
    replay = _Replay(program, proposal.trace, given)
    model = yield from drawn(Program(replay.run), hide=given)
    for each in (proposal, model):
        for name in each.names:
            check_not_subsampled(each.trace[name])
    _check_guide(proposal, model)
    draws = {name: torch.as_tensor(value).detach() for name, value in computed_or_drawn(model.trace)}
    draws |= {name: torch.as_tensor(proposal.trace[name].value).detach() for name in given if name in draws}
    terms = [term.detach().sum() for term in (*_terms(proposal, model), *replay.impossible)]
    return Weighted(model.trace, draws, sum(terms, start=torch.zeros(())))


class _Replay:
    """The model at the guide's draws.

    A draw outside of the range of its prior makes the weight zero, whatever comes of it: so that the rest of the run is one, the model
    is given some value inside in its place. ``impossible`` are -inf there, and zero elsewhere.
    """

    def __init__(self, program: Program[Any], trace: Trace, given: Collection[str]) -> None:
        self.impossible: list[torch.Tensor] = []
        self._program, self._given = ReplayPoutine(program.fn, trace)(*program.args, **program.kwargs), given

    def run(self) -> Coroutine[Any]:
        return (yield Handling(self._program, {Sample: Rule(up=self._in_range)}))

    def _in_range(self, site: Sample) -> Message:
        if site.name not in self._given or not is_bounded(site.dist):
            return site
        dist: Any = site.dist
        value = torch.as_tensor(site.value)
        if value.shape != dist.batch_shape + dist.event_shape:
            return site  # which is said when the guide is checked
        inside = contains(dist, value)
        stand_in = value_in_range(dist)
        if stand_in is None or torch._is_all_true(inside) or torch._is_any_true(value.isnan()):
            return site
        self.impossible.append(torch.where(inside | ~torch.as_tensor(site.mask), 0.0, -torch.inf))
        chosen = inside.reshape(inside.shape + (1,) * len(dist.event_shape))
        return site.evolve(value=torch.where(chosen, value, stand_in.to(value.dtype)))


def _terms(proposal: Drawn, model: Drawn) -> Iterator[torch.Tensor]:
    """The terms of log p - log q."""
    for name, site in model.trace.nodes.items():
        if not isinstance(site, Choice):
            continue
        if name not in model.names:
            yield score(site)
        elif isinstance(site.scale, torch.Tensor) or site.scale != 1.0:  # else p and q are the same
            yield batch_log_density(site) - batch_log_density(site.evolve(scale=1.0))
    for name in proposal.trace:
        if name in proposal.names:
            yield -batch_log_density(proposal.trace[name].evolve(scale=1.0))


def _check_guide(proposal: Drawn, model: Drawn) -> None:
    for name, site in proposal.trace.nodes.items():
        if isinstance(site, Observe):
            raise GuideMismatch(f"the guide observes {name!r}; a guide only draws")
        if not isinstance(site, Sample) or is_subsample(site):
            continue
        ours = model.trace.nodes.get(name)
        if not isinstance(ours, Sample):
            raise GuideMismatch(f"the guide samples {name!r}, which the model {'does not have' if ours is None else f'has as {ours!r}'}")
        shape, expected = tuple(torch.as_tensor(site.value).shape), _shape(ours)
        if shape != expected:
            raise GuideMismatch(f"site {name!r} has shape {expected} in the model, but the guide draws {shape}")


def _shape(site: Choice) -> tuple[int, ...]:
    """The shape of a draw."""
    batch_shape = getattr(site.dist, "batch_shape", None)
    if batch_shape is None:  # no distribution of torch's
        return tuple(torch.as_tensor(site.value).shape)
    return (*batch_shape, *getattr(site.dist, "event_shape", ()))
