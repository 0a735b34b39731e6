"""Keyed randomness over every distribution of torch, without the global generators."""

from __future__ import annotations

import inspect
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.distributions as td

from poutine import DistributionError, Keyed, Observe, Param, Program, Sample, block, condition, replay, run, same, seed, trace
from poutine.randomness import draw, stream_seed

# torch's Wishart warns of a singular sample where it means a regular one; the sample is right, and its support is checked here.
pytestmark = pytest.mark.filterwarnings("ignore:Singular sample detected:UserWarning")

EYE = torch.eye(3)
EXAMPLES: dict[str, td.Distribution] = {
    "Bernoulli": td.Bernoulli(torch.tensor([0.2, 0.8])),
    "Beta": td.Beta(torch.tensor([0.5, 2.0]), 3.0),
    "Binomial": td.Binomial(10, torch.tensor([0.3, 0.6])),
    "Categorical": td.Categorical(torch.tensor([0.2, 0.3, 0.5])),
    "Cauchy": td.Cauchy(0.0, torch.tensor([1.0, 2.0])),
    "Chi2": td.Chi2(torch.tensor([1.0, 3.0])),
    "ContinuousBernoulli": td.ContinuousBernoulli(torch.tensor([0.2, 0.7])),
    "Dirichlet": td.Dirichlet(torch.tensor([0.5, 1.0, 2.0])),
    "Exponential": td.Exponential(torch.tensor([1.0, 2.0])),
    "FisherSnedecor": td.FisherSnedecor(torch.tensor([3.0]), torch.tensor([5.0])),
    "Gamma": td.Gamma(torch.tensor([0.5, 2.0]), 3.0),
    "GeneralizedPareto": td.GeneralizedPareto(torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([0.3])),
    "Geometric": td.Geometric(torch.tensor([0.2, 0.7])),
    "Gumbel": td.Gumbel(torch.tensor([0.0]), torch.tensor([1.0])),
    "HalfCauchy": td.HalfCauchy(torch.tensor([1.0, 5.0])),
    "HalfNormal": td.HalfNormal(torch.tensor([1.0, 5.0])),
    "Independent": td.Independent(td.Normal(torch.zeros(3), 1.0), 1),
    "InverseGamma": td.InverseGamma(torch.tensor([2.0]), torch.tensor([3.0])),
    "Kumaraswamy": td.Kumaraswamy(torch.tensor([2.0]), torch.tensor([3.0])),
    "LKJCholesky": td.LKJCholesky(3, 1.5),
    "Laplace": td.Laplace(torch.tensor([0.0]), torch.tensor([1.0])),
    "LogNormal": td.LogNormal(torch.tensor([0.0]), torch.tensor([1.0])),
    "LogisticNormal": td.LogisticNormal(torch.zeros(2), torch.ones(2)),
    "LowRankMultivariateNormal": td.LowRankMultivariateNormal(torch.zeros(3), torch.ones(3, 1), torch.ones(3)),
    "MixtureSameFamily": td.MixtureSameFamily(td.Categorical(torch.tensor([0.3, 0.7])), td.Normal(torch.tensor([-1.0, 1.0]), 1.0)),
    "Multinomial": td.Multinomial(5, torch.tensor([0.2, 0.8])),
    "MultivariateNormal": td.MultivariateNormal(torch.zeros(3), EYE),
    "NegativeBinomial": td.NegativeBinomial(torch.tensor([5.0]), torch.tensor([0.4])),
    "Normal": td.Normal(torch.tensor([0.0, 1.0]), 2.0),
    "OneHotCategorical": td.OneHotCategorical(torch.tensor([0.2, 0.8])),
    "OneHotCategoricalStraightThrough": td.OneHotCategoricalStraightThrough(torch.tensor([0.2, 0.8])),
    "Pareto": td.Pareto(torch.tensor([1.0]), torch.tensor([2.0])),
    "Poisson": td.Poisson(torch.tensor([1.0, 10.0])),
    "RelaxedBernoulli": td.RelaxedBernoulli(torch.tensor([0.5]), torch.tensor([0.3])),
    "RelaxedOneHotCategorical": td.RelaxedOneHotCategorical(torch.tensor([0.5]), torch.tensor([0.3, 0.7])),
    "StudentT": td.StudentT(torch.tensor([3.0])),
    "TransformedDistribution": td.TransformedDistribution(
        td.Normal(torch.zeros(2), 1.0), [td.ExpTransform(), td.AffineTransform(1.0, 2.0)]
    ),
    "Uniform": td.Uniform(torch.tensor([0.0]), torch.tensor([3.0])),
    "VonMises": td.VonMises(torch.tensor([0.0]), torch.tensor([4.0])),
    "Weibull": td.Weibull(torch.tensor([1.0]), torch.tensor([2.0])),
    "Wishart": td.Wishart(torch.tensor(6.0, dtype=torch.float64), EYE.double()),
}
BASES = {"Distribution", "ExponentialFamily"}


