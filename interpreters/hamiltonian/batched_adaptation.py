"""Adaptation of many chains after a draw, in plain torch: what ``native_adaptation`` does to one."""

from __future__ import annotations

import math

import torch

from interpreters.adaptation import SHRINKAGE, dual_average, is_good, is_scale, scale_of, shrunk, welford
from interpreters.hamiltonian.machine import (
    CENTRE,
    DRAW,
    DRAW_MEAN,
    DRAW_SCATTER,
    ELDER,
    ERROR,
    GRADIENT_MEAN,
    GRADIENT_SCATTER,
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
    if machine.dense.shape[-1]:
        adapt_dense(machine, which[enough > 0], enough[enough > 0])
    else:
        learning = (enough > 0) & good
        adapt_diagonal(machine, which[learning], enough[learning])
    last = which[draw == len(settings.schedule) - 1]
    machine.averaging[last, LOG_STEP] = machine.averaging[last, LOG_AVERAGE]


def adapt_step(averaging: torch.Tensor, which: torch.Tensor, acceptance: torch.Tensor, target: float) -> None:
    averaging[which, UPDATES] += 1.0
    column = averaging[which].unbind(dim=-1)
    updated = dual_average(column[ERROR], column[LOG_AVERAGE], column[UPDATES], column[CENTRE], acceptance, target)
    for name, value in zip((ERROR, LOG_STEP, LOG_AVERAGE), updated, strict=True):
        averaging[which, name] = value


def adapt_diagonal(machine: Machine, which: torch.Tensor, enough: torch.Tensor) -> None:
    moments, counts = machine.moments[which], machine.counts[which]
    counts[:, ELDER:] += 1
    for mean, scatter, value in ((DRAW_MEAN, DRAW_SCATTER, machine.position), (GRADIENT_MEAN, GRADIENT_SCATTER, machine.gradient)):
        learned = welford(moments[:, :, mean], moments[:, :, scatter], counts[:, ELDER:, None], value[which].unsqueeze(1))
        moments[:, :, mean], moments[:, :, scatter] = learned
    takes_over = counts[:, YOUNGER] >= enough
    moments[takes_over, 0], counts[takes_over, ELDER] = moments[takes_over, 1], counts[takes_over, YOUNGER]
    moments[takes_over, 1], counts[takes_over, YOUNGER] = 0.0, 0
    scale = scale_of(moments[:, 0, DRAW_SCATTER], moments[:, 0, GRADIENT_SCATTER])
    known = is_scale(scale) & (counts[:, ELDER, None] >= 3)
    machine.scale[which] = torch.where(known, scale, machine.scale[which])
    machine.moments[which], machine.counts[which] = moments, counts


def adapt_dense(machine: Machine, which: torch.Tensor, enough: torch.Tensor) -> None:
    machine.counts[which, ELDER] += 1
    count = machine.counts[which, ELDER]
    mean, position = machine.moments[which, 0, DRAW_MEAN], machine.position[which]
    delta = position - mean
    shrinking = (1.0 - 1.0 / count.to(delta.dtype))[:, None, None]
    machine.scatter[which] += shrinking * delta.unsqueeze(-1) * delta.unsqueeze(-2)
    machine.moments[which, 0, DRAW_MEAN] = mean + delta / count.unsqueeze(-1)
    full = which[(count >= enough) & (count > 1)]
    if len(full):
        set_dense(machine, full)
        machine.scatter[full], machine.moments[full, 0, DRAW_MEAN], machine.counts[full, ELDER] = 0.0, 0.0, 0
        machine.averaging[full, ERROR] = machine.averaging[full, UPDATES] = 0.0
        machine.averaging[full, CENTRE] = math.log(SHRINKAGE) + machine.averaging[full, LOG_STEP]


def set_dense(machine: Machine, which: torch.Tensor) -> None:
    """The metric of the window that ends. Where the numbers allow no Cholesky factor, the one before stays."""
    count = machine.counts[which, ELDER].to(torch.float64)[:, None, None]
    lower = machine.scatter[which].tril()
    scatter = lower + lower.tril(-1).mT
    metric = shrunk(scatter, count, torch.eye(scatter.shape[-1], dtype=scatter.dtype, device=scatter.device))
    factor, failed = torch.linalg.cholesky_ex(metric)
    sound = failed == 0
    machine.dense[which[sound]], machine.factor[which[sound]] = metric[sound], factor[sound]
