"""Predictions: what a model says of new data, given each draw of a posterior, or of the prior.

1. Observations become samples again, of the shape that was observed, and are drawn anew; the latent sites are those of the draw.
2. Its draws are messages, so that the seed governs them: those of batch b are named ``"batch_b/name"``.
3. Draws run in batches under a vectorised plate, where the model broadcasts over one: the log densities of all sites at a few draws
   are compared with those at each alone, and a few of each batch run alone once more. Otherwise they run one by one.

A factor is no observation: it has no prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final

import attrs
import torch

from interpreters.errors import NotVectorizable
from interpreters.precision import with_doubles
from interpreters.sampled_posterior import SampledPosterior
from interpreters.weighted.drawn import Drawn, drawn
from interpreters.weighted.numbered import NumberedPoutine
from interpreters.weighted.particles import computed_or_drawn
from interpreters.weighted.vectorization import Vectorization, confirmed, vectorize
from poutine import (
    Choice,
    Coroutine,
    Message,
    Observe,
    ParamStore,
    Poutine,
    Program,
    Rule,
    Rules,
    SubstitutePoutine,
    Trace,
    TracePoutine,
    as_program,
    batch_log_density,
    run,
)

_FEW: Final = 11  # draws that are compared
_ELEMENTS: Final = 2**20  # of a batch

Values = Mapping[str, torch.Tensor]


class PredictPoutine(Poutine):
    """Turns every observation into an undecided sample of the shape that was observed; factors stay.

    Not to be confused with uncondition, after which many observations that share one distribution are a single draw.
    """

    def rules(self) -> Rules:
        def again(site: Observe) -> Message:
            if not torch.as_tensor(site.value).numel():
                return site
            dist: Any = site.dist
            return site.unobserved().evolve(fn=dist.expand(_batch_shape(site)), args=(), kwargs={})

        return {Observe: Rule(up=again)}


def predict(program: Program[Any], posterior: SampledPosterior, *, seed: int = 0, params: ParamStore | None = None) -> SampledPosterior:
    """``posterior`` with new observations for each draw as ``predictive``. ``program`` may have other data than it was fitted to."""
    return attrs.evolve(posterior, predictive=run(Program(predictions, program, posterior, params), seed, params))


def predict_prior(
    program: Program[Any], posterior: SampledPosterior, num_draws: int = 1000, *, seed: int = 0, params: ParamStore | None = None
) -> SampledPosterior:
    """``posterior`` with draws of the ``prior``, and new observations for each, as ``prior_predictive``; one chain of ``num_draws``.

    Raises what the program raises, ``DistributionError`` at an improper prior: it cannot be drawn from.
    """
    draws: dict[str, torch.Tensor] = run(Program(prior_predictions, program, num_draws, seed, params), seed, params)
    latent = {name: values for name, values in draws.items() if name not in posterior.observed}
    observed = {name: values for name, values in draws.items() if name in posterior.observed}
    return attrs.evolve(posterior, prior=latent, prior_predictive=observed)


def predictions(program: Program[Any], posterior: SampledPosterior, params: ParamStore | None = None) -> Coroutine[dict[str, torch.Tensor]]:
    """New observations by name of site, each [chains, draws, *shape], given each draw of ``posterior``."""
    flat = _Draws.of(program, posterior, params)
    chains, draws = posterior.num_draws
    size = flat.batch_size if flat.broadcasts() else 1
    parts: list[dict[str, torch.Tensor]] = []
    for b, start in enumerate(range(0, chains * draws, size)):
        rows = range(start, min(start + size, chains * draws))
        try:
            parts.append((yield from flat.predicted(rows, f"batch_{b}")))
        except NotVectorizable:
            for row in rows:
                parts.append((yield from flat.predicted(range(row, row + 1), f"draw_{row}")))
    return {name: _folded(torch.cat([part[name] for part in parts]), chains) for name in (parts[0] if parts else {})}


def prior_predictions(
    program: Program[Any], num_draws: int, seed: int = 0, params: ParamStore | None = None
) -> Coroutine[dict[str, torch.Tensor]]:
    """Samples, computed values and observations of ``program``, drawn from it, by name of site, each [1, num_draws, *shape].

    ``seed`` is that of the runs which find out whether the program broadcasts; it governs no draw.
    """
    generative = PredictPoutine(program.fn)(*program.args, **program.kwargs)
    try:
        together: Vectorization | None = vectorize(generative, seed=seed, params=params)
    except NotVectorizable:
        together = None
    parts: list[dict[str, torch.Tensor]] = []
    for b, size in enumerate(together.batches(num_draws) if together else [1] * num_draws):
        try:
            parts.append((yield from _from_the_prior(generative, together, size, f"batch_{b}")))
        except NotVectorizable:
            for i in range(size):
                parts.append((yield from _from_the_prior(generative, None, 1, f"batch_{b}_draw_{i}")))
    return {name: torch.cat([part[name] for part in parts]).unsqueeze(0) for name in parts[0]}


def _from_the_prior(generative: Program[Any], together: Vectorization | None, size: int, label: str) -> Coroutine[dict[str, torch.Tensor]]:
    """``size`` draws, at once or, without a way to do that, a single one: each [size, *shape]. Raises ``NotVectorizable``."""
    if together is None:
        alone: Drawn = yield from NumberedPoutine(drawn, label)(generative)
        return {name: torch.as_tensor(value).unsqueeze(0) for name, value in computed_or_drawn(alone.trace)}
    found: Drawn = yield from NumberedPoutine(drawn, label)(together.plated(generative, size))
    yield from confirmed(generative, found.trace, together.shapes, size)
    return {name: together.rows(name, value, size) for name, value in computed_or_drawn(found.trace)}


@attrs.frozen(eq=False)
class _Draws:
    """The latent values of draws, each [n, *shape], and a trace of the program at the first."""

    source: Program[Any]
    values: Values
    trace: Trace
    params: ParamStore | None

    @classmethod
    def of(cls, program: Program[Any], posterior: SampledPosterior, params: ParamStore | None) -> _Draws:
        program = with_doubles(as_program(program))  # as the density that its draws are from
        values = {name: draws.flatten(0, 1) for name, draws in posterior.draws.items()}
        first = {name: draws[0] for name, draws in values.items()}
        trace = run(TracePoutine(SubstitutePoutine(program.fn, first, strict=False)).traced(*program.args, **program.kwargs), 0, params)
        return cls(program, {name: draws for name, draws in values.items() if trace.nodes[name].type == "sample"}, trace, params)

    @property
    def dim(self) -> int:
        """The dimension of the draws, left of all that the program uses."""
        ranks = [batch_log_density(site).dim() for site in self._choices()]
        computed = [torch.as_tensor(site.value).dim() for site in self.trace.nodes.values() if site.type == "deterministic"]
        return -1 - max([*ranks, *computed], default=0)

    @property
    def batch_size(self) -> int:
        return max(2, _ELEMENTS // max(1, sum(torch.as_tensor(site.value).numel() for site in self._choices())))

    def predicted(self, rows: range, label: str) -> Coroutine[dict[str, torch.Tensor]]:
        """New observations given these draws, each [rows, *shape]. Raises ``NotVectorizable``."""
        count, plated = len(rows), len(rows) > 1
        predicting = self.program(PredictPoutine(self.source.fn), slice(rows.start, rows.stop), plated)
        found: Drawn = yield from NumberedPoutine(drawn, label)(predicting, list(self.values))
        if plated:
            shapes = {site.name: torch.as_tensor(site.value).shape for site in self._choices()}
            again = PredictPoutine(self.source.fn)(*self.source.args, **self.source.kwargs)
            yield from confirmed(again, found.trace, shapes, count)
        return {name: self.rows(name, found.trace[name].value, count) for name in found.trace if name in found.names}

    def program(self, fn: Any, rows: slice, plated: bool) -> Program[Any]:
        """``fn`` in place of the program's own function, at these draws: at one, or at all of them at once."""
        if not plated:
            given = {name: draws[rows.start] for name, draws in self.values.items()}
            return SubstitutePoutine(fn, given)(*self.source.args, **self.source.kwargs)
        given = {name: self._lifted(name, draws[rows]) for name, draws in self.values.items()}
        inner = SubstitutePoutine(fn, given)(*self.source.args, **self.source.kwargs)
        return Vectorization(self.dim, {}, rows.stop - rows.start).plated(inner, rows.stop - rows.start)

    def rows(self, name: str, value: torch.Tensor, count: int) -> torch.Tensor:
        """The value of site ``name`` as [count, *shape]. Raises ``NotVectorizable`` if draws share it."""
        site = self.trace[name]
        shape = (*_batch_shape(site), *site.dist.event_shape)
        if value.numel() != count * prod(shape):
            raise NotVectorizable(f"site {name!r} has shape {tuple(value.shape)} for {count} draws, and {shape} for a single one")
        return value.reshape(count, *shape)

    def broadcasts(self) -> bool:
        """Whether at a few draws at once the sites have the log densities that they have at each alone."""
        few = min(_FEW, len(next(iter(self.values.values()), [])))
        if few < 2:
            return False
        try:
            together: Trace = run(Program(_traced, self.program(self.source.fn, slice(0, few), True)), 0, self.params)
            run(Program(_traced, self.program(PredictPoutine(self.source.fn), slice(0, few), True)), 0, self.params)
            alone: list[Trace] = [
                run(Program(_traced, self.program(self.source.fn, slice(i, i + 1), False)), 0, self.params) for i in range(few)
            ]
            return all(
                self._agrees(together[site.name], torch.stack([batch_log_density(one[site.name]) for one in alone]))
                for site in self._choices()
            )
        except Exception:  # whatever a model raises that does not broadcast
            return False

    def _agrees(self, site: Any, alone: torch.Tensor) -> bool:
        density = batch_log_density(site)
        return density.numel() == alone.numel() and torch.allclose(
            density.reshape(alone.shape).double(), alone.double(), atol=1e-5, rtol=1e-5
        )

    def _lifted(self, name: str, draws: torch.Tensor) -> torch.Tensor:
        """[n, *shape] with the draws in ``dim``, counted from the right of the batch shape."""
        shape = draws.shape[1:]
        batch = len(shape) - len(self.trace[name].dist.event_shape)
        return draws.reshape(len(draws), *[1] * (-self.dim - 1 - batch), *shape)

    def _choices(self) -> Sequence[Any]:
        return [site for site in self.trace.nodes.values() if isinstance(site, Choice)]


def _traced(program: Program[Any]) -> Coroutine[Trace]:
    trace: Trace = yield from TracePoutine(program.fn).traced(*program.args, **program.kwargs)
    return trace


def _batch_shape(site: Any) -> torch.Size:
    """The batch shape of an observation: many may share one distribution."""
    value = torch.as_tensor(site.value)
    batch = value.shape[: value.dim() - len(site.dist.event_shape)]
    return torch.Size(torch.broadcast_shapes(site.dist.batch_shape, batch))  # type: ignore[no-untyped-call]  # torch's own


def _folded(values: torch.Tensor, chains: int) -> torch.Tensor:
    """[chains * draws, *shape] to [chains, draws, *shape]."""
    return values.reshape(chains, -1, *values.shape[1:])
