"""The short ways to a draw give, bit for bit, what the general way gives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.distributions import Independent, Normal

from poutine import DistributionError, Keyed, Sample, run, same, trace
from poutine.randomness import call_keyed, draw, draw_unbuilt

KEY = (3, "x", 1)
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SHAPES = [(), (0,), (1,), (3,), (15,), (16,), (17,), (4, 5), (2, 1, 8)]
LAYOUTS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.mT.contiguous().mT if x.dim() > 1 else x,
    "expanded": lambda x: x[..., :1].expand(x.shape) if x.dim() and x.numel() else x,
    "every second": lambda x: torch.stack([x, x], -1)[..., 0],
}


def numbers(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype) + 0.1


def generally(dist: torch.distributions.Distribution) -> torch.Tensor:
    with Keyed(KEY):
        return dist.rsample()


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return same(a, b) and bool((a.signbit() == b.signbit()).all())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_normal(shape: tuple[int, ...], dtype: torch.dtype, layout: str):
    loc, scale = (LAYOUTS[layout](numbers(shape, dtype, seed)) for seed in (1, 2))
    dist = Normal(loc, scale)
    assert same_bits(draw(dist, KEY), generally(dist))
    assert draw(dist, KEY).is_contiguous() == generally(dist).is_contiguous()


@pytest.mark.parametrize("dtypes", [(torch.float32, torch.float64), (torch.float64, torch.float32)], ids=str)
def test_a_normal_of_two_types(dtypes: tuple[torch.dtype, torch.dtype]):
    loc, scale = (numbers((3,), dtype, 1) for dtype in dtypes)
    assert same_bits(draw(Normal(loc, scale), KEY), generally(Normal(loc, scale)))


def test_a_normal_within_independent():
    dist = Independent(Independent(Normal(numbers((2, 3, 4), torch.float32, 1), 2.0), 1), 1)
    assert same_bits(draw(dist, KEY), generally(dist))


def test_gradients_reach_the_arguments_of_a_normal_alike():
    def gradients(sample) -> tuple[torch.Tensor, ...]:
        loc, scale = (numbers((3,), torch.float32, seed).requires_grad_() for seed in (1, 2))
        return torch.autograd.grad(sample(Normal(loc, scale)).sin().sum(), (loc, scale))

    assert all(map(same_bits, gradients(lambda dist: draw(dist, KEY)), gradients(generally)))


def test_a_subclass_of_normal_draws_its_own_way():
    class Shifted(Normal):
        def rsample(self, sample_shape=()):
            return super().rsample(sample_shape) + 100.0

    assert draw(Shifted(0.0, 1.0), KEY) > 50.0


@pytest.fixture(params=DTYPES, ids=str)
def default_dtype(request) -> Iterator[torch.dtype]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


@pytest.mark.parametrize("args", [(0.0, 1.0), (0.1, 0.3), (-7.7, 1e-3), (1e10, 123.456)], ids=str)
def test_a_normal_of_numbers_that_is_not_built(default_dtype: torch.dtype, args: tuple[float, float]):
    drawn = draw_unbuilt(Normal, args, {}, KEY)
    if default_dtype.itemsize >= 4:
        assert same_bits(drawn, generally(Normal(*args)))
    else:
        assert drawn is None


@given(st.floats(), st.floats())
def test_any_normal_of_numbers_that_is_not_built(loc: float, scale: float):
    drawn = draw_unbuilt(Normal, (loc, scale), {}, KEY)
    assume(drawn is not None)
    assert same_bits(drawn, generally(Normal(loc, scale)))


@pytest.mark.parametrize("loc", [float("nan"), 0.0, 1e300, float("inf")])
@pytest.mark.parametrize("scale", [float("nan"), 0.0, -1.0, 1e-50, 1e300, float("inf")])
def test_doubtful_numbers_are_left_to_torch(loc: float, scale: float):
    assert draw_unbuilt(Normal, (loc, scale), {}, KEY) is None


@pytest.mark.parametrize(
    "args", [(0, 1), (torch.tensor(0.0), 1.0), (0.0, torch.tensor(1.0)), (0.0,), (0.0, 1.0, None), (True, 1.0)], ids=str
)
def test_arguments_that_are_not_two_numbers_are_left_to_torch(args: tuple[object, ...]):
    assert draw_unbuilt(Normal, args, {}, KEY) is None


def test_another_device_is_left_to_the_general_way():
    with torch.device("meta"):
        assert draw_unbuilt(Normal, (0.0, 1.0), {}, KEY) is None


@pytest.mark.parametrize("args", [(0.0, 0.0), (0.0, -1.0), (0.0, float("nan")), (float("nan"), 1.0), (0.0, 1e-50)], ids=str)
def test_wrong_arguments_raise_at_the_yield_though_nobody_looks_at_the_distribution(args: tuple[float, float]):
    seen = []

    def model():
        try:
            yield Sample("x", Normal, *args)
        except DistributionError as error:
            seen.append(error.name)
            raise

    with pytest.raises(DistributionError, match=r"site 'x': cannot call Normal\("):
        run(model)
    assert seen == ["x"]


def test_the_distribution_is_built_when_it_is_asked_for():
    def model(*args: object):
        return (yield Sample("x", *args))

    late, early = (trace(model).get_trace(*args) for args in ((Normal, 0.3, 2.0), (Normal(0.3, 2.0),)))
    assert same(late["x"].value, early["x"].value)
    assert torch.equal(late.log_pdf(), early.log_pdf())
    assert late["x"].dist is late["x"].dist


def test_a_site_with_other_arguments_has_another_distribution():
    site = Sample("x", Normal, loc=0.0, scale=1.0)
    assert site.dist.scale == 1.0
    assert site.evolve(kwargs={"loc": 0.0, "scale": 2.0}).dist.scale == 2.0


def test_what_draws_while_it_is_built_is_keyed():
    class Random(Normal):
        def __init__(self) -> None:
            super().__init__(torch.randn(()), 1.0)

    before = torch.get_rng_state()
    first, second = (call_keyed(Random, (), {}, KEY).loc for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
