"""The discrete sites that a sampler summed out, drawn for each draw of a posterior: which component, which state.

1. Given the continuous sites, the discrete ones have an exact posterior (``elimination``); a draw from it makes the draw whole.
2. The program is run for many draws at once (``vmap``), and their factor graphs are one graph with one more plate. A program that asks
   for the value of a tensor is run for one after the other.
3. What it draws are messages, so that the seed governs them: those of batch b are named ``"batch_b/name"``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
import torch

from interpreters.density import Density, density
from interpreters.elimination import Elimination
from interpreters.factor_graph.collecting import FactorGraph
from interpreters.factor_graph.eliminating import log_evidence
from interpreters.factor_graph.lifting import lifted
from interpreters.results.observed import plate_dims
from interpreters.sampled_posterior import SampledPosterior
from interpreters.weighted.numbered import NumberedPoutine
from poutine import Coroutine, ParamStore, Program, SubstitutePoutine, Trace, TracePoutine, run

_ELEMENTS: Final = 2**22  # of the factors of a batch
Values = Mapping[str, torch.Tensor]


def with_discrete(
    program: Program[Any], posterior: SampledPosterior, *, seed: int = 0, params: ParamStore | None = None
) -> SampledPosterior:
    """``posterior`` with a draw of each discrete site of ``program`` for each of its draws, named and shaped as in a plain run.

    Raises ``ValueError`` if the program has no discrete sites, and what ``density`` raises.
    """
    target = density(program, params)
    if not target.summed:
        raise ValueError("the program has no discrete sites that were summed out")
    known = {name: posterior.draws[name].flatten(0, 1) for name in target.sites}
    trace = _trace_at(target, {name: values[0] for name, values in known.items()})
    shapes = {name: trace[name].value.shape for name in target.summed}
    found: dict[str, torch.Tensor] = run(Program(discrete_draws, target, known, shapes), seed)
    drawn = {name: values.reshape(*posterior.num_draws, *shapes[name]) for name, values in found.items()}
    return attrs.evolve(posterior, draws={**posterior.draws, **drawn}, dims={**posterior.dims, **plate_dims(trace, shapes)})


def discrete_draws(target: Density, known: Values, shapes: Mapping[str, torch.Size]) -> Coroutine[dict[str, torch.Tensor]]:
    """The discrete sites by name, each [n, *shape], given each of n draws of the continuous ones, which are ``known``, [n, *shape]."""
    number = len(next(iter(known.values())))
    size, parts = _batch_size(target, known), []
    for b, start in enumerate(range(0, number, size)):
        graph = _graphs(target, {name: values[start : start + size] for name, values in known.items()})
        exact = Elimination(graph, log_evidence(graph))
        found: dict[str, torch.Tensor] = yield from NumberedPoutine(exact.sample, f"batch_{b}")()
        parts.append({name: found[name].reshape(-1, *shape) for name, shape in shapes.items()})
    return {name: torch.cat([part[name] for part in parts]) for name in shapes}


def _graphs(target: Density, values: Values) -> FactorGraph:
    """The graphs at many draws, as one."""
    graph: Any = None

    def parts(one: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        nonlocal graph
        graph = target.graph(one)
        return (graph.constant, *(factor.tensor for factor in graph.factors))

    with torch.no_grad():
        try:
            constants, *tensors = torch.func.vmap(parts)(dict(values))
        except RuntimeError:  # a program that asks for the value of a tensor
            each = [parts({name: column[i] for name, column in values.items()}) for i in range(len(next(iter(values.values()))))]
            constants, *tensors = (torch.stack(column) for column in zip(*each, strict=True))
    return lifted(graph, tensors, constants)


def _batch_size(target: Density, known: Values) -> int:
    graph = target.graph({name: values[0] for name, values in known.items()})
    return max(1, _ELEMENTS // max(1, sum(factor.tensor.numel() for factor in graph.factors)))


def _trace_at(target: Density, values: Values) -> Trace:
    program = target.program
    return run(
        TracePoutine(SubstitutePoutine(program.fn, dict(values), strict=False)).traced(*program.args, **program.kwargs),
        params=target.params,
    )
