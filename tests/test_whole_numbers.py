"""Whole numbers, observed or as parameters, are scored to double precision where the rest is double: in each runtime, against scipy."""

from __future__ import annotations

import math
from functools import wraps
from typing import Any

import pytest
import torch
import torch.distributions as td
from scipy import stats

from interpreters.compiled import compile_density
from interpreters.density import density
from interpreters.elimination import eliminate
from interpreters.enumeration import exact
from interpreters.evidence import evidence as evidence_of
from interpreters.importance import infer
from interpreters.lockstep import lockstep
from interpreters.ranges import bounded_log_density
from poutine import (
    DistributionError,
    Message,
    Observe,
    ParamStore,
    Program,
    Sample,
    batch_log_density,
    condition,
    log_density,
    plate,
    run,
    trace,
)

F64 = torch.float64


def d(x: Any) -> torch.Tensor:
    return torch.tensor(x, dtype=F64)


COUNTS = {
    "Poisson": (td.Poisson(d(31.0)), 40, stats.poisson(31.0).logpmf(40)),
    "Binomial": (td.Binomial(100, d(0.3)), 40, stats.binom(100, 0.3).logpmf(40)),
    "a whole total": (td.Binomial(torch.tensor(100), d(0.3)), 40, stats.binom(100, 0.3).logpmf(40)),
    "NegativeBinomial": (td.NegativeBinomial(d(30.0), d(0.5)), 40, stats.nbinom(30, 0.5).logpmf(40)),
    "Geometric": (td.Geometric(d(0.1)), 40, stats.geom(0.1).logpmf(41)),
    "Multinomial": (td.Multinomial(60, d([0.2, 0.3, 0.5])), [10, 20, 30], stats.multinomial(60, [0.2, 0.3, 0.5]).logpmf([10, 20, 30])),
    "LogNormal": (td.LogNormal(d(1.0), d(0.7)), 3, stats.lognorm(0.7, scale=math.e).logpdf(3)),
    "Gamma": (td.Gamma(d(2.0), d(0.7)), 3, stats.gamma(2, scale=1 / 0.7).logpdf(3)),
    "Bernoulli": (td.Bernoulli(d(0.3)), 1, math.log(0.3)),
    "Independent": (td.Independent(td.Poisson(d([31.0, 5.0])), 1), [40, 7], stats.poisson([31.0, 5.0]).logpmf([40, 7]).sum()),
    "MixtureSameFamily": (
        td.MixtureSameFamily(td.Categorical(d([0.3, 0.7])), td.Poisson(d([31.0, 35.0]))),
        40,
        math.log(0.3 * stats.poisson(31).pmf(40) + 0.7 * stats.poisson(35).pmf(40)),
    ),
    "TransformedDistribution": (
        td.TransformedDistribution(td.Gamma(d(2.0), d(0.7)), td.AffineTransform(d(1.0), d(2.0))),
        7,
        stats.gamma(2, loc=1, scale=2 / 0.7).logpdf(7),
    ),
    "whole parameters": (td.Poisson(torch.tensor(31)), 40, stats.poisson(31.0).logpmf(40)),
}  # fmt: skip

# Parameters that torch does not take to single precision when it is built, and a value.
PARAMETERS = {
    "Gamma": (td.Gamma(torch.tensor(1000), d(1000.0)), 1.01, stats.gamma(1000, scale=1e-3).logpdf(1.01)),
    "InverseGamma": (td.InverseGamma(torch.tensor(30), d(20.0)), 1.01, stats.invgamma(30, scale=20).logpdf(1.01)),
    "StudentT": (td.StudentT(torch.tensor(7), d(0.0), d(1.0)), 1.01, stats.t(7).logpdf(1.01)),
    "Dirichlet": (td.Dirichlet(torch.tensor([10, 20])), [0.33, 0.67], stats.dirichlet([10, 20]).logpdf([0.33, 0.67])),
    "Beta": (td.Beta(torch.tensor(10), torch.tensor(20)), 0.33, stats.beta(10, 20).logpdf(0.33)),
    "Normal": (td.Normal(torch.tensor(1), torch.tensor(3)), 1.2, stats.norm(1, 3).logpdf(1.2)),
    "Pareto": (td.Pareto(torch.tensor(3), torch.tensor(7)), 4.5, stats.pareto(7, scale=3).logpdf(4.5)),
    "a value of whole numbers": (td.Laplace(torch.tensor(1), torch.tensor(3)), torch.tensor(4), stats.laplace(1, 3).logpdf(4)),
    "Independent": (td.Independent(td.Normal(torch.tensor([1, 1]), torch.tensor(3)), 1), [1.2, 1.3], stats.norm(1, 3).logpdf([1.2, 1.3]).sum()),
}  # fmt: skip


