"""LKJCholesky, whose draws torch makes from another density, is drawn from its own, whatever it is inside of."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import attrs
import pytest
import torch
import torch.distributions as td
from torch.distributions import LKJCholesky, constraints

from interpreters.importance import infer, vectorization_of
from interpreters.lockstep import lockstep
from interpreters.weighted.varying import Lockstep
from interpreters.weighted.vectorization import Vectorization
from poutine import Keyed, Observe, Program, Sample, plate, run, same
from poutine.randomness import draw

N = 20_000


class Own(td.Distribution):
    """A user's: correlation matrices, made of factors."""

    arg_constraints: dict[str, Any] = {}
    support = constraints.positive_definite

    def __init__(self, inner: LKJCholesky) -> None:
        self.inner = inner
        super().__init__(inner.batch_shape, inner.event_shape, validate_args=False)

    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        factor = self.inner.sample(sample_shape)
        return factor @ factor.mT

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class First(Own):
    """A user's that has its parts in a list."""

    def __init__(self, inner: LKJCholesky) -> None:
        super().__init__(inner)
        self.parts = [inner, td.Normal(0.0, 1.0)]
        del self.inner

    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        return self.parts[0].sample(sample_shape)


class Twice(LKJCholesky):
    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        return 2 * super().sample(sample_shape)


class Shapeless:
    """Tells no shapes, so that a plate draws it for each element."""

    def __init__(self, inner: LKJCholesky) -> None:
        self.inner = inner

    def sample(self) -> torch.Tensor:
        return self.inner.sample()

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        return self.inner.log_prob(value)


@attrs.frozen
class Slots(Shapeless):
    """Without a dictionary, as attrs and ``dataclass(slots=True)`` make them; what it is given stays as it is."""

    inner: LKJCholesky


@dataclass(slots=True)
class Table:
    """A user's that has its parts in a dictionary, and these in lists."""

    table: dict[str, Any]

    def sample(self) -> torch.Tensor:
        return self.table["all"][1][0].sample()

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        return self.table["all"][1][0].log_prob(value)


class Counting(Twice):
    """Keeps something in each of its draws: in itself, in a list, and in a dictionary."""

    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        drawn = super().sample(sample_shape)
        self.calls = getattr(self, "calls", 0) + 1
        self.drawn[1].append(drawn)
        self.by_name["last"] = self
        self.by_name["of"] = self.parts
        self.parts.append(drawn)
        if self.calls > 2:
            raise ValueError("enough")
        return drawn


def counting() -> Counting:
    dist: Any = Counting(3, 1.0)
    dist.drawn = (td.Normal(0.0, 1.0), [])  # nothing in here is drawn wrongly: it is not copied
    dist.by_name = {"inner": LKJCholesky(3, 1.0)}
    dist.parts = [dist, dist.by_name["inner"]]
    return dist  # type: ignore[no-any-return]


def mixture(inner: LKJCholesky) -> td.MixtureSameFamily:
    components = LKJCholesky(inner.dim, inner.concentration.unsqueeze(-1).expand([*inner.batch_shape, 2]))
    return td.MixtureSameFamily(td.Categorical(torch.ones(*inner.batch_shape, 2)), components)


INSIDE_OF = {
    "nothing": (lambda inner: inner, lambda x: x),
    "Independent": (lambda inner: td.Independent(inner, 1), lambda x: x),
    "TransformedDistribution": (
        lambda inner: td.TransformedDistribution(inner, [td.CorrCholeskyTransform().inv]),
        td.CorrCholeskyTransform(),
    ),
    "MixtureSameFamily": (mixture, lambda x: x),
    "two": (lambda inner: td.Independent(td.Independent(mixture(inner), 0), 1), lambda x: x),
    "a user's": (Own, torch.linalg.cholesky),
    "a list": (First, lambda x: x),
    "slots": (Slots, lambda x: x),
    "a dictionary": (lambda inner: Table({"all": [td.Normal(0.0, 1.0), (inner,)]}), lambda x: x),
    "a subclass": (lambda inner: Twice(inner.dim, inner.concentration), lambda x: x / 2),
}


def check_rows(factor: torch.Tensor, concentration: float, row: int) -> None:
    """The squares left of the diagonal of a row, of many factors, sum to a number from ``Beta(row / 2, concentration + (dim - 1 - row) / 2)``."""
    dim = factor.shape[-1]
    exact = td.Beta(torch.tensor(row / 2), torch.tensor(concentration + (dim - 1 - row) / 2))
    sums = factor[..., row, :row].square().sum(-1)
    error = float(exact.stddev) / math.sqrt(sums.numel())
    assert float(sums.mean()) == pytest.approx(float(exact.mean), abs=4 * error)


@pytest.mark.parametrize("name", INSIDE_OF)
def test_wherever_it_is_it_is_drawn_from_its_density(name: str):
    within, factor_of = INSIDE_OF[name]
    inner = LKJCholesky(3, torch.tensor(0.8, dtype=torch.float64)).expand([N])
    drawn = run(lambda: (yield Sample("x", within(inner))), seed=1)
    for row in (1, 2):
        check_rows(factor_of(drawn), 0.8, row)


