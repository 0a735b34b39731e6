"""Many factor graphs of one structure as one: which of them it is, is a plate left of all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import torch

from interpreters.factor_graph.collecting import FactorGraph
from interpreters.factor_graph.factors import Factor, Plate, Variable
from interpreters.factor_graph.loops import Chain


def lifted(graph: FactorGraph, tensors: Sequence[torch.Tensor], constants: torch.Tensor) -> FactorGraph:
    """The graphs whose factors have ``tensors``, each [graphs, *shape in graph], and whose ``constants`` are [graphs]."""
    plate = Plate("_graphs", -1 - graph.rank, len(constants))
    every = [
        *graph.variables,
        *(variable for chain in graph.chains for variable in (*chain.first, *chain.before, *chain.after, *chain.last)),
    ]
    to = {variable: _inside(variable, plate, graph.rank) for variable in dict.fromkeys(every)}
    factors = [
        Factor(tensor, (plate, *(to[axis] if isinstance(axis, Variable) else axis for axis in factor.axes)))
        for factor, tensor in zip(graph.factors, tensors, strict=True)
    ]
    return attrs.evolve(
        graph,
        constant=constants.sum(),
        factors=tuple(factors),
        variables=tuple(to[variable] for variable in graph.variables),
        chains=tuple(_of(chain, to) for chain in graph.chains),
        rank=graph.rank + 1,
    )


def _inside(variable: Variable, plate: Plate, rank: int) -> Variable:
    """The variable as it is in each element of ``plate``, whose dimension is left of ``rank`` others."""
    filling, batch = [1] * (rank - len(variable.batch)), variable.batch
    values = variable.values.reshape(variable.size, 1, *filling, *variable.values.shape[1:])
    return attrs.evolve(variable, values=values, plates=variable.plates | {plate}, batch=torch.Size([plate.size, *filling, *batch]))


def _of(chain: Chain, to: Mapping[Variable, Variable]) -> Chain:
    first, before, after, last = (tuple(to[variable] for variable in part) for part in (chain.first, chain.before, chain.after, chain.last))
    return Chain(chain.plate, first, before, after, last)
