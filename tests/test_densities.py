"""Log densities of sites: scale, mask, and gradients that are exactly zero."""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributions as td
from torch.fx.experimental.proxy_tensor import make_fx

from poutine import DistributionError, NoDensity, Observe, Sample, batch_log_density, factor, log_density
from poutine.equivalents import Equivalents, is_close
from poutine.randomness import draw
from tests.test_randomness import EXAMPLES

D = td.Normal(0.0, 1.0)


def test_an_exact_value():
    assert log_density(Observe("y", D, torch.tensor(2.0))).item() == pytest.approx(-2 - 0.5 * math.log(2 * math.pi))


@pytest.mark.parametrize("value", [2.0, torch.tensor(2.0)])
def test_numbers_are_values_too(value: object):
    assert torch.allclose(log_density(Observe("y", D, value)).double(), D.log_prob(torch.tensor(2.0)).double())


def test_numbers_keep_double_precision():
    exact = td.Normal(torch.tensor(0.0, dtype=torch.float64), 1e-9)
    assert log_density(Observe("y", exact, 0.1)) == exact.log_prob(torch.tensor(0.1, dtype=torch.float64))


def test_scale_and_mask():
    site = Observe("y", D, torch.arange(3.0)).evolve(scale=torch.tensor([1.0, 2.0, 3.0]), mask=torch.tensor([True, False, True]))
    expected = D.log_prob(torch.arange(3.0)) * torch.tensor([1.0, 0.0, 3.0])
    assert torch.equal(batch_log_density(site), expected)
    assert torch.equal(log_density(site), expected.sum())


@pytest.mark.parametrize("mask", [False, torch.tensor(False)])
def test_a_mask_that_is_off(mask: object):
    site = Observe("y", td.Normal(torch.zeros(3), 1.0), torch.full((3,), float("nan"))).evolve(mask=mask)
    assert torch.equal(batch_log_density(site), torch.zeros(3))


class Shapeless:
    def sample(self):
        return D.sample()

    def log_prob(self, value):
        return D.log_prob(value)


@pytest.mark.parametrize("around", [{"mask": torch.tensor([True, True])}, {"scale": torch.ones(2)}], ids=["mask", "scale"])
def test_a_mask_or_a_scale_does_not_make_more_elements_of_a_site(around: dict[str, torch.Tensor]):
    """Law I: a mask that is True everywhere, and a scale of one, are identities; elements that count twice are none."""
    (what,) = around
    column = Observe("y", td.Normal(torch.zeros(3, 1), 1.0), torch.ones(3, 1))
    for site in (Observe("y", D, torch.tensor(1.0)), column, Observe("y", Shapeless(), torch.tensor(1.0))):
        with pytest.raises(
            DistributionError, match=rf"site 'y': the {what} around it has shape \(2,\), and the site batch shape .* would count"
        ):
            log_density(site.evolve(**around))
    nobody = {what: around[what][:0]}
    with pytest.raises(DistributionError, match="would count"):
        log_density(column.evolve(**nobody))
    for fits in (Observe("y", D, torch.ones(3, 2)), Observe("y", D.expand([2]), torch.tensor(1.0))):
        assert torch.equal(log_density(fits.evolve(**around)), log_density(fits))
    alone = column.evolve(**{what: around[what][:1]})
    assert torch.equal(log_density(alone), log_density(column))


LATER = td.AffineTransform(1.0, 2.0)
NARROW = {
    "transformed": td.TransformedDistribution(td.Exponential(1.0), LATER),
    "its event": td.Independent(td.TransformedDistribution(td.Exponential(torch.ones(2)), LATER), 1),
    "twice": td.TransformedDistribution(td.TransformedDistribution(td.Exponential(1.0), td.ExpTransform()), LATER),
    "mixture": td.MixtureSameFamily(
        td.Categorical(torch.ones(2)), td.TransformedDistribution(td.Exponential(torch.tensor([1.0, 2.0])), LATER)
    ),
}