@pytest.mark.parametrize("dim", [2, 3, 5])
@pytest.mark.parametrize("made", ["built", "deferred", "a callable"])
def test_every_row_in_every_dimension(made: str, dim: int):
    concentration = torch.full((N,), 1.7, dtype=torch.float64)

    def model():
        if made == "built":
            return (yield Sample("x", LKJCholesky(dim, concentration)))
        if made == "deferred":
            return (yield Sample("x", LKJCholesky, dim, concentration=concentration))
        return (yield Sample("x", lambda: LKJCholesky(dim, concentration)))

    drawn = run(model, seed=3)
    for row in range(1, dim):
        check_rows(drawn, 1.7, row)


def test_one_that_tells_no_shapes_in_a_plate():
    few = 1_000

    @plate("n", few)
    def model(_):
        return (yield Sample("x", Shapeless(LKJCholesky(3, 1.0))))

    check_rows(run(model()), 1.0, 2)


def test_the_users_object_stays_as_it_is():
    dist: Any = td.Independent(LKJCholesky(4, torch.tensor([0.5, 2.0])), 1)
    before = copy.deepcopy(dist)
    inner, parameters = dist.base_dist, dist.base_dist._beta
    drawn = draw(dist, (0, "x", 1))
    assert dist.base_dist is inner and inner._beta is parameters and same(dist, before)
    assert dist.support.check(drawn).all() and same(drawn, draw(dist, (0, "x", 1)))


def test_what_a_users_object_keeps_of_its_draws_is_kept():
    dist: Any = counting()
    fields = {**vars(dist)}
    first = run(lambda: (yield Sample("x", dist)))
    assert dist.calls == 1 and dist.drawn[1] == [first]
    assert dist.by_name["last"] is dist and dist.by_name["of"] is dist.parts and dist.parts[:2] == [dist, dist.by_name["inner"]]
    second = run(lambda: (yield Sample("x", dist)), seed=1)
    assert dist.calls == 2 and dist.drawn[1] == dist.parts[2:] == [first, second]
    with pytest.raises(ValueError, match="enough"):
        draw(dist, (0, "x", 1))
    assert dist.calls == 3 and len(dist.parts) == 5
    assert all(getattr(dist, name) is value for name, value in fields.items())


def test_what_holds_itself_is_walked_through_once():
    dist: Any = Own(LKJCholesky(3, 1.0))
    dist.tree = {"children": [dist.inner], "name": "root"}
    dist.tree["children"].append(dist.tree)
    dist.kind = type("Kind", (Own,), {"default": LKJCholesky(3, 1.0)})  # a class is no part
    assert draw(dist, (0, "x", 1)).shape == (3, 3)


def test_a_torch_that_draws_it_rightly_is_left_as_it_is():
    """Bit for bit, as dimension 2 is today, which torch draws rightly."""
    mended: Any = LKJCholesky(4, torch.tensor([0.5, 2.0]))
    rows = torch.tensor([1.0, 1.0, 2.0, 3.0]) / 2
    mended._beta = td.Beta(rows.expand(2, 4), mended._beta.concentration0)
    elsewhere: Any = LKJCholesky(4, torch.tensor([0.5, 2.0]))
    elsewhere._beta = "what it may be then"
    with Keyed((0, "x", 1)):
        expected = mended.sample()
    assert same(draw(mended, (0, "x", 1)), expected)
    with pytest.raises(AttributeError, match="'str' object has no attribute 'sample'"):  # from torch's own way, not from here
        draw(elsewhere, (0, "x", 1))
    two = LKJCholesky(2, 1.5)
    with Keyed((0, "x", 1)):
        expected = two.sample()
    assert same(draw(two, (0, "x", 1)), expected)


def test_a_distribution_that_refers_to_itself():
    dist: Any = Own(LKJCholesky(3, 1.0))
    dist.again = dist.inner.outer = dist
    assert draw(dist, (0, "x", 1)).shape == (3, 3)


def test_in_lockstep():
    def model():
        return (yield Sample("x", LKJCholesky, 3, 1.5))

    batch = run(Program(lockstep, model, N // 4), seed=2)
    check_rows(torch.stack([*batch.values]), 1.5, 2)


@pytest.mark.parametrize("plan", [Vectorization, Lockstep])
def test_the_evidence_by_importance_is_that_by_quadrature(plan: type):
    """What is observed depends on the last entry, whose square is from ``Beta(concentration, 1)``: the rest integrates to one."""
    concentration, width, seen = 0.7, 0.1, 0.9

    def model():
        factor = yield Sample("L", LKJCholesky, 3, concentration)
        if plan is Lockstep and factor[1, 0] > 2:
            yield Sample("never", td.Normal, 0.0, 1.0)
        yield Observe("y", td.Normal, torch.tensor(seen), factor[2, 2], width)

    posterior = infer(model, N // 4, seed=4)
    assert isinstance(vectorization_of(model), plan)
    corner = torch.linspace(0, 1, 100_001, dtype=torch.float64)[1:]  # its square is uniform to the power 1 / concentration
    density = 2 * concentration * corner ** (2 * concentration - 1) * td.Normal(corner, width).log_prob(torch.tensor(seen)).exp()
    exact = math.log(float(torch.trapezoid(density, corner)))
    assert posterior.log_evidence == pytest.approx(exact, abs=4 * posterior.log_evidence_error)
