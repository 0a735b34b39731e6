"""What results hold of the values of sites."""

from __future__ import annotations

import numpy
import pytest
import torch
from torch.distributions import Normal

from interpreters import importance, nuts
from interpreters.density import density
from interpreters.numeric import is_numeric
from poutine import Deterministic, Program, Sample


@pytest.mark.parametrize(("value", "expected"), [
    (torch.tensor(1.0), True), (torch.tensor([True]), True), (1, True), (True, True), (1.5, True), (numpy.arange(3), True),
    (numpy.float32(1), True), (torch.tensor(1j), False), (1j, False), (10**30, False), ("text", False), (None, False), ({"a": 1}, False),
    (numpy.array(["a"]), False), (numpy.array([1j]), False),
    (torch.tensor(1.0, dtype=torch.bfloat16), True), (numpy.uint64(2**63 + 5), False), (torch.eye(2).to_sparse(), False),
])  # fmt: skip
def test_real_numbers_that_torch_has(value, expected):
    assert is_numeric(value) is expected


def noting():
    x = yield Sample("x", Normal(0.0, 1.0))
    for name, value in (("text", "text"), ("none", None), ("dict", {"a": 1}), ("huge", 10**30), ("complex", torch.complex(x, x))):
        yield Deterministic(name, value)
    yield Deterministic("twice", 2 * x)
    yield Deterministic("short", x.bfloat16())


def test_what_they_cannot_hold_is_left_out_and_stops_nobody():
    d = density(noting)
    assert list(d.constrain(torch.zeros(1, dtype=torch.float64))) == ["x", "twice", "short"]
    for posterior in (importance.infer(noting, 10), nuts.infer(Program(noting), 1, 20, 20)):
        assert [*posterior.draws] == ["x", "twice", "short"]
        assert posterior.to_arviz().posterior["short"].dtype.kind == "f"