def global_states() -> tuple[object, ...]:
    return (torch.get_rng_state(), np.random.get_state(), random.getstate())


def test_the_examples_are_all_of_torchs_distributions():
    known = {name for name, cls in vars(td).items() if inspect.isclass(cls) and issubclass(cls, td.Distribution)}
    assert EXAMPLES.keys() == known - BASES


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_draw_leaves_the_global_generators_alone_and_does_not_heed_them(name: str):
    dist = EXAMPLES[name]
    before = global_states()
    first = draw(dist, (1, "x", 1))
    assert all(map(_equal_states, before, global_states()))
    with torch.random.fork_rng():
        torch.manual_seed(123)
        assert same(draw(dist, (1, "x", 1)), first)
    assert dist.support.check(first).all()
    assert not same(draw(EXAMPLES["Normal"], (1, "x", 1)), draw(EXAMPLES["Normal"], (2, "x", 1)))


def _equal_states(a: object, b: object) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return all(map(_equal_states, a, b))
    return bool(np.array_equal(a, b)) if isinstance(a, (np.ndarray, torch.Tensor)) else a == b


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_site_is_drawn_scored_and_replayed(name: str):
    dist = EXAMPLES[name]

    def model():
        return (yield Sample("x", dist))

    t = run(trace(model).traced(), seed=5)
    assert same(t["_RETURN"].value, t["x"].value)
    assert torch.equal(t.log_pdf(), dist.log_prob(t["x"].value).sum())


@pytest.mark.parametrize("differ", [(1, "x", 1), (0, "y", 1), (0, "x", 2)])
def test_seed_name_and_visit_each_change_the_stream(differ: tuple[int, str, int]):
    assert stream_seed((0, "x", 1)) != stream_seed(differ)


def test_streams_are_the_same_on_every_machine():
    assert stream_seed((0, "x", 1)) == 6_709_127_217_594_957_325
    assert stream_seed((3, "théta/µ", 12)) == 5_555_817_619_376_601_032


def test_a_part_of_the_key_cannot_pass_for_another():
    assert stream_seed((1, "1x", 1)) != stream_seed((11, "x", 1)) != stream_seed((1, "x1", 1))


def loop(n: int, name: str = "x"):
    values = []
    for _ in range(n):
        values.append((yield Sample(name, td.Normal, 0.0, 1.0)))
    return values


def test_a_second_visit_has_its_own_draw_and_longer_runs_begin_like_shorter_ones():
    three, five = run(Program(loop, 3)), run(Program(loop, 5))
    assert len(set(map(float, five))) == 5
    assert same(three, five[:3])


def test_observing_one_site_moves_no_other_draw():
    def model():
        values = []
        for name in "abc":
            values.append((yield Sample(name, td.Gamma(2.0, 1.0))))
        return values

    free = run(model)
    fixed = run(condition(model, data={"b": torch.tensor(1.0)})())
    assert same([free[0], torch.tensor(1.0), free[2]], fixed)


