"""The discrete sites that a sampler summed out, drawn for each draw of a posterior: which component, which state.

1. Given the continuous sites, the discrete ones have an exact posterior (``elimination``); a draw from it makes the draw whole. What is
   computed from discrete sites (``Deterministic``) then has a value, too.
2. The program is run for many draws at once (``vmap``), and their factor graphs are one graph with one more plate. A program that asks
   for the value of a tensor is run for one after the other.
3. What it draws are messages, so that the seed governs them: those of batch b are named ``"batch_b/name"``.
4. The same factor graphs tell the log likelihood of each observation that depends on discrete sites of its own (``pointwise``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
import torch

from interpreters.batches.in_turn import at_once
from interpreters.density import Density, density
from interpreters.elimination import Elimination
from interpreters.factor_graph.collecting import FactorGraph
from interpreters.factor_graph.eliminating import log_evidence
from interpreters.factor_graph.hiding import Label, is_label, visible
from interpreters.factor_graph.lifting import lifted
from interpreters.factor_graph.pointwise import Pointwise, pointwise
from interpreters.precision import in_double
from interpreters.results.inference_data import Coords
from interpreters.results.observed import plate_dims
from interpreters.sampled_posterior import Positions, SampledPosterior, trace_at
from interpreters.validation import SkipValidation
from interpreters.weighted.numbered import NumberedPoutine
from interpreters.weighted.scores import score
from poutine import Coroutine, Observe, ParamStore, Program, Trace, run

_ELEMENTS: Final = 2**22  # of the factors of a batch
_NAMED: Final = 4  # sites, in a sentence
Values = Mapping[str, torch.Tensor]


def with_discrete(
    program: Program[Any], posterior: SampledPosterior, *, seed: int = 0, params: ParamStore | None = None
) -> SampledPosterior:
    """``posterior`` with a draw of each discrete site of ``program`` for each of its draws, named and shaped as in a plain run.

    It gets the log likelihood of observations that depend on discrete sites of their own, too.
    Raises ``ValueError`` if the program has no discrete sites, or ``block`` hides continuous ones of which there are no draws (as in a file),
    and what ``density`` raises.
    """
    target = density(program, params)
    if not target.summed:
        raise ValueError("the program has no discrete sites that were summed out")
    return Completion.of(target, posterior, seed).whole(posterior)


def whole_posterior(target: Density, chains: Positions, seed: int = 0, coords: Coords | None = None) -> SampledPosterior:
    """``SampledPosterior.of(target, chains, coords)``, with the discrete sites of ``target``, if there are any."""
    posterior = SampledPosterior.of(target, chains, coords)
    return Completion.of(target, posterior, seed).whole(posterior) if target.summed else posterior


@attrs.frozen(eq=False)
class Completion:
    """How draws of the continuous sites are made whole, some at a time.

    trace:  a plain run of the program at one draw, for names and shapes.
    size:   draws of all chains that are a batch. Whoever has the draws in blocks gets the same if each begins at a multiple of it.
    """

    target: Density
    trace: Trace
    size: int
    seed: int

    @classmethod
    def of(cls, target: Density, posterior: SampledPosterior, seed: int = 0) -> Completion:
        """For ``posterior``, of ``target``, or for one with more draws of as many chains."""
        first = {name: values[:1, :1].flatten(0, 1) for name, values in _continuous(target, posterior).items()}
        trace = trace_at(target, {name: values[0] for name, values in first.items()})
        return cls(target, trace, max(1, _batch_size(target, first) // posterior.num_draws[0]), seed)

    def whole(self, posterior: SampledPosterior, start: int = 0) -> SampledPosterior:
        """``posterior``, whose draws are from ``start`` on, with all sites. ``start`` is a multiple of ``size``."""
        chains, draws = posterior.num_draws
        # By draw, then by chain: so it does not matter how many draws there are.
        known = {name: values.transpose(0, 1).flatten(0, 1) for name, values in _continuous(self.target, posterior).items()}
        drawing: Program[Completed] = Program(discrete_draws, self.target, known, self.trace, self.size * chains, start // self.size)
        found = run(drawing, self.seed)
        drawn = found.draws
        computed = _computed(self.target, {**known, **drawn}, [name for name in self._computed if name not in posterior.draws])
        drawn = visible(drawn) | computed

        def by_chain(values: torch.Tensor) -> torch.Tensor:
            return values.reshape(draws, chains, *values.shape[1:]).transpose(0, 1).contiguous()

        shapes = {name: values.shape[1:] for name, values in drawn.items()}
        likelihood = {name: by_chain(values) for name, values in found.likelihood.items() if name in posterior.observed}
        return attrs.evolve(
            posterior,
            draws={**posterior.draws, **{name: by_chain(values) for name, values in drawn.items()}},
            dims={**posterior.dims, **plate_dims(self.trace, shapes)},
            likelihood={**posterior.likelihood, **likelihood},
            unscored=_sentences({name: why for name, why in found.unscored.items() if name in posterior.observed}),
            hidden={},
        )

    @property
    def _computed(self) -> list[str]:
        return [site.name for site in self.trace.nodes.values() if site.type == "deterministic" and isinstance(site.value, torch.Tensor)]


def _continuous(target: Density, posterior: SampledPosterior) -> dict[str, torch.Tensor]:
    """The draws of the continuous sites, and of those that are hidden by label, each [chains, draws, *shape]."""
    missing = [name.hides for name in target.sites if isinstance(name, Label) and name not in posterior.hidden]
    if missing:
        raise ValueError(
            f"block hides {', '.join(missing)}, so that the posterior has no draws of it, given which discrete sites could be drawn; "
            "nuts.infer draws them itself, before it forgets what is hidden"
        )
    return {name: (posterior.hidden if is_label(name) else posterior.draws)[name] for name in target.sites}


@attrs.frozen(eq=False)
class Completed:
    """draws:     of the discrete sites by name, each [n, *shape]; of those that ``block`` hides by label, each [n, size].

    likelihood:  of the observations that depend on discrete sites of their own, each [n, *batch_shape], in nats.
    unscored:    why others have none, by name.
    """

    draws: dict[str, torch.Tensor]
    likelihood: dict[str, torch.Tensor]
    unscored: dict[str, str]


def discrete_draws(target: Density, known: Values, trace: Trace, size: int | None = None, first: int = 0) -> Coroutine[Completed]:
    """The discrete sites, given each of n draws of the continuous ones, which are ``known``, each [n, *shape], by name.

    trace:  of a plain run, for names and shapes.
    size:   draws of a batch; by default as many as memory allows. ``first`` is the number of the first batch.
    """
    number = len(next(iter(known.values())))
    size, parts = size or _batch_size(target, known), []
    for b, start in enumerate(range(0, number, size), first):
        part = range(start, min(start + size, number))
        graph = _graphs(target, {name: values[part.start : part.stop] for name, values in known.items()})
        exact = Elimination(graph, log_evidence(graph))
        found: dict[str, torch.Tensor] = yield from NumberedPoutine(exact.sample_all, f"batch_{b}")()
        draws = {name: in_double(found[name]).reshape(len(part), -1) for name in target.summed}
        draws |= {name: values.reshape(-1, *trace[name].value.shape) for name, values in visible(draws).items()}
        parts.append(Completed(draws, *_scored(pointwise(graph, lambda name: isinstance(trace.nodes.get(name), Observe)), trace)))
    return Completed(_joined([part.draws for part in parts]), _joined([part.likelihood for part in parts]), parts[0].unscored)


def _scored(found: Pointwise, trace: Trace) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The log likelihoods, each of its site's batch shape, and why others have none."""
    unscored = {
        name: f"given the continuous sites they are not independent, but share {_few(shared)}" for name, shared in found.shared.items()
    }
    likelihood = {}
    for name, numbers in found.densities.items():
        shape = score(trace[name]).shape  # the plain run may have drawn what excludes it
        if numbers[0].numel() == shape.numel():
            likelihood[name] = numbers.reshape(-1, *shape)
        else:
            unscored[name] = "along dimensions of no plate its numbers share a discrete site; make these a plate, or Independent"
    return likelihood, unscored


