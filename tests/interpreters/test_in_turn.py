"""Operations that vmap has no rule for: each run's result is its own, nothing is heard of torch, and one line tells of each."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.distributions import Normal

from interpreters.batches.in_turn import at_once
from interpreters.density import density
from interpreters.importance import importance, infer, vectorization_of
from interpreters.vmapped import vmapped
from poutine import Coroutine, Observe, Program, Sample, run, substitute

X = torch.arange(24.0).reshape(3, 8).sin()


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


OPERATIONS: dict[str, Callable[[torch.Tensor], Any]] = {
    "pdist": lambda x: torch.nn.functional.pdist(x[:, None]),
    "histc": lambda x: x.histc(4, -1.0, 1.0),
    "histogram": lambda x: x.histogram(4, range=(-1.0, 1.0)),
    "quantile": lambda x: x.quantile(torch.tensor([0.25, 0.5])),
    "renorm_": lambda x: (x * 2.0).reshape(4, 2).renorm_(2.0, 0, 1.0),
    "take": lambda x: x.take(torch.tensor([0, 7])),
    "put_": lambda x: (x + 0.0).put_(torch.tensor([1, 3]), x[:2]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_run_has_its_own(name: str):
    fn, said = OPERATIONS[name], list[str]()

    def program(row: dict[str, torch.Tensor]) -> Program[Any]:
        return Program(one, row["x"])

    def one(x: torch.Tensor) -> Coroutine[Any]:
        (yield Sample("z", Normal(0.0, 1.0)))
        found = fn(x)
        return [*found] if isinstance(found, tuple) else found

    expected = [fn(x) for x in X]
    for found in (run(Program(vmapped, program, 3, {"x": X}, said.append)), at_once(fn)(X)):
        columns = zip(*expected, strict=True) if isinstance(expected[0], tuple) else [expected]
        for part, column in zip(found if isinstance(found, list | tuple) else [found], columns, strict=True):
            assert torch.equal(part, torch.stack(tuple(column)))
    if isinstance(expected[0], tuple):
        assert torch.equal(at_once(lambda x: fn(x).hist)(X), torch.stack([each.hist for each in expected]))  # they keep their names
    assert len(said) == 1 and f"torch has no batched {name}" in said[0] and f"{__name__.rpartition('.')[2]}.py:" in said[0]


def test_gradients_pass():
    x = X.clone().requires_grad_()
    at_once(OPERATIONS["pdist"])(x).square().sum().backward()
    y = X.clone().requires_grad_()
    torch.stack([OPERATIONS["pdist"](row) for row in y]).square().sum().backward()
    assert torch.allclose(x.grad, y.grad)  # type: ignore[arg-type]  # there are gradients


def far(y: torch.Tensor) -> Coroutine[None]:
    x = yield Sample("x", Normal(torch.zeros(4), 1.0))
    for _ in range(3):
        total = torch.nn.functional.pdist(x[:, None]).sum()
    yield Observe("y", Normal(total, 1.0), y)


def test_a_line_is_told_once_and_weights_are_those_of_particles_alone(caplog: pytest.LogCaptureFixture):
    program = Program(far, torch.tensor(4.0))
    with caplog.at_level(logging.WARNING, "interpreters"):
        infer(program, 100)
    (record,) = caplog.records
    told = "`total = torch.nn.functional.pdist(x[:, None]).sum()` (test_in_turn.py:"
    assert record.getMessage().startswith(told) and "torch has no batched pdist" in record.getMessage()
    together = run(Program(importance, program, 5, None, vectorization_of(program)))
    alone = run(substitute(importance, data={f"particle_{i}/x": x for i, x in enumerate(together.draws["x"])})(program, 5))
    assert torch.allclose(together.log_weights, alone.log_weights)


def test_densities_of_many_positions():
    target = density(Program(far, torch.tensor(4.0)))
    positions = X[:, :4].double()
    expected = torch.stack([target(each) for each in positions])
    assert torch.allclose(target.batch(positions), expected)
    again = at_once(target)
    assert all(torch.allclose(again(positions), expected) for _ in range(2))


def test_what_is_no_tensor_is_refused():
    for fn in (lambda x: torch.equal(x, x), lambda x: x.bincount(minlength=9) if x.sum() else x):
        with pytest.raises(RuntimeError):
            at_once(fn)(X)
    uneven = torch.tensor([[0, 1], [0, 5]])
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        at_once(torch.bincount)(uneven)


def test_outside_of_vmap_and_in_a_nested_one_torch_is_left_alone():
    with torch.autograd.forward_ad.dual_level():
        assert torch.equal(at_once(lambda x: x + OPERATIONS["take"](X[0]).sum())(X), X + OPERATIONS["take"](X[0]).sum())
    nested = at_once(lambda x: torch.func.vmap(lambda row: row.sin())(x.reshape(4, 2)))
    assert torch.equal(nested(X), X.reshape(3, 4, 2).sin())
    filled = at_once(lambda x: (x + 0.0).fill_(1.0))  # what has a rule in place, and none otherwise
    assert torch.equal(filled(X), torch.ones(3, 8))
