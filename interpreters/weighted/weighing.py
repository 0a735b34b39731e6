"""One particle: a run of the guide and of the model at the guide's draws, and its weight."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import attrs
import torch

from interpreters.errors import GuideMismatch
from interpreters.ranges import is_bounded, value_in_range
from interpreters.replies import as_index
from interpreters.weighted.drawn import Drawn, drawn
from interpreters.weighted.proposed import counted, log_proposal
from interpreters.weighted.scores import check_not_subsampled, score
from poutine import (
    Choice,
    Coroutine,
    Deterministic,
    Handling,
    Message,
    Observe,
    Program,
    ReplayPoutine,
    Rule,
    Sample,
    Trace,
    batch_log_density,
)
from poutine.priors import checked
from poutine.supports import contains
from poutine.trace_graph import is_subsample


@attrs.frozen(eq=False)
class Weighted:
    """A particle: the model's trace, what it draws and computes by name of site, and the log weight, a scalar, in nats.

    latent:  the names of what was drawn, by the guide or by the model.
    """

    trace: Trace
    draws: Mapping[str, torch.Tensor]
    log_weight: torch.Tensor
    latent: frozenset[str] = frozenset()


def weighted(program: Program[Any], guide: Program[Any] | None = None) -> Coroutine[Weighted]:
    """Runs one particle. Raises ``GuideMismatch``, ``SubsampledWeight``."""
    log_q: dict[str, torch.Tensor] = {}
    proposal = Drawn(Trace(), frozenset(), {}) if guide is None else (yield from drawn(guide, score=partial(_propose, log_q)))
    given = [name for name, site in proposal.trace.nodes.items() if isinstance(site, Sample)]
    replay = _Replay(program, proposal.trace, given, log_q)
    model = yield from drawn(Program(replay.run), given, replay.score)
    _check_all_replayed(proposal.trace, model.trace)
    draws = {**model.values, **{name: value for name, value in proposal.values.items() if name in model.values}}
    terms = [term.detach().sum() for term in (*model.terms, *replay.impossible)]
    log_weight = sum(terms, start=torch.zeros(()))
    return Weighted(model.trace, {name: value.detach() for name, value in draws.items()}, log_weight, proposal.names | model.names)


def _propose(log_q: dict[str, torch.Tensor], site: Any, is_drawn: bool) -> None:
    """Notes the density of a guide's draw."""
    if isinstance(site, Observe):
        raise GuideMismatch(f"the guide observes {site.name!r}; a guide only draws")
    if is_drawn:
        check_not_subsampled(site)
        log_q[site.name] = log_proposal(site)


class _Replay:
    """The model at the guide's draws.

    A draw outside of the range of its prior makes the weight zero, whatever comes of it: so that the rest of the run is one, the model
    is given some value inside in its place. ``impossible`` are -inf there, and zero elsewhere.
    """

    def __init__(self, program: Program[Any], trace: Trace, given: Collection[str], log_q: Mapping[str, torch.Tensor]) -> None:
        self.impossible: list[torch.Tensor] = []
        self._program = ReplayPoutine(program.fn, trace)(*program.args, **program.kwargs)
        self._given, self._trace, self._log_q = given, trace, log_q

    def run(self) -> Coroutine[Any]:
        return (yield Handling(self._program, {Sample: Rule(up=self._in_range)}))

    def score(self, site: Any, is_drawn: bool) -> torch.Tensor | None:
        """The term of log p, of which log q is taken: of what the model draws itself, and of what the guide has drawn."""
        if is_drawn:
            check_not_subsampled(site)
            is_plain = not isinstance(site.scale, torch.Tensor) and site.scale == 1.0  # then p and q are the same
            return None if is_plain else batch_log_density(site) - batch_log_density(site.evolve(scale=1.0))
        if isinstance(site, Sample) and site.name in self._given and not is_subsample(site):
            theirs: Any = self._trace[site.name]
            check_guided(site, theirs)
            if site.name in self._log_q:
                log_q, shape = self._log_q[site.name], _shape(site)
                batch = (
                    shape[: len(shape) - len(getattr(site.dist, "event_shape", ()))] if hasattr(site.dist, "batch_shape") else log_q.shape
                )
                return score(site).sum() - counted(log_q, site, theirs.dist, torch.Size(batch)).sum()
        return score(site)

    def _in_range(self, site: Sample) -> Message:
        if site.name not in self._given:
            return site
        inside, impossible = in_range(site)
        if impossible is not None:
            self.impossible.append(impossible)
        return as_index(inside)


