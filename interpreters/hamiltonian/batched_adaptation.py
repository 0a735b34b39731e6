"""Adaptation of many chains after a draw, in plain torch: what ``native_adaptation`` does to one."""

from __future__ import annotations

import torch

from interpreters.adaptation import dual_average, is_good, welford
from interpreters.hamiltonian.batched_metric import be_diagonal, learned_products, renew, set_scale
from interpreters.hamiltonian.machine import (
    CENTRE,
    DRAW,
    DRAW_MEAN,
    DRAW_SCATTER,
    ELDER,
    ERROR,
    GRADIENT_MEAN,
    GRADIENT_SCATTER,
    KEPT,
    LOG_AVERAGE,
    LOG_STEP,
    UPDATES,
    YOUNGER,
    Machine,
    Settings,
)


def adapt(
    machine: Machine, settings: Settings, which: torch.Tensor, acceptance: torch.Tensor, place: torch.Tensor, diverging: torch.Tensor
) -> None:
    """Changes the step sizes and metrics of the chains ``which`` that are in warmup. The other arguments are as long as it."""
    warming = machine.counts[which, DRAW] < len(settings.schedule)
    which, acceptance, good = which[warming], acceptance[warming], is_good(place, diverging)[warming]
    draw = machine.counts[which, DRAW]
    adapt_step(machine.averaging, which, acceptance, settings.target)
    enough = torch.from_numpy(settings.schedule).to(draw.device)[draw]
    learning = (enough > 0) & good
    adapt_metric(machine, which[learning], enough[learning], settings.most_uneven)
    last = which[draw == len(settings.schedule) - 1]
    machine.averaging[last, LOG_STEP] = machine.averaging[last, LOG_AVERAGE]


def adapt_step(averaging: torch.Tensor, which: torch.Tensor, acceptance: torch.Tensor, target: float) -> None:
    averaging[which, UPDATES] += 1.0
    column = averaging[which].unbind(dim=-1)
    updated = dual_average(column[ERROR], column[LOG_AVERAGE], column[UPDATES], column[CENTRE], acceptance, target)
    for name, value in zip((ERROR, LOG_STEP, LOG_AVERAGE), updated, strict=True):
        averaging[which, name] = value


def adapt_metric(machine: Machine, which: torch.Tensor, enough: torch.Tensor, most_uneven: float) -> None:
    moments, counts = machine.moments[which], machine.counts[which]
    counts[:, ELDER : YOUNGER + 1] += 1
    seen = counts[:, ELDER : YOUNGER + 1, None]
    if machine.dense.shape[-1]:
        machine.products[which] = learned_products(machine, which, seen)
    for mean, scatter, value in ((DRAW_MEAN, DRAW_SCATTER, machine.position), (GRADIENT_MEAN, GRADIENT_SCATTER, machine.gradient)):
        learned = welford(moments[:, :, mean], moments[:, :, scatter], seen, value[which].unsqueeze(1))
        moments[:, :, mean], moments[:, :, scatter] = learned
    machine.moments[which], machine.counts[which] = moments, counts
    full = which[counts[:, YOUNGER] >= enough]
    if machine.dense.shape[-1] and len(full):
        renew(machine, full, most_uneven)
    take_over(machine, full)
    adapt_scale(machine, which[(machine.counts[which, ELDER] >= 3) & (machine.counts[which, KEPT] == 0)])


def take_over(machine: Machine, which: torch.Tensor) -> None:
    for sums in (machine.moments, machine.products):
        sums[which, 0] = sums[which, 1]
        sums[which, 1] = 0.0
    machine.counts[which, ELDER] = machine.counts[which, YOUNGER]
    machine.counts[which, YOUNGER] = 0


def adapt_scale(machine: Machine, which: torch.Tensor) -> None:
    set_scale(machine, which, machine.moments[which, 0, DRAW_SCATTER], machine.moments[which, 0, GRADIENT_SCATTER])
    be_diagonal(machine, which)
