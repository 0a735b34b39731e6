"""Loops over time in a program stay loops in its graph: however many steps, a short graph, and autograd's numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
import torch
import torch.distributions as td

from interpreters.density import Density, density
from interpreters.kernels.batching import Batch
from interpreters.kernels.decompositions import decompositions
from interpreters.kernels.gradients import grad_and_value
from interpreters.kernels.graphs import Captured
from interpreters.kernels.recording import record
from interpreters.kernels.repetition import Loop, loops
from poutine import ImproperUniform, Observe, Program, Sample, factor, markov, ordered

F64 = torch.float64
T = 40  # steps


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=F64)


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


Y = normals(T)


def garch():
    """An observation in each step, that needs the variance of the step before."""
    mu = yield Sample("mu", td.Normal(number(0.0), 1.0))
    a = yield Sample("a", td.Uniform(number(0.0), 1.0))
    b = yield Sample("b", td.Uniform(number(0.0), 1.0 - a))
    variance = number(1.0)
    for t, y in enumerate(Y):
        if t:
            variance = 0.1 + a * (Y[t - 1] - mu) ** 2 + b * variance
        yield Observe(f"y{t}", td.Normal(mu, variance.sqrt()), y)


def stacked():
    """One observation of all steps; the first step is special."""
    mu = yield Sample("mu", td.Normal(number(0.0), 1.0))
    theta = yield Sample("theta", td.Normal(number(0.0), 1.0))
    errors = [Y[0] - mu - theta * mu]
    for before, now in zip(Y[:-1], Y[1:], strict=True):
        errors.append(now - mu - 0.5 * before - theta * errors[-1])
    yield Observe("y", td.Normal(number(0.0), 1.0), torch.stack(errors))


def second_order():
    """Latent values two steps back."""
    a = yield Sample("a", td.Normal(torch.zeros(2, dtype=F64), 0.5))
    z = yield Sample("z", td.Normal(torch.zeros(T, dtype=F64), 1.0))
    x = [z[0], z[1]]
    for t in range(2, T):
        x.append(a[0] * x[t - 1].tanh() + a[1] * x[t - 2] + z[t])
    yield Observe("y", td.Normal(torch.stack(x), 1.0), Y)


def hidden():
    """Vectors from step to step, and a matrix that stays."""
    stay = yield Sample("stay", td.Dirichlet(torch.ones(2, 2, dtype=F64)))
    mu = yield Sample("mu", ImproperUniform(ordered, event_shape=(2,)))
    forward = td.Normal(mu, 1.0).log_prob(Y[0])
    for now in Y[1:]:
        forward = torch.logsumexp(forward[:, None] + stay.log(), 0) + td.Normal(mu, 1.0).log_prob(now)
    yield factor("marginal", torch.logsumexp(forward, 0))


def regression():
    """Nothing is carried from step to step; which group a step belongs to is known, and numbers are Python's."""
    a = yield Sample("a", td.Normal(torch.zeros(3, dtype=F64), 1.0))
    b = yield Sample("b", td.Normal(number(0.0), 1.0))
    for t, y in enumerate(Y.tolist()):
        mean = a[(t * t + t // 5) % 3] + b * (t / T) + (1.5 - t / T) * b.exp()
        yield Observe(f"y{t}", td.Normal(mean, 1.0), y - 0.1 * b)


def two_loops():
    """The second goes over what the first has made, and asks for the last of it."""
    a = yield Sample("a", td.Normal(number(0.0), 0.5))
    x = [a]
    for y in Y:
        x.append(0.5 * x[-1].sin() + a * y)
    level, levels = a.exp(), []
    for value in x[1:]:
        level = level / (1 + level) + value**2
        levels.append(level * 2)
    yield factor("f", torch.stack(levels).log().sum() + x[-1] + level)


def walk(data: torch.Tensor = Y):
    """A state that is a latent site of its own in each step: nothing is carried, its density is of all steps at once."""
    s = yield Sample("s", td.HalfNormal(number(1.0)))
    x = 0.0
    for t, y in enumerate(data):
        x = yield Sample(f"x{t}", td.Normal(x, s))
        yield Observe(f"y{t}", td.Normal(x, 1.0), y)


def cumulated():
    """What is only added up, but looked at on the way."""
    z = yield Sample("z", td.Normal(torch.zeros(T, dtype=F64), 1.0))
    level = z[0]
    for t in range(1, T):
        level = level + z[t] + Y[t]
        yield Observe(f"y{t}", td.Normal(level, 1.0), Y[t])


def chain():
    """The same of a markov loop, on a half-line."""
    s = yield Sample("s", td.HalfNormal(number(1.0)))

    @markov("t", T)
    def step(t, x):
        x = yield Sample("x", td.LogNormal(0.0 if x is None else 0.9 * x.log(), s))
        yield Observe("y", td.Normal(x, 1.0), Y[t])
        return x

    yield from step()


def planar():
    """Two sites in each step, a vector of three and a number, and what depends on the step before that, too."""
    place, before, speed = torch.zeros(3, dtype=F64), torch.zeros(3, dtype=F64), number(0.0)
    for t, y in enumerate(Y):
        speed = yield Sample(f"speed{t}", td.Normal(0.5 * speed, 1.0))
        place, before = (yield Sample(f"place{t}", td.Normal(place - 0.3 * before + speed, 1.0))), place
        yield Observe(f"y{t}", td.Normal(place.sum() * place[1], 1.0), y)


def innovations():
    """Latent steps of their own, of which the state is made: it is carried."""
    s = yield Sample("s", td.HalfNormal(number(1.0)))
    x, xs = number(0.0), []
    for t in range(T):
        x = 0.8 * x.tanh() + s * (yield Sample(f"z{t}", td.Normal(number(0.0), 1.0)))
        xs.append(x)
    yield Observe("y", td.Normal(torch.stack(xs), 1.0), Y)


def windows():
    """Parts that overlap, of a vector and of the columns of a matrix, which is read from its end."""
    z = yield Sample("z", td.Normal(torch.zeros(T + 3, dtype=F64), 1.0))
    w = yield Sample("w", td.Normal(torch.zeros(2, 2 * T + 3, dtype=F64), 1.0))
    for t, y in enumerate(Y):
        two = w[:, -2 * t - 3 : w.shape[1] - 2 * t - 1]
        yield Observe(f"y{t}", td.Normal((z[t : t + 3] ** 2).sum() + (two[0] * two[1].exp()).sum(), 1.0), y)


CARRIED = [garch, stacked, second_order, hidden, two_loops, innovations, cumulated]
LATENT = [walk, chain, planar]


def graph(d: Density) -> Captured:
    u = 0.5 * normals(d.dim, seed=1)
    return grad_and_value(record(d, u), u, decompositions())


@pytest.mark.parametrize("model", [*CARRIED, *LATENT, regression, windows])
def test_the_gradient_is_that_of_autograd(model, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("interpreters.kernels.gradients.ROLLED", 50)
    d = density(Program(model))
    found = graph(d)
    assert found.has_loops == (model in CARRIED)
    assert found.size < 420
    for seed in (2, 3):
        u = 0.7 * normals(d.dim, seed=seed)
        gradient, value = found(u)
        expected, expected_gradient = d.value_and_grad(u)
        assert torch.isclose(value, expected, rtol=1e-10)
        assert torch.allclose(gradient, expected_gradient, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("starts", "width"), [
    (range(0, 20, 2), 2), (range(1, 21, 2), 1), (range(2, 22, 2), 1), (range(0, 10), 3), (range(9, -1, -1), 1), ([0, 5, 3, 3, 0], 2),
    (range(10, 30, 4), 2), (range(12, 32, 4), 2),
])  # fmt: skip
def test_windows(starts, width: int):
    rows = normals(30, 2)
    around = SimpleNamespace(constant=lambda make: make())
    found = Batch._windows(cast(Batch, SimpleNamespace(around=around)), rows, list(starts), width)
    assert torch.equal(found, torch.stack([rows[i : i + width] for i in starts]))


def test_a_short_loop_is_left_alone():
    def short():
        x = yield Sample("x", td.Normal(number(0.0), 1.0))
        for _ in range(5):
            x = x.sin()
        yield factor("f", x)

    assert not graph(density(Program(short))).has_loops


def test_the_length_of_the_graph_does_not_depend_on_the_number_of_steps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("interpreters.kernels.gradients.ROLLED", 50)

    def carried(data: torch.Tensor):
        x = yield Sample("x", td.Normal(number(0.0), 1.0))
        for y in data:
            x = x.sin() + y
        yield factor("f", x)

    def filtered(data: torch.Tensor):
        """What fails is filled with nan, in each step the same; an inverse begins with an identity that is made inside of the loop."""
        q = yield Sample("q", td.HalfNormal(number(1.0)))
        p, eye = torch.eye(2, dtype=F64), torch.eye(2, dtype=F64)
        for y in data:
            s = p + q * eye
            yield Observe(f"y{len(p)}-{y}", td.MultivariateNormal(torch.zeros(2, dtype=F64), s), y.expand(2))
            p = p - p @ torch.linalg.inv(s) @ p + 0.1 * eye

    for model, counts in ((carried, (20, 60)), (walk, (20, 60)), (filtered, (12, 24))):
        short, long = (graph(density(Program(model, normals(steps)))) for steps in counts)
        assert short.size == long.size


def test_the_same_is_added_in_each_step(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("interpreters.kernels.gradients.ROLLED", 50)

    def function(u: torch.Tensor) -> torch.Tensor:
        total = u.sum()
        for i in range(20):
            total = total + u.exp().sum() + u[i].sin()
        return total

    u = normals(20)
    found = grad_and_value(record(function, u), u, decompositions())
    assert found.size < 50
    assert torch.isclose(found(u)[1], function(u))


def test_where_the_loops_are():
    def function(u: torch.Tensor) -> torch.Tensor:
        x = u.sum().exp()
        for i in range(10):
            x = x.sin() * u[i]
        return x.cos()

    u = normals(10)
    nodes = [node for node in record(function, u).graph.nodes if node.op == "call_function"]
    sum_, exp, loop, cos = loops(nodes)
    assert isinstance(loop, Loop)
    assert (len(loop.steps), len(loop.body)) == (10, 3)
    assert {node.name.partition("_")[0] for node in loop.steps[0]} == {"sin", "select", "mul"}
