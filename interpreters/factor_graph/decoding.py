"""From the last step of an elimination to its first: which values the variables have, given those that are known by then.

Each step knows all variables of its product but those that it summed out: they get their values here, drawn from their conditional
distribution, or the most probable ones. So the sums need not be done again: forward filtering and backward sampling, for any graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.distributions import Categorical

from interpreters.factor_graph.contraction import Contraction, Reduce
from interpreters.factor_graph.eliminating import Scanning
from interpreters.factor_graph.factors import Factor, Indices, Plate, Variable, aligned, ordered
from interpreters.factor_graph.scans import levels
from poutine import Coroutine, Sample

Choose = Callable[[str, torch.Tensor], Coroutine[torch.Tensor]]  # (name, logits [draws, ..., k]) to indices [draws, ...]


def drawn(name: str, logits: torch.Tensor) -> Coroutine[torch.Tensor]:
    """An index for each row of ``logits``; a site."""
    index: torch.Tensor = yield Sample(name, Categorical(logits=logits, validate_args=False))
    return index


def best(name: str, logits: torch.Tensor) -> Coroutine[torch.Tensor]:
    """The index of the largest of each row."""
    return logits.argmax(-1)
    yield


def decoded(steps: Iterable[Any], choose: Choose, reduce: Reduce, draws: int = 1) -> Coroutine[Indices]:
    """The values of all variables, [draws, *sizes of ordered plates] each. ``reduce`` is that of the elimination."""
    indices: Indices = {}
    for step in reversed(list(steps)):
        if isinstance(step, Contraction):
            yield from _contracted(step, choose, indices, draws)
        else:
            yield from _scanned(step, choose, reduce, indices, draws)
    return indices


def _contracted(step: Contraction, choose: Choose, indices: Indices, draws: int) -> Coroutine[None]:
    """The variables that a contraction summed out."""
    plates = list(step.plates)
    logits = sum((_logits(factor, step, indices) for factor in step.factors), start=torch.zeros(()))
    sizes = [variable.size for variable in step.summed]
    flat = logits.expand(draws, *(plate.size for plate in plates), *sizes).flatten(1 + len(plates))
    flat = yield from choose("+".join(variable.name for variable in step.summed), flat)
    _assign(indices, step.summed, flat, plates)


def _logits(factor: Factor, step: Contraction, indices: Indices) -> torch.Tensor:
    own = [variable for variable in step.summed if variable in factor.axes]
    rows = factor.at(indices, own)
    plates = factor.plates
    shape = [plate.size if plate in plates else 1 for plate in step.plates] + [v.size if v in own else 1 for v in step.summed]
    return rows.reshape(len(rows), *shape)


def _assign(indices: Indices, variables: tuple[Variable, ...], flat: torch.Tensor, plates: Iterable[Plate]) -> None:
    """The index of several variables together as one of each."""
    for variable in reversed(variables):
        indices[variable] = flat % variable.size
        flat = flat // variable.size


def _scanned(step: Scanning, choose: Choose, reduce: Reduce, indices: Indices, draws: int) -> Coroutine[None]:
    """The states of a chain, from the product of all of its steps down to single ones: at each level those halfway between two known."""
    chain = step.chain
    first, last = ([ends[i] for i in step.states] for ends in (chain.first, chain.last))
    plates = ordered(axis for axis in step.others if isinstance(axis, Plate))
    known = torch.stack([_together(variables, indices, plates, draws) for variables in (first, last)])  # [boundaries, draws, *plates]
    name = "+".join(chain.after[i].name for i in step.states)
    tree = levels(_matrices(step, indices, plates), reduce)
    for number, level in list(enumerate(tree))[-2::-1]:
        known = yield from _halved(f"{name}/{number}", level, known, choose)
    steps = [*plates, chain.plate]
    order = [0, *(1 + steps.index(plate) for plate in ordered(steps))]
    for boundaries, variables in ((known[:-1], chain.before), (known[1:], chain.after)):
        _assign(indices, tuple(variables[i] for i in step.states), boundaries.movedim(0, -1).permute(order), ())


def _matrices(step: Scanning, indices: Indices, plates: list[Plate]) -> torch.Tensor:
    """What the chain's states have to do with one another: [steps, draws or 1, *plates, k, k]."""
    fixed = [axis for axis in step.others if isinstance(axis, Variable)]
    order = [step.others.index(axis) + 1 for axis in (*fixed, *plates)]
    matrices = step.matrices.permute([*order, 0, -2, -1])
    inside = [torch.arange(plate.size).reshape(-1, *[1] * (len(plates) - i - 1)) for i, plate in enumerate(plates)]
    chosen = [aligned(indices[variable], variable.plates, plates) for variable in fixed]
    taken = matrices[tuple(chosen + inside)] if fixed else matrices.unsqueeze(0)
    return taken.movedim(-3, 0)


def _together(variables: list[Variable], indices: Indices, plates: list[Plate], draws: int) -> torch.Tensor:
    """The index of several variables as one."""
    total = torch.zeros([draws] + [plate.size for plate in plates], dtype=torch.int64)
    for variable in variables:
        total = total * variable.size + aligned(indices[variable], variable.plates, plates)
    return total


def _halved(name: str, level: torch.Tensor, known: torch.Tensor, choose: Choose) -> Coroutine[torch.Tensor]:
    """The states at all boundaries of a level, where ``known``, [boundaries, draws, *plates], are those of the level above."""
    count = len(level) // 2
    rank = known.dim() - 1
    wide = level.expand(len(level), *known.shape[1:], *level.shape[-2:])
    before, after = known[:count], known[1 : count + 1]
    left = torch.take_along_dim(wide[0 : 2 * count : 2], before[..., None, None], -2).squeeze(-2)
    right = torch.take_along_dim(wide[1 : 2 * count : 2], after[..., None, None], -1).squeeze(-1)
    middle = yield from choose(name, (left + right).movedim(0, rank))
    pairs = torch.stack([before, middle.movedim(rank, 0)], 1).flatten(0, 1)
    return torch.cat([pairs, known[count:]])