@pytest.mark.parametrize("case", NARROW)
def test_a_value_outside_of_a_range_that_is_narrower_than_the_support_is_refused_under_a_mask_too(case: str):
    """Which is no validation's, since masked parameters are validated no more: its log density would be that of a probability above one."""
    dist = NARROW[case]
    outside = torch.zeros(2) if dist.event_shape else torch.tensor(0.0)
    for mask in (True, torch.tensor(True), torch.tensor([True, True])):
        site = Observe("y", dist.expand([2]) if isinstance(mask, torch.Tensor) and mask.dim() else dist, outside).evolve(mask=mask)
        with pytest.raises(DistributionError, match="site 'y'"):
            log_density(site)
    assert log_density(Observe("y", dist, outside).evolve(mask=torch.tensor(False))) == 0.0
    inside = outside + 4.0
    expected = dist.log_prob(inside)
    assert torch.equal(log_density(Observe("y", dist, inside).evolve(mask=torch.tensor(True))), expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0])
def test_where_the_mask_is_off_the_gradient_is_exactly_zero(bad: float):
    loc = torch.tensor(0.5, requires_grad=True)
    scale = torch.tensor([1.0, bad], requires_grad=True)
    value = torch.tensor([1.0, bad], requires_grad=True)
    dist = td.Normal(loc, scale, validate_args=False)
    density = log_density(Observe("y", dist, value).evolve(mask=torch.tensor([True, False])))
    density.backward()
    assert torch.equal(density, td.Normal(0.5, 1.0).log_prob(torch.tensor(1.0)))
    assert (loc.grad.item(), scale.grad[1].item(), value.grad[1].item()) == (0.5, 0.0, 0.0)
    assert scale.grad[0] == pytest.approx(0.25 - 1.0)


@pytest.mark.parametrize("make", [
    lambda w: td.Gamma(w, w),
    lambda w: td.LogNormal(w, w),
    lambda w: td.TransformedDistribution(td.Normal(w, w), [td.AffineTransform(w, w), td.ExpTransform()]),
    lambda w: td.Independent(td.Normal(torch.stack([w, w], -1), 1.0), 1),
    lambda w: td.MixtureSameFamily(td.Categorical(torch.stack([w, w], -1)), td.Normal(torch.stack([w, w], -1), 1.0)),
    lambda w: td.StudentT(w, w, w),
    lambda w: td.MultivariateNormal(torch.stack([w, w], -1), w[..., None, None] * torch.eye(2)),
], ids=["Gamma", "LogNormal", "Transformed", "Independent", "Mixture", "StudentT", "MultivariateNormal"])  # fmt: skip
def test_infinities_behind_a_mask_stay_there_for_compound_distributions(make):
    """Parameters that several elements share must get the gradient of the elements that count, and no nan."""
    shared = torch.tensor(1.5, requires_grad=True)
    dist = make(shared * torch.ones(2))
    value = torch.full(dist.batch_shape + dist.event_shape, 0.5)
    value[1] = float("inf")
    log_density(Observe("y", dist, value).evolve(mask=torch.tensor([True, False]))).backward()
    alone = torch.tensor(1.5, requires_grad=True)
    make(alone * torch.ones(2)).log_prob(torch.full_like(value, 0.5))[0].backward()
    assert torch.allclose(shared.grad, alone.grad)


nan = float("nan")


