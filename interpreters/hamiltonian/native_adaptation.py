"""Adaptation of one chain after a draw, compiled. The formulas and the schedule are those of ``adaptation``."""

from __future__ import annotations

import math
from typing import Any

from interpreters.adaptation import SHRINKAGE, dual_average, is_good, is_scale, scale_of, shrunk, welford
from interpreters.hamiltonian.integrator import cholesky, copy
from interpreters.hamiltonian.jit import jitable
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
    Settings,
)


@jitable
def adapt(chain: Any, settings: Settings, acceptance: float, place: int, diverging: bool) -> None:
    """Changes the step size and the metric of ``chain``, during warmup."""
    draw = chain.counts[DRAW]
    if draw >= len(settings.schedule):
        return
    adapt_step(chain.averaging, acceptance, settings.target)
    enough = settings.schedule[draw]
    if enough > 0:
        if len(chain.dense):
            adapt_dense(chain, enough)
        elif is_good(place, diverging):
            adapt_diagonal(chain, enough)
    if draw == len(settings.schedule) - 1:
        chain.averaging[LOG_STEP] = chain.averaging[LOG_AVERAGE]


@jitable
def adapt_step(averaging: Any, acceptance: float, target: float) -> None:
    averaging[UPDATES] += 1.0
    averaging[ERROR], averaging[LOG_STEP], averaging[LOG_AVERAGE] = dual_average(
        averaging[ERROR], averaging[LOG_AVERAGE], averaging[UPDATES], averaging[CENTRE], acceptance, target
    )


@jitable
def restart(averaging: Any) -> None:
    """Begins dual averaging again, from the step size in use."""
    averaging[ERROR] = averaging[UPDATES] = 0.0
    averaging[CENTRE] = math.log(SHRINKAGE) + averaging[LOG_STEP]


@jitable
def adapt_diagonal(chain: Any, enough: int) -> None:
    for estimate in range(2):
        chain.counts[ELDER + estimate] += 1
        learn(chain.moments[estimate], chain.counts[ELDER + estimate], chain.position, chain.gradient)
    if chain.counts[YOUNGER] >= enough:
        for row in range(4):
            copy(chain.moments[1, row], chain.moments[0, row])
            chain.moments[1, row, :] = 0.0
        chain.counts[ELDER] = chain.counts[YOUNGER]
        chain.counts[YOUNGER] = 0
    if chain.counts[ELDER] >= 3:
        for i in range(len(chain.scale)):
            scale = scale_of(chain.moments[0, DRAW_SCATTER, i], chain.moments[0, GRADIENT_SCATTER, i])
            if is_scale(scale):
                chain.scale[i] = scale


@jitable
def learn(moments: Any, count: int, position: Any, gradient: Any) -> None:
    for i in range(len(position)):
        moments[DRAW_MEAN, i], moments[DRAW_SCATTER, i] = welford(moments[DRAW_MEAN, i], moments[DRAW_SCATTER, i], count, position[i])
        moments[GRADIENT_MEAN, i], moments[GRADIENT_SCATTER, i] = welford(
            moments[GRADIENT_MEAN, i], moments[GRADIENT_SCATTER, i], count, gradient[i]
        )


@jitable
def adapt_dense(chain: Any, enough: int) -> None:
    chain.counts[ELDER] += 1
    count, mean = chain.counts[ELDER], chain.moments[0, DRAW_MEAN]
    for i in range(len(mean)):
        for j in range(len(mean)):
            chain.scatter[i, j] += (1.0 - 1.0 / count) * (chain.position[i] - mean[i]) * (chain.position[j] - mean[j])
    for i in range(len(mean)):
        mean[i] += (chain.position[i] - mean[i]) / count
    if count >= enough and count > 1:
        set_dense(chain, count)
        chain.scatter[:, :] = 0.0
        mean[:] = 0.0
        chain.counts[ELDER] = 0
        restart(chain.averaging)


@jitable
def set_dense(chain: Any, count: int) -> None:
    """The metric of a window of ``count`` draws. Where the numbers allow no Cholesky factor, the one before stays."""
    for i in range(len(chain.scatter)):
        for j in range(i + 1):
            chain.scatter[i, j] = chain.scatter[j, i] = shrunk(chain.scatter[i, j], count, 1.0 if i == j else 0.0)
    if cholesky(chain.scatter, chain.factor):
        for i in range(len(chain.dense)):
            copy(chain.scatter[i], chain.dense[i])
    else:
        cholesky(chain.dense, chain.factor)