def close(expected: float) -> Any:
    return pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("case", COUNTS)
def test_a_count_is_scored_in_the_precision_of_its_distribution(case: str):
    dist, value, expected = COUNTS[case]
    assert log_density_of(dist, torch.tensor(value)) == close(expected)
    assert log_density_of(dist, torch.tensor(value, dtype=torch.int32)) == close(expected)
    if isinstance(value, int):
        assert log_density_of(dist, value) == close(expected)
    masked = Observe("y", dist, torch.tensor(value)).evolve(mask=torch.tensor([True, False]))
    if dist.batch_shape == ():
        density = batch_log_density(masked.evolve(fn=dist.expand([2])))
        assert density[0].item() == close(expected)
        assert density[1] == 0.0
    assert bounded_log_density(Observe("y", dist, torch.tensor(value))).item() == close(expected)


@pytest.mark.parametrize("case", PARAMETERS)
def test_parameters_of_whole_numbers_are_numbers(case: str):
    dist, value, expected = PARAMETERS[case]
    before = dict(vars(dist))
    assert log_density_of(dist, value if isinstance(value, torch.Tensor) else d(value)) == close(expected)
    assert vars(dist) == before


@pytest.mark.parametrize("dist", [td.Normal(torch.tensor(0), torch.tensor(1)), td.LogNormal(torch.tensor(0), torch.tensor(1))])
def test_whoever_draws_from_parameters_of_whole_numbers_is_told_what_to_write(dist):
    with pytest.raises(
        DistributionError, match=r"site 'x': cannot draw from .*'Long'; its parameters are whole numbers: give them a point"
    ):
        run(lambda: (yield Sample("x", dist)))


def log_density_of(dist: Any, value: Any) -> float:
    return batch_log_density(Observe("y", dist, value)).item()


def test_a_python_number_is_exact_with_and_without_a_point():
    for dist in (td.Poisson(31.0), td.Binomial(100, 0.3), td.Poisson(torch.tensor([31.0, 5.0])), td.Bernoulli(0.3)):
        for value in (0, 1, 40) if not isinstance(dist, td.Bernoulli) else (0, 1):
            whole, point = (batch_log_density(Observe("y", dist, x)) for x in (value, float(value)))
            assert torch.equal(whole, point)
            assert whole.dtype == point.dtype


def test_single_precision_remains_so():
    dist = td.Poisson(torch.tensor([31.0, 5.0]))
    assert batch_log_density(Observe("y", dist, torch.tensor([40, 7]))).dtype == torch.float32
    half = batch_log_density(Observe("y", td.Poisson(torch.tensor([31.0]).half()), torch.tensor([40])))
    assert half.item() == pytest.approx(stats.poisson(31.0).logpmf(40), rel=1e-3)


class Table(td.Distribution):
    """Whole numbers are indices here, of values and of tensors."""

    arg_constraints = {}

    def __init__(self, *log_probs: float) -> None:
        self.which, self.log_probs, self.names = torch.tensor([1, 0]), d(log_probs), ["a", "b"]
        super().__init__(validate_args=False)

    def log_prob(self, value):
        return self.log_probs[self.which[value]]


class Steady(td.Distribution):
    """Of numbers, with an index, of others' and of its own."""

    arg_constraints = {}

    def __init__(self, table: Table) -> None:
        self.table, self.which = table, torch.tensor(0)
        super().__init__(validate_args=False)

    def log_prob(self, value):
        return self.table.log_prob(self.which).expand(value.shape)


