"""The bijections that torch lacks: equality, and shapes told without a value."""

from __future__ import annotations

import torch
from torch.distributions import constraints

from poutine.bijections import bijection_to


def test_the_bijections_of_matrices_are_equal_by_kind_and_tell_shapes():
    cholesky, positive = bijection_to(constraints.lower_cholesky), bijection_to(constraints.positive_definite)
    assert cholesky == bijection_to(constraints.lower_cholesky) and cholesky != bijection_to(constraints.corr_cholesky)
    for bijection in (cholesky, positive):
        assert bijection.forward_shape((2, 6)) == (2, 3, 3) and bijection.inverse_shape((2, 3, 3)) == (2, 6)
        assert bijection(torch.zeros(2, 6)).shape == (2, 3, 3)
