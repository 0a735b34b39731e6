"""The recorded log evidence is the one that elimination gives, at other values, too, and so is its gradient."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Categorical, MultivariateNormal, Normal, OneHotCategorical, constraints

from interpreters.elimination import eliminate
from interpreters.errors import NotFinite, NotVectorizable, StructureChanged
from interpreters.evidence import evidence
from poutine import Observe, Param, ParamStore, Program, Sample, factor, markov, plate, scale

F64 = torch.float64


def hidden_markov_model(logits, locations, y, vectorized=True):
    @markov("time", len(y), vectorized=vectorized)
    def step(t, x):
        x = yield Sample("x", Categorical, logits=torch.zeros(len(locations), dtype=F64) if x is None else logits[x])
        yield Observe("y", Normal, y[t], locations[x], 1.0)
        return x

    yield from step()


def two_chains(logits, locations, y):
    @markov("time", len(y), vectorized=True)
    def step(t, state):
        a, b = state
        a, b = (yield Sample("a", Categorical(logits=logits[a, b]))), (yield Sample("b", Categorical(logits=logits[b, a])))
        yield Observe("y", Normal(locations[a] + locations[b], 1.0), y[t])
        return a, b

    first = yield Sample("first", Categorical(logits=locations))
    second = yield Sample("second", Categorical(logits=locations))
    yield from step((first, second))


def mixture(weights, locations, y):
    @plate("data", len(y))
    def point(i):
        k = yield Sample("k", Categorical(logits=weights))
        yield Observe("y", Normal(locations[k], 1.0), y[i])
        return k

    yield from point()
    flip = yield Sample("flip", Bernoulli(torch.sigmoid(weights[0])))
    yield factor("f", flip * locations.sum())


def numbers(seed, *shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, dtype=F64, generator=generator).requires_grad_() for shape in shapes]


MODELS = pytest.mark.parametrize(
    ("model", "shapes"),
    [
        (hidden_markov_model, ((3, 3), (3,), (7,))),
        (lambda *of: hidden_markov_model(*of, vectorized=False), ((3, 3), (3,), (4,))),
        (two_chains, ((2, 2, 2), (2,), (6,))),
        (mixture, ((3,), (3,), (5,))),
    ],
    ids=["vectorized", "step by step", "two chains", "mixture"],
)


def value_and_grad(value, inputs):
    return value, *torch.autograd.grad(value, inputs)


@MODELS
def test_at_other_values_it_is_what_elimination_gives(model, shapes):
    recorded = evidence(Program(model, *numbers(0, *shapes)))
    for seed in (0, 1, 2, 1):
        inputs = numbers(seed, *shapes)
        torch.testing.assert_close(
            value_and_grad(recorded(*inputs), inputs),
            value_and_grad(eliminate(Program(model, *inputs)).log_evidence, inputs),
            rtol=1e-10,
            atol=1e-10,
        )


@MODELS
def test_tensors_that_change_in_place_are_read_anew(model, shapes):
    inputs = numbers(0, *shapes)
    recorded = evidence(Program(model, *inputs))
    with torch.no_grad():
        for tensor in inputs:
            tensor.mul_(0.5)
    torch.testing.assert_close(recorded(), eliminate(Program(model, *inputs)).log_evidence)


def test_long_chains_and_what_is_impossible():
    logits, locations, y = numbers(0, (4, 4), (4,), (300,))
    with torch.no_grad():
        logits[1] = torch.tensor([0.0, -torch.inf, -torch.inf, 0.0], dtype=F64)
    recorded = evidence(Program(hidden_markov_model, logits, locations, y))
    torch.testing.assert_close(
        value_and_grad(recorded(), [locations]),
        value_and_grad(eliminate(Program(hidden_markov_model, logits, locations, y, False), max_plate_nesting=1).log_evidence, [locations]),
    )


def test_parameters_learn():
    y = torch.tensor([-2.0, -1.8, 2.1, 1.9, 2.0, -2.2], dtype=F64)

    def model(y):
        locations = yield Param("locations", torch.tensor([-0.5, 0.5], dtype=F64))
        width = yield Param("width", torch.tensor(1.0, dtype=F64), constraint=constraints.positive)

        @plate("data", len(y))
        def point(i):
            k = yield Sample("k", Categorical(logits=torch.zeros(2, dtype=F64)))
            yield Observe("y", Normal(locations[k], width), y[i])

        yield from point()

    params = ParamStore()
    recorded = evidence(Program(model, y), params)
    optimizer = torch.optim.Adam(params.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        (-recorded()).backward()
        optimizer.step()
    assert recorded().item() == pytest.approx(eliminate(Program(model, y), params).log_evidence.item())
    assert params["locations"].tolist() == pytest.approx([-2.0, 2.0], abs=0.05)
    assert params["width"].item() < 0.3


def test_other_shapes_are_refused():
    recorded = evidence(Program(mixture, *numbers(0, (3,), (3,), (5,))))
    with pytest.raises(StructureChanged, match=r"tensors of shapes \(3,\), \(3,\), \(5,\), got \(3,\), \(3,\), \(6,\)"):
        recorded(*numbers(0, (3,), (3,), (6,)))
    with pytest.raises(StructureChanged, match="record anew"):
        recorded(*numbers(0, (3,), (3,)))


def test_what_is_no_tensor_stays_as_it_is_recorded():
    def model(y, width, net=None, names=("a",)):
        z = yield Sample("z", Bernoulli(torch.tensor(0.3, dtype=F64)))
        yield Observe("y", Normal(z if net is None else net(z.reshape(-1, 1)).reshape(z.shape), width), y)

    def names(name="a", number=np.nan):
        return [name, np.array([1.0, number])]

    y, net = torch.tensor(1.0, dtype=F64), torch.nn.Linear(1, 1).double()
    recorded = evidence(Program(model, y, 2.0, net, names=names()))
    again = recorded(y + 1, 2.0, net, names=names())
    assert again.item() == pytest.approx(eliminate(Program(model, y + 1, 2.0, net)).log_evidence.item(), rel=1e-12)
    for args, named, problem in (
        ((y, 5.0, net), names(), "expected the argument 2.0 as it was recorded, got 5.0; .* make it a tensor, or record anew"),
        ((y, 2, net), names(), "argument 2.0 .* got 2;"),
        ((y, 2.0, copy.deepcopy(net)), names(), "argument Linear"),
        ((y, 2.0, net), names("b"), "argument 'a' .* got 'b'"),
        ((y, 2.0, net), names(number=2.0), "argument array"),
    ):
        with pytest.raises(StructureChanged, match=problem):
            recorded(*args, names=named)


def test_a_scale_that_is_a_tensor():
    def seen(y, z):
        yield Observe("y", Normal(z, 1.0), y)

    def model(y, weight):
        z = yield Sample("z", Bernoulli(torch.tensor(0.3, dtype=F64)))
        yield from scale(seen, scale=weight)(y, z)

    y, weights = torch.tensor(1.0, dtype=F64), torch.tensor([0.5, 2.0], dtype=F64)
    recorded = evidence(Program(model, y, weights[0]))
    for weight in weights:
        assert recorded(y, weight).item() == pytest.approx(eliminate(Program(model, y, weight)).log_evidence.item(), rel=1e-12)


def test_a_program_that_looks_at_a_value():
    def model(w):
        x = yield Sample("x", Bernoulli(0.3))
        if w > 0:
            yield Observe("y", Normal(w * x, 1.0), torch.tensor(1.0))

    with pytest.raises(NotVectorizable, match="must not look at values of tensors .*; eliminate runs it each time"):
        evidence(Program(model, torch.tensor(1.0)))


def matrix(w):
    return torch.outer(w, w) + torch.eye(3, dtype=F64)


@pytest.mark.parametrize("function", [
    lambda w: sum(part * i for i, part in enumerate(w)),  # iteration is aten.unbind
    lambda w: w.split(2)[1] * w.chunk(3)[0],
    lambda w: w.max(0)[0] - w.min(0).values,
    lambda w: w.sort()[0][0] * w.topk(2).values[1],
    lambda w: w.cummax(0).values[2],
    lambda w: torch.std_mean(w)[0] + torch.var_mean(w)[1],
    lambda w: torch.linalg.svd(matrix(w)).S[1],
    lambda w: torch.linalg.qr(matrix(w)).R.diagonal().sum(),
    lambda w: torch.linalg.slogdet(matrix(w)).logabsdet,
    lambda w: torch.linalg.eigvalsh(matrix(w))[0] + torch.linalg.eigh(matrix(w)).eigenvalues[2],
    lambda w: torch.frexp(torch.tensor(12.0, dtype=F64)).mantissa * w[0],  # of numbers alone
    lambda w: w.tensor_split(3)[2].expand(2).unbind()[0].view(1).expand(1)[0],
])  # fmt: skip
def test_operations_of_several_results(function):
    def model(w):
        x = yield Sample("x", Categorical(torch.ones(3, dtype=F64)))
        yield Observe("y", Normal(function(w) * x, 1.0), 0.3)

    recorded = evidence(Program(model, *numbers(0, (3,))))
    for seed in (0, 1):
        (w,) = numbers(seed, (3,))
        ours, theirs = (value_and_grad(value, [w]) for value in (recorded(w), eliminate(Program(model, w)).log_evidence))
        torch.testing.assert_close(ours, theirs)


def test_distributions_that_take_operations_of_several_results():
    def model(locations, covariances):
        z = yield Sample("z", OneHotCategorical(torch.tensor([0.3, 0.7], dtype=F64)))
        x = yield Sample("x", Categorical(torch.ones(2, dtype=F64)))
        yield Observe("y", MultivariateNormal(locations[x] + z.sum(-1, keepdim=True), covariances[x]), torch.tensor([0.3, 0.2], dtype=F64))

    def covariances(seed):
        (root,) = numbers(seed, (2, 2, 2))
        return (root @ root.mT + torch.eye(2, dtype=F64)).detach()

    recorded = evidence(Program(model, *numbers(0, (2, 2)), covariances(1)))
    for seed in (0, 1):
        given = (*numbers(seed, (2, 2)), covariances(seed))
        assert recorded(*given).item() == pytest.approx(eliminate(Program(model, *given)).log_evidence.item(), rel=1e-12)


def test_a_matrix_that_has_no_cholesky_factor():
    """Elimination raises; what is recorded cannot ask."""

    def model(covariance):
        x = yield Sample("x", Categorical(torch.ones(2, dtype=F64)))
        yield factor("f", torch.linalg.cholesky(covariance)[0, 0] * x)

    recorded = evidence(Program(model, torch.eye(2, dtype=F64)))
    assert recorded(torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=F64)).isnan()


def test_a_continuous_site():
    def model():
        yield Sample("x", Normal(0.0, 1.0))

    with pytest.raises(NotFinite, match="site 'x'"):
        evidence(model)


def test_threads_record_and_call_modules_at_the_same_time():
    """A tracer that patches torch for all threads would note what others do, or leave it patched."""
    y, net = torch.tensor(1.0, dtype=F64), torch.nn.Linear(1, 1).double()
    before = torch.nn.Module.__call__, torch.nn.Module.__getattr__

    def model(y, width):
        z = yield Sample("z", Categorical(torch.ones(3, dtype=F64)))
        yield Observe("y", Normal(net(z.double().reshape(-1, 1)).reshape(z.shape), width), y)

    def work(number):
        width = torch.tensor(1.0 + number, dtype=F64)
        recorded = evidence(Program(model, y, width))
        net(torch.ones(1, 1, dtype=F64))
        return recorded(y + 1, width).item(), eliminate(Program(model, y + 1, width)).log_evidence.item()

    with ThreadPoolExecutor(4) as pool:
        for here, there in pool.map(work, range(12)):
            assert here == pytest.approx(there, rel=1e-12)
    assert (torch.nn.Module.__call__, torch.nn.Module.__getattr__) == before


def test_a_number_that_the_program_writes_into():
    def model(y):
        total = torch.tensor(0.5, dtype=F64)
        total.add_(y)
        z = yield Sample("z", Bernoulli(torch.tensor(0.3, dtype=F64)))
        yield Observe("y", Normal(z, 1.0), total)

    recorded = evidence(Program(model, torch.tensor(1.0, dtype=F64)))
    for y in (torch.tensor(1.0, dtype=F64), torch.tensor(-2.0, dtype=F64)):
        assert recorded(y).item() == pytest.approx(eliminate(Program(model, y)).log_evidence.item(), rel=1e-12)