class Asked(td.Distribution):
    """Keeps what it was asked."""

    arg_constraints = {}

    def __init__(self) -> None:
        self.asked: list[torch.Tensor] = []
        super().__init__(validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return self

    def log_prob(self, value):
        self.asked.append(value)
        return torch.zeros(value.shape)


class Parity(td.Poisson):
    """One of torch's, with a log density of its own."""

    def log_prob(self, value):
        return torch.where(value % 2 == 0, -1.0, -2.0)


class Renamed(td.Poisson):
    """One of torch's, whose log density is torch's."""


class Coin(td.Distribution):
    """Of others, made of one of torch's, and referring back to itself."""

    arg_constraints = {}

    def __init__(self, coin: Any) -> None:
        self.coin = coin
        coin.owner = self
        super().__init__(validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return self

    def log_prob(self, value):
        return self.coin.log_prob(value)


class Listed(td.transforms.Transform):
    """A number is an index here, of a table."""

    domain = codomain = td.constraints.real

    def _call(self, x):
        return (x == 40.0).long()

    def _inverse(self, y):
        return d([7.0, 40.0])[y]

    def log_abs_det_jacobian(self, x, y):
        return torch.zeros(y.shape)


def test_distributions_of_others():
    assert [log_density_of(Table(-1.0, -2.0), value) for value in (0, 1, torch.tensor(1))] == [-2.0, -1.0, -1.0]
    assert log_density_of(td.Independent(Table(-1.0, -2.0), 0), torch.tensor(1)) == -1.0
    assert log_density_of(Steady(Table(-1.0, -2.0)), 1.5) == -2.0
    with pytest.raises(IndexError):
        Table(-1.0).log_prob(torch.tensor(1.0))


@pytest.mark.parametrize("value", [3, torch.tensor(2**53 + 1), True, torch.tensor(1, dtype=torch.uint8)])
@pytest.mark.parametrize("wrap", [
    lambda dist: dist,
    lambda dist: td.Independent(dist, 0),
    lambda dist: td.TransformedDistribution(dist, [], validate_args=False),
])  # fmt: skip
def test_others_get_whole_numbers_as_they_come_and_once(wrap, value):
    dist = Asked()
    batch_log_density(Observe("y", wrap(dist), value))
    (asked,) = dist.asked
    assert asked.dtype == torch.as_tensor(value).dtype
    assert asked == value


def test_of_a_subclass_of_torchs_it_counts_who_computes_the_log_density():
    assert log_density_of(Parity(d(31.0)), torch.tensor(2**53 + 1)) == -2.0
    assert log_density_of(Renamed(d(31.0)), torch.tensor(40)) == close(stats.poisson(31.0).logpmf(40))


def test_transforms_of_others_get_whole_numbers_as_they_come():
    same = td.transforms.AffineTransform(0.0, 1.0)
    for transform in (Listed(), td.transforms.ComposeTransform([Listed()])):
        dist = td.TransformedDistribution(td.Poisson(d(31.0)), [transform], validate_args=False)
        assert log_density_of(dist, 1) == close(stats.poisson(31.0).logpmf(40))
    of_numbers = td.TransformedDistribution(td.LogNormal(d(1.0), d(0.7)), [td.transforms.ComposeTransform([same]), same.inv])
    assert log_density_of(of_numbers, torch.tensor(3)) == close(stats.lognorm(0.7, scale=math.e).logpdf(3))


@pytest.mark.parametrize("mask", [True, torch.tensor(True)])
@pytest.mark.parametrize("value", [1, True, 1.0, torch.tensor(1)])
def test_what_others_make_of_a_coin_has_a_density_at_whole_numbers(value, mask):
    coin = td.Bernoulli(d(0.3))
    density = batch_log_density(Observe("y", Coin(coin), value).evolve(mask=mask))
    assert density.item() == close(math.log(0.3))
    assert log_density_of(coin, value) == close(math.log(0.3))


def test_what_refers_back_to_itself_has_a_density_of_latents():
    def model():
        logits = yield Sample("logits", td.Normal(0.0, 1.0))
        yield Observe("y", Coin(td.Bernoulli(logits=logits)), torch.tensor(1))

    expected = td.Normal(d(0.0), d(1.0)).log_prob(d(0.7)) + torch.nn.functional.logsigmoid(d(0.7))
    found = density(model).batch(d([[0.7], [0.7]]))
    assert found.tolist() == [close(expected.item())] * 2


def table(y: torch.Tensor) -> Any:
    slope = yield Sample("slope", td.Normal(d(0.0), d(1.0)))
    z = yield Sample("z", td.Bernoulli(d(0.25)))

    @plate("rows", len(y))
    def rows(i):
        yield Observe("y", OfLatents(torch.stack([slope, d(1.0)])), y[i])

    yield from rows()
    yield Observe("w", td.Normal(z, d(1.0)), d(0.5))


class OfLatents(td.Distribution):
    """A table whose numbers are latent."""

    arg_constraints = {}

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits
        super().__init__(validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return self

    def log_prob(self, value):
        return self.logits.log_softmax(-1)[value]


def test_what_takes_an_index_is_recorded():
    y, slope = torch.tensor([0, 1, 1]), d(0.3)
    of_z = torch.stack([d(p).log() + td.Normal(d(z), d(1.0)).log_prob(d(0.5)) for z, p in ((0.0, 0.75), (1.0, 0.25))]).logsumexp(0)
    expected = torch.stack([slope, d(1.0)]).log_softmax(-1)[y].sum() + td.Normal(d(0.0), d(1.0)).log_prob(slope) + of_z
    assert density(Program(table, y)).batch(slope.expand(2, 1)).tolist() == [close(expected.item())] * 2
    held = condition(table, data={"slope": slope})
    assert evidence_of(Program(held, y), ParamStore())().item() == close(expected.item())


@pytest.mark.parametrize("wrap", [lambda dist: dist, lambda dist: td.Independent(dist.expand([2]), 1)])
@pytest.mark.parametrize("family", [td.Categorical, td.OneHotCategorical, td.OneHotCategoricalStraightThrough])
def test_an_index_is_left_as_it_is(family, wrap, monkeypatch: pytest.MonkeyPatch):
    seen: list[torch.dtype] = []
    log_prob = family.log_prob
    monkeypatch.setattr(family, "log_prob", wraps(log_prob)(lambda self, value: (seen.append(value.dtype), log_prob(self, value))[1]))
    dist = wrap(family(d([0.3, 0.7])))
    value = torch.tensor(1) if family is td.Categorical else torch.tensor([0, 1])
    batch_log_density(Observe("y", dist, value.expand(dist.batch_shape + dist.event_shape)))
    assert seen == [torch.int64]


def everything(y: int | torch.Tensor, of: torch.Tensor) -> Any:
    """Three likelihoods, at a rate that depends on ``z``, and one of a vector in a plate."""
    z = yield Sample("z", td.Bernoulli(d(0.25)))
    rate = 31.0 + 10.0 * z
    yield Observe("poisson", td.Poisson(rate), y)
    yield Observe("binomial", td.Binomial(torch.tensor(100), rate / 100), y)

    @plate("of", len(of))
    def rows(i):
        yield Observe("rows", td.NegativeBinomial(rate, d(0.5)), of[i])

    yield from rows()
    yield Observe("scale", td.Gamma(torch.tensor(3), rate), 0.1)


def evidence() -> tuple[float, float]:
    """The log evidence of ``everything``, and the log odds of its z."""
    terms = []
    for z, prior in ((0, 0.75), (1, 0.25)):
        rate = 31.0 + 10.0 * z
        rows = stats.nbinom(rate, 0.5).logpmf([40, 35]).sum()
        terms.append(
            math.log(prior)
            + stats.poisson(rate).logpmf(40)
            + stats.binom(100, rate / 100).logpmf(40)
            + rows
            + stats.gamma(3, scale=1 / rate).logpdf(0.1)
        )
    return torch.logsumexp(d(terms), 0).item(), terms[1] - terms[0]


@pytest.mark.parametrize("y", [40, torch.tensor(40)], ids=["int", "tensor"])
def test_enumerators(y: int | torch.Tensor):
    total, odds = evidence()
    program = Program(everything, y, torch.tensor([40, 35]))
    for found in (exact(program), eliminate(program)):
        assert found.log_evidence.item() == close(total)
    marginal = eliminate(program).marginal("z")
    assert (marginal[1] / marginal[0]).log().item() == close(odds)


@pytest.mark.parametrize("y", [40, torch.tensor(40)], ids=["int", "tensor"])
def test_a_run_and_a_batch(y: int | torch.Tensor):
    program = Program(everything, y, torch.tensor([40, 35]))
    traced = trace(program.fn).get_trace(*program.args)
    batch = run(Program(lockstep, program, 3, keep=True))
    for found in (traced, *(batch.trace(i) for i in range(3))):
        rate = 31.0 + 10.0 * found["z"].value.item()
        assert log_density(found["poisson"]).item() == close(stats.poisson(rate).logpmf(40))
        assert log_density(found["binomial"]).item() == close(stats.binom(100, rate / 100).logpmf(40))


@pytest.mark.parametrize(
    ("dist", "args", "expected"),
    [
        (td.Binomial, (100, 0.3), stats.binom(100, 0.3)),
        (td.NegativeBinomial, (30.0, 0.5), stats.nbinom(30, 0.5)),
        (td.Poisson, (31.0,), stats.poisson(31)),
    ],
)
def test_a_batch_of_numbers(dist, args, expected):
    def model():
        yield Observe("y", dist, 40, *args)

    assert run(Program(lockstep, model, 3, numbers=True)).log_densities.tolist() == [close(expected.logpmf(40))] * 3


def continuous(y: torch.Tensor) -> Any:
    log_rate = yield Sample("log_rate", td.Normal(d(3.4), d(0.1)))

    @plate("rows", len(y))
    def rows(i):
        yield Observe("y", td.Poisson(log_rate.exp()), y[i])
        yield Observe("n", td.Binomial(torch.tensor(100), d(0.3)), y[i])

    yield from rows()
    yield Observe("total", td.Gamma(torch.tensor(30), log_rate.exp()), 1.1)


Y = torch.tensor([40, 35])


def expected_density(at: float) -> tuple[float, Any]:
    rate = math.exp(at)
    likelihoods = stats.poisson(rate).logpmf(Y), stats.binom(100, 0.3).logpmf(Y)
    rest = stats.norm(3.4, 0.1).logpdf(at) + stats.gamma(30, scale=1 / rate).logpdf(1.1)
    return rest + sum(each.sum() for each in likelihoods), likelihoods


def test_a_density_and_its_likelihoods():
    total, (poisson, binomial) = expected_density(3.5)
    ours = density(Program(continuous, Y))
    assert ours.log_prob({"log_rate": d(3.5)}).item() == close(total)
    assert ours.batch(d([[3.5], [3.5]])).tolist() == [close(total)] * 2
    assert ours.log_likelihood(d([3.5]))["y"].tolist() == pytest.approx(poisson.tolist(), rel=1e-12)
    assert ours.log_likelihood(d([3.5]))["n"].tolist() == pytest.approx(binomial.tolist(), rel=1e-12)


@pytest.mark.slow
def test_a_kernel(tmp_path):
    kernel = compile_density(density(Program(continuous, Y)), cache_dir=tmp_path)
    assert kernel.tier == "native"
    assert kernel.value_and_grad(d([3.5]))[0].item() == close(expected_density(3.5)[0])


def test_importance_weights():
    found = infer(Program(everything, 40, torch.tensor([40, 35])), 20, seed=0)
    whole, point = found.log_weights, infer(Program(everything, 40.0, d([40.0, 35.0])), 20, seed=0).log_weights
    assert torch.allclose(whole, point, rtol=1e-13)


def test_a_number_with_a_point_is_exact_where_the_range_is_latent():
    """Outside of the range it is minus infinity; inside it was taken to single precision."""

    def model() -> Any:
        least = yield Sample("least", td.Exponential(d(1.0)))
        yield Observe("y", td.Pareto(least, d(2.0)), 1.3)

    expected = -1.1 + stats.pareto(2, scale=1.1).logpdf(1.3)
    assert density(model).log_prob({"least": d(1.1)}).item() == close(expected)


def test_a_message_keeps_its_value():
    site: Message = Observe("y", td.Poisson(d(31.0)), Y)
    batch_log_density(site)
    assert site.value is Y


def test_whole_numbers_in_transforms_are_numbers():
    base, whole = td.Normal(torch.tensor(0.0).double(), 1.0), td.transforms.AffineTransform(torch.tensor(2), torch.tensor(3))
    x = torch.tensor(1.5).double()
    there, back = td.TransformedDistribution(base, [whole]), td.TransformedDistribution(base, [whole.inv])
    assert log_density(Observe("y", there, x)).item() == pytest.approx(stats.norm.logpdf(1.5, 2, 3), rel=1e-12)
    assert log_density(Observe("y", back, x)).item() == pytest.approx(stats.norm.logpdf(1.5, -2 / 3, 1 / 3), rel=1e-12)