def _sentences(unscored: Mapping[str, str]) -> tuple[str, ...]:
    sites: dict[str, list[str]] = {}
    for name, why in unscored.items():
        sites.setdefault(why, []).append(name)
    return tuple(f"no pointwise log likelihood of {_few(names)}: {why}" for why, names in sites.items())


def _few(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) <= _NAMED else [*names[: _NAMED - 1], "…", names[-1]])


def _joined(parts: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _computed(target: Density, values: Values, names: list[str]) -> dict[str, torch.Tensor]:
    """What the program computes of all of its sites, each [n, *shape], by name."""

    def at(one: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        trace = trace_at(target, one)
        return tuple(trace[name].value for name in names)

    if not names:
        return {}
    with SkipValidation():
        return dict(zip(names, _at_each(at, values), strict=True))


def _graphs(target: Density, values: Values) -> FactorGraph:
    """The graphs at many draws, as one."""
    graph: Any = None

    def parts(one: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        nonlocal graph
        graph = target.graph(one)
        return (graph.constant, *(factor.tensor for factor in graph.factors))

    constants, *tensors = _at_each(parts, values)
    return lifted(graph, tensors, constants)


def _at_each(function: Callable[[dict[str, torch.Tensor]], tuple[torch.Tensor, ...]], values: Values) -> tuple[torch.Tensor, ...]:
    """``function`` at each of n draws, ``values`` of [n, *shape] by name: at once or, if the program asks for the value of a tensor, in turn."""
    with torch.no_grad():
        try:
            columns: tuple[torch.Tensor, ...] = at_once(function)(dict(values))
        except Exception:  # what is the model's own fault, it will raise again
            number = len(next(iter(values.values())))
            each = [function({name: column[i] for name, column in values.items()}) for i in range(number)]
            columns = tuple(torch.stack(column) for column in zip(*each, strict=True))
    return columns


def _batch_size(target: Density, known: Values) -> int:
    graph = target.graph({name: values[0] for name, values in known.items()})
    return max(1, _ELEMENTS // max(1, sum(factor.tensor.numel() for factor in graph.factors)))
