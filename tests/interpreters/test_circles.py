"""Latent angles: their densities have the right integrals, and chains go round, over the seam, too."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import AffineTransform, Categorical, Independent, MixtureSameFamily, TransformedDistribution, VonMises

from interpreters.compiled import compile_density
from interpreters.density import density
from interpreters.nuts import infer
from poutine import Observe, Program, Sample

F64 = torch.float64
Y = torch.tensor([3.0, -3.0, -2.5], dtype=F64)
CONCENTRATION = torch.tensor(4.0, dtype=F64)


def seam(y):
    """The posterior is around pi, which is -pi."""
    angle = yield Sample("angle", VonMises(torch.tensor(2.5, dtype=F64), 1.0))
    yield Observe("y", VonMises(angle, CONCENTRATION), y)


def exact() -> tuple[float, float]:
    """Where the posterior is, and its concentration: that of the sum of all as vectors."""
    parts = torch.polar(torch.tensor([1.0, 4.0, 4.0, 4.0], dtype=F64), torch.cat([torch.tensor([2.5], dtype=F64), Y]))
    total = parts.sum()
    return float(total.angle()), float(total.abs())


def test_over_the_plane_the_integral_is_that_over_the_circle():
    d = density(Program(seam, Y))
    assert d.dim == 2
    axis = torch.linspace(-4, 4, 401, dtype=F64)
    points = torch.cartesian_prod(axis, axis) + 0.001  # not the origin, where there is no density
    plane = d.batch(points).logsumexp(0) + 2 * math.log(8 / 400)
    angles = torch.linspace(-math.pi, math.pi, 401, dtype=F64)[1:]
    prior, likelihood = VonMises(2.5, 1.0).log_prob(angles), VonMises(angles[:, None], CONCENTRATION).log_prob(Y).sum(-1)
    circle = (prior + likelihood).logsumexp(0) + math.log(2 * math.pi / 400)
    assert plane.item() == pytest.approx(circle.item(), abs=1e-6)


@pytest.mark.slow
def test_chains_go_over_the_seam():
    posterior = infer(Program(seam, Y), 4, 300, 1000, seed=2)
    angle = posterior.draws["angle"]
    assert bool((angle.abs() <= math.pi).all())
    place, concentration = exact()
    k = torch.tensor(concentration, dtype=F64)
    for draws in angle:  # every chain by itself
        assert 0.1 < float((draws > 0).double().mean()) < 0.9
    ratio = (torch.special.i1e(k) / torch.special.i0e(k)).item()  # the expected cosine
    variance = 1 - ratio / concentration - ratio**2  # of the cosine; that of the sine is ratio / concentration
    assert (angle - place).cos().mean().item() == pytest.approx(ratio, abs=4 * (variance / 1000) ** 0.5)
    assert abs((angle - place).sin().mean().item()) < 4 * (ratio / concentration / 1000) ** 0.5
    assert posterior.divergences < 10


def test_batches_mixtures_and_affine_angles_have_coordinates_too():
    weights, centres = Categorical(torch.tensor([0.3, 0.7])), VonMises(torch.tensor([0.0, 2.0]), 5.0)

    def model():
        yield Sample("batch", Independent(VonMises(torch.zeros(3), 1.0), 1))
        yield Sample("mixture", MixtureSameFamily(weights, centres))
        yield Sample("half", TransformedDistribution(VonMises(0.0, 1.0), [AffineTransform(1.0, 0.5)]))

    d = density(Program(model))
    assert {name: tuple(site.unconstrained) for name, site in d.sites.items()} == {"batch": (3, 2), "mixture": (2,), "half": (2,)}
    u = torch.randn(d.dim, dtype=F64, generator=torch.Generator().manual_seed(0))
    values = d.constrain(u)
    assert values["batch"].shape == (3,) and abs(float(values["half"]) - 1.0) <= math.pi / 2
    again = d.constrain(d.unconstrain(values))
    for name, value in values.items():
        torch.testing.assert_close(again[name], value)
    assert bool(d.log_prob(values).isfinite())


def test_their_gradient_is_compiled(tmp_path):
    d = density(Program(seam, Y))
    kernel = compile_density(d, cache_dir=tmp_path)
    u = torch.tensor([-0.8, 0.1], dtype=F64)
    assert kernel.tier == "native"
    for mine, theirs in zip(kernel.value_and_grad(u), d.value_and_grad(u), strict=True):
        torch.testing.assert_close(torch.as_tensor(mine, dtype=F64), theirs)