class Sum(td.Distribution):
    """A distribution of the user's own that keeps a part without a batch, and declares nothing or only half of it."""

    support = td.constraints.real

    def __init__(self, weight: torch.Tensor, size: int) -> None:
        self.weight, self.part = weight, td.Normal(weight, 1.0)
        super().__init__(torch.Size([size]), validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return type(self)(self.weight, batch_shape[0])

    def rsample(self, sample_shape=()):
        return self.part.rsample(self.batch_shape)

    def log_prob(self, value):
        return self.part.log_prob(value) + self.weight


class Declared(Sum):
    arg_constraints = {"weight": td.constraints.dependent}  # without a number of event dimensions


SHARED = {
    "declares nothing": (lambda w: Sum(w, 3), (3,)),
    "declares half": (lambda w: Declared(w, 3), (3,)),
    "Independent transform": (
        lambda w: td.TransformedDistribution(
            td.Independent(td.Normal(torch.zeros(3, 2), 1.0), 1), [td.IndependentTransform(td.AffineTransform(0.0, w.expand(3, 2)), 1)]
        ),
        (3, 2),
    ),
    "cumulative": (
        lambda w: td.TransformedDistribution(td.Normal(torch.zeros(3), 1.0), [td.CumulativeDistributionTransform(td.Normal(w.expand(3), 1.0))]),
        (3,),
    ),
    "MVN scale_tril": (lambda w: td.MultivariateNormal(torch.zeros(3, 2), scale_tril=w * torch.eye(2)), (3, 2)),
    "MVN covariance": (lambda w: td.MultivariateNormal(torch.zeros(3, 2), covariance_matrix=w * torch.eye(2)), (3, 2)),
    "MVN as wide as the batch": (lambda w: td.MultivariateNormal(torch.zeros(3, 3), scale_tril=w * torch.eye(3)), (3, 3)),
    "MVN of another batch": (lambda w: td.MultivariateNormal(torch.zeros(3, 1, 2), scale_tril=w * torch.eye(2).expand(4, 2, 2)), (3, 4, 2)),
    "LowRank": (lambda w: td.LowRankMultivariateNormal(torch.zeros(3, 2), w * torch.ones(2, 1), w * torch.ones(2)), (3, 2)),
    "LowRank as wide": (lambda w: td.LowRankMultivariateNormal(torch.zeros(3, 3), w * torch.ones(3, 3), w * torch.arange(1.0, 4)), (3, 3)),
    "Affine": (lambda w: td.TransformedDistribution(td.Normal(torch.zeros(3), 1.0), [td.AffineTransform(w, 1.0)]), (3,)),
    "Affine of an event": (
        lambda w: td.TransformedDistribution(
            td.Independent(td.Normal(torch.zeros(3, 3), 1.0), 1), [td.AffineTransform(w * torch.arange(3.0), w * torch.ones(3), 1)]
        ),
        (3, 3),
    ),
    "inverse": (lambda w: td.TransformedDistribution(td.Normal(torch.zeros(3), 1.0), [td.AffineTransform(w, w).inv]), (3,)),
    "composed": (
        lambda w: td.TransformedDistribution(
            td.Normal(torch.zeros(3), 1.0), td.ComposeTransform([td.AffineTransform(w, w), td.ExpTransform().inv.inv])
        ),
        (3,),
    ),
    "Power": (lambda w: td.TransformedDistribution(td.LogNormal(torch.zeros(3), 1.0), [td.PowerTransform(w)]), (3,)),
    "RelaxedBernoulli": (lambda w: td.RelaxedBernoulli(w, probs=torch.full((3,), 0.5)), (3,)),
    "Wishart": (lambda w: td.Wishart(torch.full((3,), 4.0), scale_tril=w * torch.eye(2)), (3, 2, 2)),
    "Independent": (
        lambda w: td.Independent(td.MultivariateNormal(torch.zeros(3, 4, 2), scale_tril=w * torch.eye(2).expand(4, 2, 2)), 1),
        (3, 4, 2),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Singular sample detected:UserWarning")
@pytest.mark.parametrize("bad", [nan, float("inf"), -9.0, 0.0])
@pytest.mark.parametrize("on", [(True, False, True), (False, True, False), (False, False, False)], ids=str)
@pytest.mark.parametrize("make, shape", SHARED.values(), ids=SHARED)
def test_a_shared_parameter_gets_the_gradient_of_the_elements_that_are_on(make, shape, on, bad):
    w, alone = (torch.tensor(1.5, requires_grad=True) for _ in range(2))
    dist = make(w)
    good = draw(make(torch.tensor(1.5)), (0, "good", 1))
    mask = torch.tensor(on).reshape((3,) + (1,) * (len(dist.batch_shape) - 1))
    value = torch.where(mask.reshape((3,) + (1,) * (len(shape) - 1)), good, bad).requires_grad_()
    density = log_density(Observe("y", dist, value).evolve(mask=mask))
    expected = torch.where(mask, make(alone).log_prob(good), 0.0).sum()
    assert torch.allclose(density, expected)
    density.backward()
    expected.backward()
    assert torch.allclose(w.grad, alone.grad, atol=1e-5)
    assert value.grad.isfinite().all()
    assert torch.equal(value.grad[~torch.tensor(on)], torch.zeros_like(value)[~torch.tensor(on)])


@pytest.mark.parametrize("make", [
    lambda v, w: td.MultivariateNormal(v[:, None] * torch.ones(2), scale_tril=w * torch.eye(2), validate_args=False),
    lambda v, w: td.MultivariateNormal(w * torch.ones(2, 2), scale_tril=v[:, None, None] * torch.eye(2), validate_args=False),
    lambda v, w: td.TransformedDistribution(td.Normal(torch.zeros(2), 1.0), [td.AffineTransform(v, w)], validate_args=False),
    lambda v, w: td.TransformedDistribution(
        td.Independent(td.Normal(torch.zeros(2, 2), 1.0), 1), [td.AffineTransform(v[:, None], w, 1)], validate_args=False
    ),
], ids=["loc", "scale_tril", "Affine", "Affine of an event"])  # fmt: skip
def test_parameters_that_are_bad_where_the_mask_is_off(make):
    """The mask is over a wider batch than the parameters have, and off wherever the bad one is."""
    mask = torch.tensor([[True, False], [True, False], [False, False]])

    def gradients(second: float) -> tuple[torch.Tensor, ...]:
        v, w = torch.tensor([1.0, second], requires_grad=True), torch.tensor(1.5, requires_grad=True)
        dist = make(v, w)
        value = torch.full((3, *dist.batch_shape, *dist.event_shape), 0.5)
        if math.isnan(second):
            density = log_density(Observe("y", dist, value).evolve(mask=mask))
        else:
            density = torch.where(mask, dist.log_prob(value), 0.0).sum()
        return (density, *torch.autograd.grad(density, (v, w)))

    for found, expected in zip(gradients(nan)[::2], gradients(2.0)[::2], strict=True):
        assert torch.allclose(found, expected)
    # What builds a distribution may make 0 * nan of its own; the parameter that counts gets its gradient all the same.
    assert torch.allclose(gradients(nan)[1][0], gradients(2.0)[1][0])


@pytest.mark.parametrize("make", [
    lambda: td.Categorical(torch.ones(3, 4)),
    lambda: td.Categorical(torch.ones(4)),
    lambda: td.Categorical(torch.ones(3, 4), validate_args=False),
    lambda: td.MixtureSameFamily(td.Categorical(torch.ones(3, 2)), td.Categorical(torch.ones(3, 2, 4))),
], ids=["batch", "shared", "unvalidated", "Mixture"])  # fmt: skip
@pytest.mark.parametrize("bad", [99.0, -9.0, nan])
@pytest.mark.parametrize("on", [(True, False, True), (False, True, False), (False, False, False)], ids=str)
def test_indices_out_of_range_behind_a_mask(make, bad, on):
    mask = torch.tensor(on)
    value = torch.where(mask, torch.tensor([1.0, 3.0, 2.0]), bad)
    found = batch_log_density(Observe("y", make(), value).evolve(mask=mask))
    assert torch.allclose(found, torch.where(mask, -math.log(4), 0.0))


def test_a_density_with_a_mask_goes_through_vmap():
    masks = torch.tensor([[True, False], [False, True], [False, False]])
    dist = td.Normal(torch.zeros(2), 1.0, validate_args=False)
    found = torch.vmap(lambda m: batch_log_density(Observe("y", dist, torch.arange(2.0)).evolve(mask=m)))(masks)
    assert torch.equal(found, torch.where(masks, dist.log_prob(torch.arange(2.0)), 0.0))


@pytest.mark.parametrize("mask", [False, torch.zeros(3, dtype=torch.bool)])
def test_with_nothing_on_the_gradient_is_zero_rather_than_missing(mask):
    loc = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    density = batch_log_density(Observe("y", td.Normal(loc, 1.0), torch.full((3,), nan)).evolve(mask=mask))
    density.sum().backward()
    assert density.dtype == torch.float64
    assert torch.equal(loc.grad, torch.zeros_like(loc))


@pytest.mark.filterwarnings("ignore:Singular sample detected:UserWarning")
@pytest.mark.parametrize("name", EXAMPLES)
def test_masking_every_distribution_is_selecting(name: str):
    dist = EXAMPLES[name]
    value = draw(dist, (0, name, 1))
    mask = torch.arange(math.prod(dist.batch_shape)).reshape(dist.batch_shape) % 2 == 0
    expected = torch.where(mask, dist.log_prob(value), 0.0)
    assert torch.allclose(batch_log_density(Observe("y", dist, value).evolve(mask=mask)), expected)


def test_values_outside_of_the_support_are_refused_only_where_the_mask_is_on():
    site = Observe("y", td.Exponential(torch.ones(2)), torch.tensor([1.0, -1.0]))
    assert batch_log_density(site.evolve(mask=torch.tensor([True, False])))[0] == -1.0
    with pytest.raises(DistributionError, match=r"site 'y'.*support"):
        batch_log_density(site.evolve(mask=torch.tensor([False, True])))
    with pytest.raises(DistributionError, match="site 'y': cannot score"):
        batch_log_density(site)


def test_a_distribution_that_is_none_of_torchs_but_has_shapes():
    class Flat:
        batch_shape, event_shape = torch.Size([2]), torch.Size()

        def sample(self):
            return torch.rand(2)

        def log_prob(self, value):
            return -value

    site = Observe("y", Flat(), torch.tensor([1.0, nan])).evolve(mask=torch.tensor([True, False]))
    assert torch.equal(batch_log_density(site), torch.tensor([-1.0, 0.0]))


def test_a_distribution_that_tells_no_shapes_has_no_gradient_where_the_mask_is_off():
    class Root:
        def sample(self):
            return torch.rand(2)

        def log_prob(self, value):
            return value.sqrt()

    value = torch.tensor([4.0, 0.0], requires_grad=True)
    log_density(Observe("y", Root(), value).evolve(mask=torch.tensor([True, False]))).backward()
    assert value.grad[1] == 0.0


def test_a_mask_over_nothing():
    site = Observe("y", td.Normal(torch.zeros(0), 1.0), torch.zeros(0)).evolve(mask=torch.ones(0, dtype=torch.bool))
    assert batch_log_density(site).shape == (0,)


def test_a_density_with_a_mask_is_traced():
    dist = td.Normal(torch.zeros(2), 1.0, validate_args=False)

    def density(mask: torch.Tensor) -> torch.Tensor:
        return batch_log_density(Observe("y", dist, torch.arange(2.0)).evolve(mask=mask))

    graph = make_fx(density)(torch.tensor([True, False]))
    for mask in (torch.tensor([False, True]), torch.tensor([False, False])):
        assert torch.equal(graph(mask), density(mask))


def test_what_cannot_be_scored():
    with pytest.raises(NoDensity, match="no value yet"):
        log_density(Sample("x", D))
    with pytest.raises(NoDensity, match="bare callable"):
        log_density(Observe("x", lambda: torch.randn(2), torch.zeros(())))
    with pytest.raises(DistributionError, match=r"shape \(2, 3\)"):
        log_density(Observe("x", td.MultivariateNormal(torch.zeros(2), torch.eye(2)), torch.zeros(2, 3)))


class Coin:
    """A distribution of the user's own, with no more than it must have."""

    def sample(self) -> bool:
        return bool(torch.rand(()) < 0.5)

    def log_prob(self, value: bool) -> float:
        return math.log(0.5)


def test_any_object_with_sample_and_log_prob_is_a_distribution():
    assert log_density(Observe("c", Coin(), True)).item() == pytest.approx(math.log(0.5))
    assert log_density(Observe("c", Coin(), True).evolve(mask=False, scale=2.0)).item() == 0.0
    assert log_density(Observe("c", Coin(), True).evolve(scale=2.0)).item() == pytest.approx(2 * math.log(0.5))


@pytest.mark.parametrize("term", ["a", None, D, td.Normal, [torch.zeros(2), torch.zeros(3)]], ids=[*"abcde"])
def test_a_factor_that_is_no_number_is_told(term):
    with pytest.raises(
        DistributionError, match="site 'f': expected a number or a tensor as the factor, a term of the log density in nats, got "
    ):
        factor("f", term)


def test_a_factor_adds_its_term():
    site = factor("f", torch.tensor([1.0, 2.0]))
    assert torch.equal(batch_log_density(site), torch.tensor([1.0, 2.0]))
    assert torch.equal(batch_log_density(site.evolve(mask=torch.tensor([False, True]), scale=3.0)), torch.tensor([0.0, 6.0]))
    assert log_density(factor("f", -0.5)) == -0.5


@pytest.mark.parametrize("value", [True, 1, torch.tensor([1, 0, 1]), torch.tensor([True, False, True])])
@pytest.mark.parametrize("mask", [True, torch.tensor(True)])
@pytest.mark.parametrize(
    "dist",
    [
        td.Bernoulli(0.3),
        td.Bernoulli(torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64)),
        td.Normal(0.0, 1.0),
        td.Binomial(3, torch.tensor(0.2)),
    ],
)
def test_whole_numbers_and_truth_are_numbers(dist: td.Distribution, mask: bool | torch.Tensor, value: torch.Tensor | int):
    as_float = batch_log_density(Observe("y", dist, torch.as_tensor(value).double()))
    found = batch_log_density(Observe("y", dist, value).evolve(mask=mask))
    assert torch.allclose(found.double(), as_float.double(), rtol=1e-6)


def test_what_a_float_does_not_mend_is_told_as_it_was():
    with pytest.raises(DistributionError, match="cannot score a value of shape \\(2,\\)"):
        batch_log_density(Observe("y", td.Bernoulli(torch.tensor([0.3, 0.2, 0.1])), torch.tensor([1, 0])))


def test_what_floats_are_refused_for_is_told_as_it_was():
    with pytest.raises(DistributionError, match="The size of tensor a"):
        batch_log_density(Observe("y", td.Normal(torch.zeros(3), 1.0, validate_args=False), torch.zeros(2)))


@pytest.mark.parametrize(
    "of_probabilities",
    [
        lambda p: td.Multinomial(10, p),
        lambda p: td.MixtureSameFamily(td.Categorical(torch.ones(2)), td.Multinomial(10, torch.stack([p, p.flip(-1)]))),
    ],
)
def test_counts_of_many_categories_are_scored_under_vmap(of_probabilities):
    counts = torch.tensor([2.0, 0.0, 8.0], dtype=torch.float64)
    probabilities = torch.tensor([[0.2, 0.3, 0.5], [0.5, 0.0, 0.5], [0.1, 0.0, 0.9]], dtype=torch.float64)

    def scored(p: torch.Tensor) -> torch.Tensor:
        return log_density(Observe("y", of_probabilities(p), counts))

    expected = torch.stack([of_probabilities(p).log_prob(counts) for p in probabilities])
    assert torch.allclose(torch.func.vmap(scored)(probabilities), expected, rtol=1e-14)
    gradient = torch.func.grad(scored)(probabilities[0])
    assert torch.allclose(torch.func.vmap(torch.func.grad(scored))(probabilities)[0], gradient, rtol=1e-14)


def test_the_generalized_pareto_is_scored_in_double_precision():
    """Torch compares its concentration with a single zero, and refuses."""
    value, xi = torch.tensor([0.5, 2.0], dtype=torch.float64), torch.tensor([0.2, 0.0, -0.1], dtype=torch.float64)

    def scored(xi: torch.Tensor) -> torch.Tensor:
        return log_density(Observe("y", td.GeneralizedPareto(0.0, 1.0, xi, validate_args=False), value))

    expected = [-(1 / 0.2 + 1) * (1 + 0.2 * value).log().sum(), -value.sum(), -(1 / -0.1 + 1) * (1 - 0.1 * value).log().sum()]
    assert torch.allclose(torch.stack([scored(each) for each in xi]), torch.stack(expected), rtol=1e-14)
    assert torch.allclose(torch.func.vmap(scored)(xi), torch.stack(expected), rtol=1e-14)


def test_closeness_is_torchs():
    numbers = torch.tensor([0.0, 1.0, 1.0 + 1e-6, 1e-9, -1.0, math.inf, -math.inf, math.nan], dtype=torch.float64)
    for equal_nan in (False, True):
        expected = torch.isclose(numbers[:, None], numbers, equal_nan=equal_nan)
        assert torch.equal(is_close(numbers[:, None], numbers, equal_nan=equal_nan), expected)


@pytest.mark.parametrize("index", [torch.tensor([True, False]), torch.tensor([[True, False], [False, True]]), torch.tensor([1]), 0])
@pytest.mark.parametrize("value", [5, 0.5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_what_is_written_by_a_mask_is_what_torch_writes(index: object, value: object, dtype: torch.dtype):
    """Which is no tensor's business but that of floating point: torch rounds a number towards zero to write it as a whole one."""
    with Equivalents():
        ours = torch.zeros(2, 2, dtype=dtype)
        ours[index] = value
    theirs = torch.zeros(2, 2, dtype=dtype)
    theirs[index] = value
    assert torch.equal(ours, theirs)


class Untold(td.Normal):
    """Tells no support."""

    @property
    def support(self):
        raise NotImplementedError


def test_what_tells_no_range_is_scored_under_a_mask():
    shifted = td.TransformedDistribution(Untold(torch.zeros(2), 1.0), [td.transforms.AffineTransform(1.0, 1.0)])
    site = Observe("y", shifted, torch.ones(2)).evolve(mask=torch.tensor([True, False]))
    assert torch.equal(batch_log_density(site), torch.stack([td.Normal(0.0, 1.0).log_prob(torch.tensor(0.0)), torch.tensor(0.0)]))
