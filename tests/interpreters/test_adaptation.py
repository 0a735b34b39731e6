"""Formulas and schedules of the adaptation, and what a sampler makes of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from interpreters.adaptation import (
    NEVER,
    SHRINKAGE,
    dense_schedule,
    diagonal_schedule,
    dual_average,
    is_good,
    is_scale,
    scale_of,
    welford,
)
from interpreters.nuts import nuts
from poutine import Program, run
from tests.interpreters.gaussians import CORRELATED, DIM, NORMAL

RANDOM = np.random.default_rng(0)


def test_dual_averaging_finds_the_step_size_of_the_target():
    """The acceptance is a known function of the step size, with noise: exp(-step) is 0.8 at step 0.2231."""
    error, log_step, average = 0.0, math.log(3.0), 0.0
    centre = log_step + math.log(SHRINKAGE)
    noise = np.random.default_rng(1).normal(0.0, 0.05, 2000)
    for count in range(1, 2001):
        acceptance = min(1.0, max(0.0, math.exp(-math.exp(log_step)) + noise[count - 1]))
        error, log_step, average = dual_average(error, average, float(count), centre, acceptance, 0.8)
    assert math.exp(average) == pytest.approx(-math.log(0.8), rel=0.05)


def test_one_step_of_dual_averaging_by_hand():
    """Hoffman and Gelman, eq. 6, with gamma = 0.05, t0 = 10, kappa = 0.75."""
    error, log_step, average = dual_average(0.0, 123.0, 1.0, 2.0, 0.6, 0.8)
    assert error == pytest.approx(0.2 / 11)
    assert log_step == pytest.approx(2.0 - 0.2 / 11 / 0.05)
    assert average == log_step  # the first average forgets all before


def test_running_moments_are_those_of_all_values():
    values = RANDOM.normal(3.0, 2.0, (50, 4))
    mean, scatter = np.zeros(4), np.zeros(4)
    for count, value in enumerate(values, 1):
        mean, scatter = welford(mean, scatter, count, value)
    np.testing.assert_allclose(mean, values.mean(axis=0))
    np.testing.assert_allclose(scatter, ((values - values.mean(axis=0)) ** 2).sum(axis=0))


def test_the_diagonal_of_independent_normals_is_exact_from_two_draws():
    sd = np.array([0.01, 1.0, 50.0])
    draws = RANDOM.normal(0.0, sd, (2, 3))
    spread = [((x - x.mean(axis=0)) ** 2).sum(axis=0) for x in (draws, -draws / sd**2)]
    np.testing.assert_allclose(scale_of(*spread), sd**2)


def test_what_is_no_scale_is_left_out():
    assert [bool(is_scale(x)) for x in (1.0, 0.0, math.nan, math.inf, 1e21)] == [True, False, False, False, False]


def test_draws_that_did_not_move_teach_nothing():
    index, diverging = torch.tensor([0, 1, 1, 5, -5]), torch.tensor([False, False, True, True, True])
    assert is_good(index, diverging).tolist() == [False, True, False, True, True]


def test_windows_of_the_dense_metric_are_a_third_of_what_came_before():
    schedule = dense_schedule(1000)
    assert (schedule[:30] == 10).all() and schedule[300] == 100 and schedule[637] == 212
    assert (schedule[639:849] == NEVER).all() and schedule[849] == 1 and (schedule[850:] == 0).all()


def test_the_schedule_of_the_diagonal_metric():
    schedule = diagonal_schedule(1000)
    assert (schedule[:300] == 10).all() and (schedule[300:771] == 80).all()
    assert (schedule[771:850] == NEVER).all() and (schedule[850:] == 0).all()
    assert len(diagonal_schedule(0)) == len(dense_schedule(0)) == 0


def test_scales_of_ten_thousand_are_learned():
    chains = run(Program(nuts, NORMAL, num_draws=500), seed=0)
    np.testing.assert_allclose(chains.machine.scale, np.broadcast_to(100.0 ** (np.arange(DIM) - 2), (4, DIM)), rtol=1e-8)
    acceptance = chains.statistics["acceptance_rate"].mean()
    assert 0.75 < float(acceptance) < 0.9
    assert len(set(chains.statistics["step_size"][0].tolist())) == 1


def test_a_correlation_is_learned_by_the_dense_metric():
    chains = run(Program(nuts, CORRELATED, num_warmup=50, num_draws=10, metric="dense"), seed=0)
    for dense, factor in zip(chains.machine.dense, chains.machine.factor, strict=True):
        np.testing.assert_allclose(dense, [[1.0, 0.9], [0.9, 1.0]], rtol=1e-3)
        np.testing.assert_allclose(factor @ factor.T, dense)