def in_range(site: Sample) -> tuple[Sample, torch.Tensor | None]:
    """``site`` with a value in the range of its distribution, and -inf where its own was not, but for its mask; None if it was everywhere."""
    if not is_bounded(site.dist):
        return site, None
    dist: Any = site.dist
    value = torch.as_tensor(site.value)
    if value.shape != dist.batch_shape + dist.event_shape:
        return site, None  # which is said when the guide is checked
    inside = contains(dist, value)
    stand_in = value_in_range(dist)
    if stand_in is None or torch._is_all_true(inside) or torch._is_any_true(value.isnan()):
        return site, None
    chosen = inside.reshape(inside.shape + (1,) * len(dist.event_shape))
    settled = site.evolve(value=torch.where(chosen, value, stand_in.to(value.dtype)))
    return settled, torch.where(inside | ~torch.as_tensor(site.mask), 0.0, -torch.inf)


def _check_all_replayed(proposal: Trace, model: Trace) -> None:
    for name, site in proposal.nodes.items():
        if isinstance(site, Deterministic) and isinstance(model.nodes.get(name), Sample):
            raise computed_by_guide(name)
        if isinstance(site, Sample) and not is_subsample(site) and not isinstance(model.nodes.get(name), Sample):
            raise not_in_model(name, model.nodes.get(name))


def computed_by_guide(name: str) -> GuideMismatch:
    """The error that a guide computes what a model samples."""
    return GuideMismatch(f"the guide computes {name!r}, which the model samples; a value is proposed by a Sample of the same name")


def not_in_model(name: str, site: Message | None) -> GuideMismatch:
    """The error that a guide samples what a model does not sample, but has as ``site``, if at all."""
    has = "does not have" if site is None else f"has as {site!r}"
    return GuideMismatch(f"the guide samples {name!r}, which the model {has}")


def check_guided(ours: Sample, theirs: Choice) -> None:
    """Raises ``GuideMismatch`` if a guide's draw has another shape, or is discrete where the model has a density: these two are no weight.

    ``ParamError`` where the model's site was a param that does not fit.
    """
    shape, expected = tuple(torch.as_tensor(theirs.value).shape), _shape(ours)
    if shape != expected:
        raise GuideMismatch(f"site {ours.name!r} has shape {expected} in the model, but the guide draws {shape}")
    checked(ours, expected)
    discrete = _is_discrete(ours.dist), _is_discrete(theirs.dist)
    if None not in discrete and discrete[0] != discrete[1]:
        said = ["is discrete" if each else "has a density" for each in discrete]
        raise GuideMismatch(
            f"site {ours.name!r} {said[0]} in the model, {ours.dist!r}, but what the guide draws {said[1]}, {theirs.dist!r}"
        )


def _is_discrete(dist: Any) -> bool | None:
    """None if its support does not tell."""
    try:
        return bool(dist.support.is_discrete)
    except (AttributeError, NotImplementedError):
        return None


def _shape(site: Choice) -> tuple[int, ...]:
    """The shape of a draw."""
    batch_shape = getattr(site.dist, "batch_shape", None)
    if batch_shape is None:  # no distribution of torch's
        return tuple(torch.as_tensor(site.value).shape)
    return (*batch_shape, *getattr(site.dist, "event_shape", ()))