def test_observing_one_visit_moves_no_later_draw_of_the_same_name():
    def model(observed: bool):
        first = Observe("x", td.Normal(0.0, 1.0), torch.tensor(0.0)) if observed else Sample("x", td.Normal(0.0, 1.0))
        yield first
        return (yield Sample("x", td.Normal(0.0, 1.0)))

    assert same(run(Program(model, True)), run(Program(model, False)))


def test_built_and_deferred_distributions_draw_alike():
    def built():
        return (yield Sample("x", td.Normal(0.3, 2.0)))

    def deferred():
        return (yield Sample("x", td.Normal, 0.3, scale=2.0))

    assert same(run(built), run(deferred))


def test_a_bare_callable_is_drawn_under_its_key():
    def simulator(n: int) -> torch.Tensor:
        return torch.randn(n) + torch.rand(())

    def model():
        return (yield Sample("x", simulator, 3))

    before = global_states()
    value = run(model)
    assert same(value, run(model))
    assert not same(value, run(model, seed=1))
    assert all(map(_equal_states, before, global_states()))


def test_eight_threads_draw_what_one_does():
    def model():
        values = []
        for name, dist in EXAMPLES.items():
            values.append((yield Sample(name, dist)))
        return values

    alone = [run(model, seed=s) for s in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda s: run(model, seed=s), range(8)))
    assert same(alone, together)


def test_a_seed_may_be_a_whole_number_of_numpys():
    program = Program(loop, 2)
    for given in (np.int64(5), np.uint8(5)):
        assert same(run(program, seed=given), run(program, seed=5)) and same(run(seed(loop, seed=given)(2)), run(program, seed=5))
    with pytest.raises(TypeError, match=r"expected an int as the seed, got np.float64\(5.0\)"):
        run(program, seed=np.float64(5.0))


def test_the_innermost_seed_wins_and_reaches_hidden_sites():
    alone = run(Program(loop, 2), seed=7)
    assert same(run(seed(loop, seed=7)(2), seed=1), alone)
    assert same(run(seed(seed(loop, seed=7), seed=8)(2)), alone)


