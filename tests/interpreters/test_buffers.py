"""What a program writes in place is found again where it is read: the recorded graph is functional, its gradient right, its loops loops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributions as td
from torch.fx import Interpreter, Node

from interpreters.compiled import compile_density
from interpreters.density import density
from interpreters.kernels.decompositions import decompositions
from interpreters.kernels.gradients import grad_and_value
from interpreters.kernels.graphs import NotStraight, is_mutable
from interpreters.kernels.recording import record
from poutine import Observe, Program, Sample

F64 = torch.float64


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=F64)


Y = normals(12, seed=5)
WEIGHTS = normals(3, 4, seed=6)
MUCH = normals(50, 4, seed=7)


def recursion(u: torch.Tensor) -> torch.Tensor:
    h = zeros(12)
    h[0] = 1.0
    for t in range(1, 12):
        h[t] = torch.sqrt(u[0].exp() + (u[1] * h[t - 1]) ** 2 * Y[t - 1] ** 2)
    return (h**2).sum()


def second_order(u: torch.Tensor) -> torch.Tensor:
    h = zeros(12)
    for t in range(2, 12):
        h[t] = u[0] * h[t - 1] + u[1] * h[t - 2] + Y[t]
    return (h[3:] * h[:-3]).sum()


def rows(u: torch.Tensor) -> torch.Tensor:
    h = zeros(9, 3)
    for t in range(1, 9):
        h[t] = torch.tanh(h[t - 1] + u[:3])
    return (h * h.sum(0)).sum()


def columns(u: torch.Tensor) -> torch.Tensor:
    h = zeros(3, 9)
    for t in range(1, 9):
        h[:, t] = torch.tanh(h[:, t - 1] * u[3] + u[:3])
    return (h * Y[:9]).sum()


def two_states(u: torch.Tensor) -> torch.Tensor:
    h = zeros(9, 2)
    for t in range(1, 9):
        h[t, 0] = u[0] + u[1] * h[t - 1, 1]
        h[t, 1] = torch.sin(h[t, 0]) * u[2]
    return (h**3).sum()


def windows(u: torch.Tensor) -> torch.Tensor:
    e = zeros(12)
    for t in range(3, 12):
        e[t] = Y[t] - (e[t - 3 : t].flip(0) * u[:3]).sum()
    return (e**2).sum()


def everything_so_far(u: torch.Tensor) -> torch.Tensor:
    e = zeros(12)
    for t in range(1, 12):
        e[t] = Y[t] - u[0] * e[:t].sum()
    return (e**2).sum()


def added_in_place(u: torch.Tensor) -> torch.Tensor:
    h = Y.clone()
    h[2:6] += u
    h[5] *= u[0]
    h.mul_(2.0).add_(u[1], alpha=3.0)
    return (h**2).sum()


def on_a_result(u: torch.Tensor) -> torch.Tensor:
    x = u.exp()
    y = x * 2.0
    x -= u[0]
    x.clamp_(min=0.5)
    return (x * y).sum()


def triangle(u: torch.Tensor) -> torch.Tensor:
    lower = zeros(2, 2)
    i = torch.tril_indices(2, 2)
    lower[i[0], i[1]] = u[:3]
    lower.diagonal().exp_()
    return (lower @ lower.T + lower.mT).det()


def halves(u: torch.Tensor) -> torch.Tensor:
    x = zeros(8)
    x[::2] = u
    x[1::2] = u**2
    x[torch.arange(8) > 5] = 0.25
    return (x * Y[:8]).sum() ** 2


def part_of_much(u: torch.Tensor) -> torch.Tensor:
    x = MUCH.clone()
    x[7] = u
    x[30:33, 1:3] = u[:2]
    return (x**2 @ u).sum()


def views(u: torch.Tensor) -> torch.Tensor:
    x = zeros(3, 4)
    first, second, _ = x.unbind(0)
    before = x[1] * 2.0
    first.copy_(u)
    second[1:3] = first[2:] * u[0]
    x.t()[3] = u[1]
    return ((x * WEIGHTS).sum(1) ** 3).sum() + (before * u).sum() + (x.t().reshape(-1) * Y).sum()


def scattered(u: torch.Tensor) -> torch.Tensor:
    x = zeros(5)
    x.index_put_((torch.tensor([1, 1, 3]),), u[:3], accumulate=True)
    x.index_add_(0, torch.tensor([0, 3]), u[2:])
    x.masked_fill_(torch.tensor([False, False, True, False, False]), 2.0)
    return (x**3).sum()


def single_precision(u: torch.Tensor) -> torch.Tensor:
    x = torch.zeros(4)
    x[0] = 0.1
    x[1:] = u[1:].float()
    return (x.double() ** 2 * u).sum()


def passed_on(u: torch.Tensor) -> torch.Tensor:
    x, y = zeros(4), zeros(4)
    x[:2] = u[:2]
    y[1:3] = x[:2]
    x[0] = 7.0
    return (x * u).sum() + (y**2).sum()


def reshaped_in_place(u: torch.Tensor) -> torch.Tensor:
    x = WEIGHTS * u
    y = x * 2.0
    x.t_()
    x[0] = u[:3]
    y.unsqueeze_(0)
    WEIGHTS.clone().t_()
    x.t_()
    return (x @ u).sum() * y[0, 1, 2] + (x * y).sum()


FUNCTIONS = [
    recursion, second_order, rows, columns, two_states, windows, everything_so_far, added_in_place, on_a_result, triangle, halves,
    part_of_much, views, scattered, passed_on, reshaped_in_place,
]  # fmt: skip


def differences(function: Callable[[torch.Tensor], torch.Tensor], u: torch.Tensor, step: float) -> torch.Tensor:
    steps = step * torch.eye(len(u), dtype=F64)
    return torch.stack([(function(u + each) - function(u - each)) / (2 * step) for each in steps])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_node_has_the_shape_of_what_it_computes(function):
    """Also of what was then given another shape in place, as torch does with what it makes on the way, when a batch of vectors is multiplied."""
    captured = record(function, normals(4))
    shapes = []

    class Shapes(Interpreter):
        def run_node(self, n: Node) -> Any:
            result = super().run_node(n)
            if isinstance(result, torch.Tensor) and n.op == "call_function":
                shapes.append((result.shape, n.meta["val"].shape))
            return result

    Shapes(captured.module).run(normals(4), *captured.constants)
    assert all(found == noted for found, noted in shapes)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_written_in_place(function):
    u = normals(4)
    captured = record(function, u)
    assert not any(is_mutable(node.target) for node in captured.graph.nodes)
    lowered = grad_and_value(captured, u, decompositions())
    for _ in range(2):
        for v in (u, normals(4, seed=1), normals(4, seed=2) / 2):
            gradient, value = lowered(v)
            assert torch.isclose(captured(v), function(v), rtol=1e-12)
            assert torch.isclose(value, function(v), rtol=1e-12)
            assert torch.allclose(gradient, differences(function, v, 1e-6), rtol=1e-6, atol=1e-6)


def test_what_is_written_is_rounded_to_what_it_is_written_into():
    u = normals(4)
    captured = record(single_precision, u)
    v = normals(4, seed=1)
    assert captured(v) == single_precision(v)
    gradient, _ = grad_and_value(captured, u, decompositions())(v)
    assert torch.allclose(gradient, differences(single_precision, v, 1e-3), rtol=1e-3, atol=1e-3)


def test_what_is_not_known_is_refused():
    with pytest.raises(NotStraight, match="in the log density"):
        record(lambda u: torch.add(u, 1.0, out=zeros(4)).sum(), normals(4))


def garch(y: torch.Tensor):
    """As in the Stan manual."""
    mu = yield Sample("mu", td.Normal(0.0, 1.0))
    a = yield Sample("a", td.Uniform(zeros(), 1.0))
    b = yield Sample("b", td.Uniform(zeros(), 1.0 - a))
    s = zeros(len(y))
    s[0] = 1.0
    for t in range(1, len(y)):
        s[t] = torch.sqrt(0.1 + a * (y[t - 1] - mu) ** 2 + b * s[t - 1] ** 2)
    yield Observe("y", td.Normal(mu, s), y)


@pytest.mark.slow
def test_a_recursion_in_place_is_a_loop_of_a_native_kernel(tmp_path: Path):
    """Autograd itself has no gradient of it: what it keeps for that is overwritten."""
    d = density(Program(garch, normals(70)))
    u = normals(3)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.functional.vjp(d, u)
    assert torch.allclose(d.value_and_grad(u)[1], differences(d, u, 1e-6), rtol=1e-5, atol=1e-6)
    assert grad_and_value(record(d, u), u, decompositions()).has_loops
    for tier in ("native", "eager"):
        kernel = compile_density(d, tier=tier, cache_dir=tmp_path)
        assert kernel.tier == tier
        for v in (u, normals(3, seed=1)):
            value, gradient = kernel.value_and_grad(v)
            assert torch.isclose(value, d(v))
            assert torch.allclose(gradient, differences(d, v, 1e-6), rtol=1e-5, atol=1e-6)
