"""Predictions: what a model says of new data, given each draw of a posterior, or of the prior.

1. Observations become samples again, of the shape that was observed, and are drawn anew; the latent sites are those of the draw.
2. Its draws are messages, so that the seed governs them: those of batch b are named ``"batch_b/name"``.
3. Draws run in batches (``vmapped``), where the model can; otherwise one by one.
4. Of weighted draws (``importance``), it is the equally weighted ones that predict: ``posterior.resampled()``.

A factor is no observation: it has no prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs
import torch

from interpreters.errors import NotVectorizable
from interpreters.posterior import Posterior
from interpreters.precision import with_double_parameters, with_doubles
from interpreters.replies import as_index
from interpreters.sampled_posterior import SampledPosterior
from interpreters.vmapped import vmapped
from interpreters.weighted.drawn import Drawn, drawn
from interpreters.weighted.numbered import NumberedPoutine
from interpreters.weighted.particles import joined_draws
from interpreters.weighted.vectorization import Row, batch_size, try_two
from poutine import (
    Coroutine,
    Deterministic,
    Handling,
    Message,
    Observe,
    ParamStore,
    Poutine,
    Program,
    Rule,
    Rules,
    Runtime,
    Sample,
    SubstitutePoutine,
    Trace,
    TracePoutine,
    answer,
    as_program,
    run,
)

P = TypeVar("P", SampledPosterior, Posterior)


class PredictPoutine(Poutine):
    """Turns every observation into an undecided sample of the shape that was observed; factors stay.

    Not to be confused with uncondition, after which many observations that share one distribution are a single draw.
    """

    def rules(self) -> Rules:
        def again(site: Observe) -> Message:
            if not torch.as_tensor(site.value).numel():
                return site
            dist: Any = with_double_parameters(site).dist  # as the density scores it
            return site.unobserved().evolve(fn=dist.expand(_batch_shape(site)), args=(), kwargs={})

        return {Observe: Rule(up=again)}


def predict(program: Program[Any] | Callable[..., Any], posterior: P, *, seed: int = 0, params: ParamStore | None = None) -> P:
    """``posterior`` with new observations for each draw as ``predictive``. ``program`` may have other data than it was fitted to.

    ::

        predicted = predict(program, posterior, seed=1).predictive["y"]     # of importance [num_resampled, *shape], of chains [chains, draws, *shape]

    An observation that only some draws have is nan in the others. Raises ``ValueError`` if ``block`` hides samples of the program, so that
    the posterior has no draws of them, ``UnusedNames`` if the program has not the sites of the posterior.
    """
    return attrs.evolve(posterior, predictive=run(Program(predictions, program, posterior, params), seed, params))


def predict_prior(
    program: Program[Any] | Callable[..., Any], posterior: P, num_draws: int = 1000, *, seed: int = 0, params: ParamStore | None = None
) -> P:
    """``posterior`` with draws of the ``prior``, and new observations for each, as ``prior_predictive``; one chain of ``num_draws``.

    Raises what the program raises, ``DistributionError`` at an improper prior: it cannot be drawn from.
    """
    draws: dict[str, torch.Tensor] = run(Program(prior_predictions, as_program(program), num_draws, seed, params), seed, params)
    if isinstance(posterior, Posterior):
        draws = {name: values.squeeze(0) for name, values in draws.items()}
    latent = {name: values for name, values in draws.items() if name not in posterior.observed}
    observed = {name: values for name, values in draws.items() if name in posterior.observed}
    return attrs.evolve(posterior, prior=latent, prior_predictive=observed)


def predictions(
    program: Program[Any] | Callable[..., Any], posterior: SampledPosterior | Posterior, params: ParamStore | None = None
) -> Coroutine[Row]:
    """New observations by name of site, given each draw of ``posterior``: each [chains, draws, *shape], or [num_resampled, *shape]."""
    program = as_program(program)
    varies = False  # from draw to draw, which sites there are
    if isinstance(posterior, Posterior):
        known, shape = posterior.resampled(), torch.Size((len(posterior.ancestors),))
        first: Row = _present(_at(known, 0))
        varies = any(bool(_is_missing(values).any()) for values in known.values())
    else:
        program = with_doubles(program)  # as the density that its draws are from
        known, shape = {name: values.flatten(0, 1) for name, values in posterior.draws.items()}, torch.Size(posterior.num_draws)
        first = _at(known, 0)
    trace = _trace(program, first, params)
    latent = {name: values for name, values in known.items() if varies or not isinstance(trace.nodes.get(name), Deterministic)}

    def predicting(row: Row) -> Program[Row]:
        given = SubstitutePoutine(PredictPoutine(program.fn), _present(row) if varies else row, strict=not varies)
        return Program(_only_drawn, Program(_with_indices, given(*program.args, **program.kwargs)), list(latent))

    found = yield from _each(predicting, shape.numel(), latent, batch_size(trace), 0, params)
    return {name: values.reshape(*shape, *values.shape[1:]) for name, values in found.items()}


def _with_indices(program: Program[Any]) -> Coroutine[Any]:
    """Draws that are missing in some particles are floats, whatever they were."""
    return (yield Handling(program, {Sample: Rule(up=as_index)}))


def _trace(program: Program[Any], given: Row, params: ParamStore | None) -> Trace:
    """A run at the values ``given``, of which it has copies: it may change them in place.

    Raises ``ValueError`` if ``block`` hides samples: a posterior has no draws of them.
    """
    own = {name: value.clone() for name, value in given.items()}
    first: Program[Any] = Program(_with_indices, SubstitutePoutine(program.fn, own, strict=False)(*program.args, **program.kwargs))
    answers, hidden = Runtime(params=params), list[str]()
    draw = answers[Sample]

    def noted(site: Sample) -> Message:
        if not site.is_decided:
            hidden.append(site.name)
        return draw(site)

    answers.hidden = {Sample: noted}
    trace = answer(TracePoutine(first.fn).traced(*first.args, **first.kwargs), answers)
    if hidden:
        raise ValueError(
            f"the posterior has no draws of {', '.join(dict.fromkeys(hidden))}, which block hides, so nothing can be predicted from them; fit "
            "and predict the program without the block"
        )
    return trace


def _is_missing(values: torch.Tensor) -> torch.Tensor:
    """Which of the rows are of particles that have no such site."""
    return values.isnan().reshape(len(values), -1).all(1) if values.numel() else torch.zeros(len(values), dtype=torch.bool)


def _present(row: Row) -> Row:
    return {name: value for name, value in row.items() if not bool(_is_missing(value.unsqueeze(0)))}


def prior_predictions(program: Program[Any], num_draws: int, seed: int = 0, params: ParamStore | None = None) -> Coroutine[Row]:
    """Samples, computed values and observations of ``program``, drawn from it, by name of site, each [1, num_draws, *shape].

    ``seed`` is that of the runs which find out whether the program runs for many draws at once; it governs no draw.
    """
    generative = PredictPoutine(program.fn)(*program.args, **program.kwargs)
    alone: Drawn = run(Program(drawn, generative), seed, params)
    found = yield from _each(lambda _: Program(_drawn_or_computed, generative), num_draws, {}, batch_size(alone.trace), seed, params)
    return {name: values.unsqueeze(0) for name, values in found.items()}


def _each(make: Callable[[Row], Program[Row]], number: int, given: Row, size: int, seed: int, params: ParamStore | None) -> Coroutine[Row]:
    """What ``make(row)`` returns for each of ``number`` rows of ``given``, by name, [number, *shape]: ``size`` at once or, where that cannot be, one."""
    try:
        try_two(make, _at(given, torch.tensor([0, -1])), seed=seed, params=params)
    except NotVectorizable:
        size = 1
    parts: list[Row] = []
    sizes: list[int] = []
    for b, start in enumerate(range(0, number, size)):
        rows = range(start, min(start + size, number))
        try:
            parts.append((yield from _some(make, given, rows, f"batch_{b}")))
            sizes.append(len(rows))
        except NotVectorizable:
            for row in rows:
                parts.append((yield from _some(make, given, range(row, row + 1), f"draw_{row}")))
                sizes.append(1)
    return joined_draws(parts, sizes)


def _some(make: Callable[[Row], Program[Row]], given: Row, rows: range, label: str) -> Coroutine[Row]:
    """The part of some rows. Raises ``NotVectorizable``."""
    if len(rows) > 1:
        together: Row = yield from NumberedPoutine(vmapped, label)(make, len(rows), _at(given, slice(rows.start, rows.stop)))
        return together
    one = make(_at(given, rows.start))
    alone: Row = yield from NumberedPoutine(one.fn, label)(*one.args, **one.kwargs)
    return {name: value.unsqueeze(0) for name, value in alone.items()}


def _only_drawn(program: Program[Any], hide: Sequence[str]) -> Coroutine[Row]:
    found: Drawn = yield from drawn(program, hide)
    return {name: torch.as_tensor(found.trace[name].value) for name in found.trace if name in found.names}


def _drawn_or_computed(program: Program[Any]) -> Coroutine[Row]:
    found: Drawn = yield from drawn(program)
    return dict(found.values)


def _at(given: Row, index: Any) -> Row:
    return {name: values[index] for name, values in given.items()}


def _batch_shape(site: Any) -> torch.Size:
    """The batch shape of an observation: many may share one distribution."""
    value = torch.as_tensor(site.value)
    batch = value.shape[: value.dim() - len(site.dist.event_shape)]
    return torch.Size(torch.broadcast_shapes(site.dist.batch_shape, batch))  # type: ignore[no-untyped-call]  # torch's own