def test_keyed_reaches_devices_and_explicit_generators_stay():
    with Keyed((0, "x", 1)):
        first = torch.randn(2, device="cpu")
        own = torch.randn(2, generator=torch.Generator().manual_seed(3))
    with Keyed((0, "x", 1)):
        assert torch.equal(torch.randn(2), first)
    assert torch.equal(own, torch.randn(2, generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("not_a_seed", [1.5, "1", None])
def test_a_seed_is_an_int(not_a_seed: object):
    with pytest.raises(TypeError, match="seed"):
        run(Program(loop, 1), seed=not_a_seed)


def test_draws_have_the_mean_and_spread_of_their_distribution():
    values = torch.stack(run(Program(loop, 4000)))
    assert abs(values.mean()) < 4 / 4000**0.5
    assert abs(values.var() - 1) < 4 * (2 / 4000) ** 0.5


@pytest.mark.parametrize("fn", [
    lambda: torch.nn.Linear(2, 2).weight.detach(),
    lambda: torch.nn.functional.gumbel_softmax(torch.zeros(3)),
    lambda: torch.nn.functional.dropout(torch.ones(20)),
    lambda: torch.nn.functional.rrelu(-torch.ones(3), training=True),
    lambda: torch.nn.init.normal_(torch.empty(3)),
    lambda: torch.randperm(9) + torch.randint(0, 5, (9,)),
    *(lambda d=d: d.sample() for d in EXAMPLES.values()),
])  # fmt: skip
def test_callables_that_draw_inside_of_torchs_functions_draw_under_their_key(fn):
    def sampling():
        return (yield Sample("x", fn))

    def reading():
        return (yield Param("w", lambda: fn().float()))

    for program in (sampling, reading):
        before = global_states()
        first = run(program)
        assert all(map(_equal_states, before, global_states()))
        with torch.random.fork_rng():
            torch.manual_seed(123)
            assert same(run(program), first)
    assert any(not same(run(sampling), run(sampling, seed=n)) for n in range(1, 9))  # of two flipped coins, some are alike


class OnlyReparameterized:
    def rsample(self) -> torch.Tensor:
        return torch.rand(())

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        return torch.zeros(())


def test_an_object_that_can_only_be_drawn_reparameterised_is_a_distribution():
    t = run(trace(one_of).traced(OnlyReparameterized()))
    assert 0 <= t["x"].value < 1
    assert t.reparameterized_nodes == ["x"]


def one_of(dist):
    return (yield Sample("x", dist))


def test_an_operation_that_can_only_draw_from_the_global_generator_is_refused():
    def model():
        yield Sample("x", lambda: torch.native_dropout(torch.ones(3), 0.5, True)[0])

    before = global_states()
    with pytest.raises(DistributionError, match=r"site 'x'.*native_dropout.*draws from torch's global generator"):
        run(model)
    assert all(map(_equal_states, before, global_states()))


@pytest.mark.parametrize("sample", [
    lambda: torch.nn.functional.gumbel_softmax(torch.zeros(3)),
    lambda: torch.nn.functional.dropout(torch.ones(20)),
    lambda: td.Gamma(1.0, 1.0).sample(),
    lambda: torch.nn.init.normal_(torch.empty(3)),
], ids=["gumbel_softmax", "dropout", "Gamma", "init"])  # fmt: skip
@pytest.mark.parametrize("within", [lambda d: d, lambda d: td.TransformedDistribution(d, [td.ExpTransform()])], ids=["itself", "as a base"])
def test_a_distribution_of_the_users_own_draws_under_its_key(sample, within):
    class Own(td.Distribution):
        arg_constraints, support = {}, td.constraints.real_vector

        def sample(self, sample_shape=()):
            return sample()

        def log_prob(self, value):
            return torch.zeros(())

    def model():
        return (yield Sample("x", within(Own(validate_args=False))))

    before = global_states()
    first = run(model)
    assert all(map(_equal_states, before, global_states()))
    assert same(run(model), first) and not same(run(model, seed=1), first)


@pytest.mark.parametrize("around", [lambda m: m, lambda m: lambda: block(m)()], ids=["seen", "hidden"])
def test_an_initial_value_that_is_drawn_has_its_key(around):
    def model():
        return (yield Param("w", lambda: torch.randn(3)))

    seen = around(model)
    assert same(run(seen, seed=1), run(seen, seed=1)) and not same(run(seen, seed=1), run(seen, seed=2))
    assert same(run(seed(seen, 9), seed=1), run(seen, seed=9))
    assert same(run(seed(seed(seen, 9), 1)), run(seen, seed=9))


def test_a_distribution_whose_parameters_are_drawn_is_the_same_when_it_is_replayed():
    def model():
        x = yield Sample("x", lambda: td.Normal(torch.randn(()), 1.0))
        yield Observe("y", lambda: td.Normal(torch.randn(()), 1.0), torch.tensor(0.5))
        return x

    for number in (0, 1):
        t = run(trace(model).traced(), seed=number)
        assert torch.equal(run(trace(replay(model, t)).traced(), seed=number).log_pdf(), t.log_pdf())
    other = run(trace(model).traced(), seed=2)
    assert not torch.equal(other["y"].dist.loc, t["y"].dist.loc)


def test_a_key_that_an_observation_has_is_kept():
    def made():
        return td.Normal(torch.randn(()), 1.0)

    def model():
        yield Observe("y", made, torch.tensor(0.0))

    keyed = run(trace(seed(model, seed=3)).traced(), 1)["y"]
    assert keyed.key == (3, "y", 1) and keyed.dist.loc == run(trace(seed(model, seed=3)).traced(), 2)["y"].dist.loc


@pytest.mark.slow
def test_a_callable_that_draws_does_not_import_dynamo():
    """Which takes a second, and adds to Python's warnings filters."""
    source = (
        "import sys, torch, poutine\n"
        "def model():\n    return (yield poutine.Param('w', lambda: torch.randn(3)))\n"
        "poutine.run(model, 0)\nsys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0
