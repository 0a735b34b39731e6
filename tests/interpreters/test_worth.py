"""Models are compiled where that pays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.distributions import Normal

from interpreters.density import density
from interpreters.hamiltonian.worth import eager, worthwhile
from poutine import Observe, Program, Sample

F64 = torch.float64


def model(y: torch.Tensor):
    x = yield Sample("x", Normal(torch.zeros((), dtype=F64), 1.0))
    yield Observe("y", Normal(x, 1.0), y)


def branching(y: torch.Tensor):
    x = yield Sample("x", Normal(torch.zeros((), dtype=F64), 1.0))
    yield Observe("y", Normal(x if x > 0 else -x, 1.0), y)


Y = torch.tensor([1.0, 2.0], dtype=F64)


@pytest.mark.slow
def test_long_jobs_are_compiled_and_short_ones_only_if_they_were_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    target = density(Program(model, Y))
    monkeypatch.setattr("interpreters.hamiltonian.worth._seconds", lambda target, num_chains: 1e-3)
    assert worthwhile(target, 2, 5).kernel is None
    with monkeypatch.context() as slow:
        slow.setattr("interpreters.compiled._SECONDS", 3.0)  # where the job takes 2
        assert worthwhile(target, 2, 25).kernel is None
    assert not list(tmp_path.rglob("*.so"))
    assert worthwhile(target, 2, 100_000).kernel is not None
    assert list(tmp_path.rglob("*.so"))
    assert worthwhile(density(Program(model, Y + 1)), 2, 25).kernel is not None
    assert worthwhile(target, 2, 5).kernel is None


def test_a_model_that_asks_for_values_is_eager_one_chain_after_the_other():
    target = eager(density(Program(branching, Y)), 3)
    positions = torch.tensor([[1.0], [-1.0], [0.5]], dtype=F64)
    values, gradients = target.batched(positions)
    expected = [density(Program(branching, Y)).value_and_grad(position) for position in positions]
    assert torch.equal(values, torch.stack([value for value, _ in expected]))
    assert torch.equal(gradients, torch.stack([gradient for _, gradient in expected]))
