"""Adaptation of one chain after a draw, compiled. The formulas and the schedule are those of ``adaptation``."""

from __future__ import annotations

from typing import Any

from interpreters.adaptation import dual_average, is_good, is_scale, scale_of, welford
from interpreters.hamiltonian.integrator import copy
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
    KEPT,
    LOG_AVERAGE,
    LOG_STEP,
    UPDATES,
    YOUNGER,
    Settings,
)
from interpreters.hamiltonian.native_metric import DRAWS, GRADIENTS, be_diagonal, learn_products, renew


@jitable
def adapt(chain: Any, room: Any, settings: Settings, acceptance: float, place: int, diverging: bool) -> None:
    """Changes the step size and the metric of ``chain``, during warmup. ``room``: [3, dim, dim], if the metric is dense."""
    draw = chain.counts[DRAW]
    if draw >= len(settings.schedule):
        return
    adapt_step(chain.averaging, acceptance, settings.target)
    enough = settings.schedule[draw]
    if enough > 0 and is_good(place, diverging):
        adapt_metric(chain, room, enough, settings.most_uneven)
    if draw == len(settings.schedule) - 1:
        chain.averaging[LOG_STEP] = chain.averaging[LOG_AVERAGE]


@jitable
def adapt_step(averaging: Any, acceptance: float, target: float) -> None:
    averaging[UPDATES] += 1.0
    averaging[ERROR], averaging[LOG_STEP], averaging[LOG_AVERAGE] = dual_average(
        averaging[ERROR], averaging[LOG_AVERAGE], averaging[UPDATES], averaging[CENTRE], acceptance, target
    )


@jitable
def adapt_metric(chain: Any, room: Any, enough: int, most_uneven: float) -> None:
    for estimate in range(2):
        chain.counts[ELDER + estimate] += 1
        count, moments = chain.counts[ELDER + estimate], chain.moments[estimate]
        if len(chain.dense):
            learn_products(chain.products[estimate, DRAWS], moments[DRAW_MEAN], count, chain.position)
            learn_products(chain.products[estimate, GRADIENTS], moments[GRADIENT_MEAN], count, chain.gradient)
        learn(moments, count, chain.position, chain.gradient)
    if chain.counts[YOUNGER] >= enough:
        if len(chain.dense):
            renew(chain, room, most_uneven)
        take_over(chain)
    if chain.counts[ELDER] >= 3 and chain.counts[KEPT] == 0:
        for i in range(len(chain.scale)):
            scale = scale_of(chain.moments[0, DRAW_SCATTER, i], chain.moments[0, GRADIENT_SCATTER, i])
            if is_scale(scale):
                chain.scale[i] = scale
        be_diagonal(chain)


@jitable
def take_over(chain: Any) -> None:
    """The younger estimate becomes the elder, and a new one begins."""
    for row in range(4):
        copy(chain.moments[1, row], chain.moments[0, row])
        chain.moments[1, row, :] = 0.0
    for kind in range(2):
        for row in range(len(chain.dense)):
            copy(chain.products[1, kind, row], chain.products[0, kind, row])
            chain.products[1, kind, row, :] = 0.0
    chain.counts[ELDER] = chain.counts[YOUNGER]
    chain.counts[YOUNGER] = 0


@jitable
def learn(moments: Any, count: int, position: Any, gradient: Any) -> None:
    for i in range(len(position)):
        moments[DRAW_MEAN, i], moments[DRAW_SCATTER, i] = welford(moments[DRAW_MEAN, i], moments[DRAW_SCATTER, i], count, position[i])
        moments[GRADIENT_MEAN, i], moments[GRADIENT_SCATTER, i] = welford(
            moments[GRADIENT_MEAN, i], moments[GRADIENT_SCATTER, i], count, gradient[i]
        )
