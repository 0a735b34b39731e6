"""Operations in C++: for each, the numbers and the gradients of autograd, by kernels of many at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributions as td

from interpreters.compiled import compile_density
from interpreters.density import density
from poutine import Program, Sample, factor

F64 = torch.float64
A, B, C = ((0.1 + 0.7 * torch.arange(start, start + 12, dtype=F64).sin()).reshape(3, 4) for start in (0, 5, 9))
W = torch.linspace(-1.0, 1.0, 40, dtype=F64)
COUNTY = torch.tensor([2, 0, 1, 1, 2, 0, 2])


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=F64)


# Functions of a vector u of 12 numbers.
ELEMENTWISE: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda u: u.exp() + u.expm1() + torch.exp2(u),
    lambda u: u.abs().log() + (u * u).log1p() + u.abs().log2() + u.abs().log10(),
    lambda u: (1 + u * u).sqrt() + (1 + u * u).rsqrt() + u.sigmoid() + u.square() + (1 + u * u).reciprocal(),
    lambda u: u.sin() + u.cos() + u.tan() + u.atan() + torch.atan2(u, 1 + u * u) + (u.sin() / 2).asin() + (u.sin() / 2).acos(),
    lambda u: u.sinh() + u.cosh() + u.tanh() + u.asinh() + (1.5 + u * u).acosh() + (u.tanh() / 2).atanh(),
    lambda u: u.erf() + u.erfc() + u.lgamma() + (1 + u * u).lgamma() + (u - 4.3).lgamma(),
    lambda u: u * (u.floor() + u.ceil() + u.trunc() + (3 * u).round() + u.sign()),
    lambda u: u.clamp(-0.3, 0.4) + u.clamp_min(0.1) + u.clamp_max(0.2) + u.relu() + torch.maximum(u, -u) + torch.minimum(u, u * u),
    lambda u: torch.where((u > 0.2) | (u < -0.5) & ~(u >= 1), u * u, 3 * u) + u.isnan() * u + u.where(u != 0.1, 1.0),
    lambda u: u**2 + u**3 + u.abs() ** 0.5 + u.abs() ** 1.7 + 2.0**u + u.abs() ** u + u**1,
    lambda u: u / 3 + u / u.sum() + u / (2 + u * u) + 1 / (3 + u),
    lambda u: torch.logaddexp(u, -u) + torch.nn.functional.softplus(u) + torch.nn.functional.logsigmoid(u) + torch.xlogy(u * u, 1 + u * u),
]  # fmt: skip

ELEMENTWISE += [
    lambda u: torch.nn.functional.elu(u) + torch.nn.functional.gelu(u, approximate="tanh") + torch.nn.functional.leaky_relu(u) + torch.nn.functional.hardtanh(u, -0.2, 0.3),
    lambda u: torch.nn.functional.softshrink(u, 0.1) + torch.nn.functional.hardshrink(u, 0.1) + torch.fmax(u, -u * u) + torch.fmin(u, u * u),
    lambda u: torch.ldexp(u, torch.tensor(2)) + torch.div(u, 0.3, rounding_mode="trunc") * u + u.signbit() * u + torch.special.log_ndtr(u),
]  # fmt: skip

SHAPED: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda u: u.reshape(3, 4).sum(0) * 2 + u.reshape(3, 4).amax(0) + u.reshape(3, 4).prod(0) + u.reshape(3, 4).amin(0) + u.reshape(3, 4).mean(0),
    lambda u: u.reshape(3, 4).logsumexp(1) + u.reshape(3, 4).log_softmax(0).sum(1) * u[:3] + (u.reshape(3, 4).softmax(1) ** 2).sum(1),
    lambda u: u.masked_fill(A.flatten() > 0.5, -torch.inf).reshape(3, 4).logsumexp(0) + u.reshape(3, 4).logsumexp((0, 1), keepdim=True)[0],
    lambda u: (W[:, None] - u[:2]).pow(2).div(u[2:4].exp()).sub(u[4:6]).logsumexp(1).sum() + (W[:, None] / u[:3].exp()).exp().flip(1).cumsum(1).prod(1).sum() * u,
    lambda u: ((W[:, None] * u[:4]).sin() * W[:, None]).reshape(40, 2, 2).flip(0, 2).amax(2).cos().sum(0).cumsum(0) * u[:2] + (W[:, None] * u[:2]).tanh().flatten()[1:].sum(),
    lambda u: u.cumsum(0) * u + u.reshape(3, 4).cumsum(1).t().reshape(-1),
    lambda u: u.repeat(5).cumsum(0) + u.repeat(5).reshape(5, 12).cumsum(0).reshape(-1),
    lambda u: u.cumprod(0) + (u.reshape(3, 4) * A).cumprod(1).flatten(),
    lambda u: torch.cat([u[3:], u[:3] * 2]) + torch.stack([u[:6], u[6:]], 1).flatten() + u.flip(0) * A.flatten(),
    lambda u: torch.nn.functional.pad(u, (2, 1), value=3.0)[1:-2] * A.flatten(),
    lambda u: (u.reshape(3, 4) @ A.t() + u[:3]).diagonal() ** 2 + (A @ u[:4]) * B.t().t()[:, 0],
    lambda u: torch.diag_embed(u[:3]).exp().sum(1) + u.reshape(3, 4).tril().sum(1) * u.reshape(3, 4).triu(1).exp().sum(1),
    lambda u: u[COUNTY] * u.reshape(3, 4)[COUNTY, 1] + u.reshape(3, 4).index_select(0, COUNTY).sum(1) + u.reshape(3, 4)[COUNTY, torch.tensor([1, -1, 2, 0, 3, 3, 3])],
    lambda u: u[torch.tensor([4, 4])] + u[torch.tensor(-5)] + u[torch.tensor([3])] ** 2 + u[A.flatten() > 0][:2],
    lambda u: u.reshape(3, 4).gather(1, torch.tensor([[3], [0], [3]])).exp().squeeze(1) + u.reshape(3, 4).gather(0, COUNTY[:4][None])[0, 1],
    lambda u: torch.zeros(5, dtype=F64).index_add(0, torch.arange(12) % 5, u * u) ** 2,
    lambda u: torch.zeros(5, dtype=F64).scatter_add(0, torch.arange(12) % 4, u * u) ** 2 + torch.zeros(5, dtype=F64).scatter(0, torch.arange(3), u[:3] ** 2),
    lambda u: (A[:, None, :] * u.reshape(3, 4)).amax((0, 2)) + (A[:, None, :] * u.reshape(3, 4)).std((0, 2)) + u.var(),
    lambda u: torch.einsum("ij,kj->ik", A, u.reshape(3, 4)).exp().sum(0) + torch.outer(u[:3], u[3:6]).sum(0) + u[:4].dot(u[4:8]),
    lambda u: u.norm() + u.norm(1) + torch.linalg.vector_norm(u.reshape(3, 4), dim=1).sum() + torch.nn.functional.normalize(u.reshape(3, 4)).flatten(),
    lambda u: torch.cdist(u.reshape(6, 2), u.reshape(6, 2)).exp().sum(1) + torch.cdist(A, u.reshape(3, 4), p=1).sin().sum(),
    lambda u: u.split([2, 7, 3])[1] ** 2 + torch.nn.functional.embedding(torch.tensor([2, 0, 2]), u.reshape(4, 3)).flatten()[2:],
    lambda u: torch.nn.functional.cross_entropy(u.reshape(3, 4), torch.tensor([1, 0, 3])) * u + torch.linalg.solve(spd(u), u[:3]).sum(),
    lambda u: u.masked_fill(A.flatten() > 0, 0.0) + u.clone().masked_fill_(u > 0.1, 2.0) * u + torch.arange(12).to(F64) * u,
]  # fmt: skip


def spd(u: torch.Tensor, n: int = 3) -> torch.Tensor:
    root = u[: n * n].reshape(n, n)
    return root @ root.t() + torch.eye(n, dtype=F64)


LINEAR: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda u: torch.linalg.cholesky(spd(u)).diagonal().log() + torch.linalg.solve_triangular(torch.linalg.cholesky(spd(u)), A, upper=False).sum(1),
    lambda u: torch.cholesky_solve(u[:3, None] * 2, torch.linalg.cholesky(spd(u)))[:, 0] ** 2,
    lambda u: torch.linalg.cholesky(torch.stack([spd(u), spd(u.flip(0))])).diagonal(dim1=-2, dim2=-1).log().sum(0),
    lambda u: torch.linalg.solve_triangular(torch.linalg.cholesky(spd(u)).mT, u[:6].reshape(3, 2), upper=True)[:, 0],
    lambda u: torch.linalg.solve_triangular(torch.linalg.cholesky(spd(u)), u.reshape(4, 3), upper=False, left=False).sum(0),
    lambda u: torch.baddbmm(torch.ones(2, 3, 3, dtype=F64), torch.stack([A, B]), u.reshape(4, 3).expand(2, 4, 3)).sum((0, 1)) + (u[:3] @ A).sum(),
    lambda u: td.MultivariateNormal(u[:3], spd(u)).log_prob(A.t()[:, :3]).sum() * u[:3],
    lambda u: td.LowRankMultivariateNormal(u[:3], u[:6].reshape(3, 2), 1 + u[:3] ** 2).log_prob(u[3:6]) * u[:3],
    lambda u: td.LKJCholesky(3, 1 + u[0] ** 2).log_prob(torch.linalg.cholesky(spd(u) / spd(u).diagonal().max())) * u[:3],
    lambda u: (A @ u.reshape(4, 3))[:, 1] + (torch.ones(50, 3, dtype=F64).cumsum(0) @ u[:3]).sin().sum() + (torch.ones(50, 60, dtype=F64).cumsum(1) @ u.repeat(5)).sin().sum(),
]  # fmt: skip


P, Q = 0.3, number(1.7)
DISTRIBUTIONS: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda u: td.Gamma(1 + u**2, u.exp()).log_prob(Q) + td.InverseGamma(1 + u**2, u.exp()).log_prob(Q) + td.Chi2(1 + u**2).log_prob(1 + u**2),
    lambda u: td.Beta(1 + u**2, u.exp()).log_prob(number(P)) + td.Kumaraswamy(1 + u**2, u.exp()).log_prob(number(P)),
    lambda u: td.StudentT(1 + u**2, u, u.exp()).log_prob(Q) + td.Cauchy(u, u.exp()).log_prob(Q) + td.FisherSnedecor(1 + u**2, u.exp()).log_prob(Q),
    lambda u: td.Laplace(u, u.exp()).log_prob(Q) + td.Gumbel(u, u.exp()).log_prob(Q) + td.LogNormal(u, u.exp()).log_prob(Q),
    lambda u: td.Weibull(1 + u**2, u.exp()).log_prob(Q) + td.Pareto(u.exp() / 99, 1 + u**2).log_prob(Q) + td.HalfCauchy(u.exp()).log_prob(Q),
    lambda u: td.Exponential(u.exp()).log_prob(Q) + td.HalfNormal(u.exp()).log_prob(Q) + td.VonMises(u, u.exp()).log_prob(Q),
    lambda u: td.Poisson(u.exp()).log_prob(number(3.0)) + td.NegativeBinomial(u.exp(), logits=u).log_prob(number(4.0)),
    lambda u: td.Binomial(7, logits=u).log_prob(number(3.0)) + td.Bernoulli(u.sigmoid()).log_prob(number(1.0)) + td.Geometric(logits=u).log_prob(number(2.0)),
    lambda u: td.Categorical(logits=u.reshape(3, 4)).log_prob(torch.tensor([1, 0, 3])).sum() + td.Categorical(u.exp()).log_prob(torch.tensor(3)),
    lambda u: td.Multinomial(9, logits=u[:3]).log_prob(number(3.0).expand(3)) + td.OneHotCategorical(logits=u[:3]).log_prob(torch.eye(3, dtype=F64)[1]),
    lambda u: td.Dirichlet(u.exp()).log_prob(torch.full((12,), 1 / 12, dtype=F64)) + td.ContinuousBernoulli(logits=u).log_prob(number(P)),
    lambda u: td.MixtureSameFamily(td.Categorical(logits=u[:4]), td.Normal(u[4:8], u[8:].exp())).log_prob(A),
    lambda u: td.Normal(u, u.exp()).cdf(Q).log() + td.LogisticNormal(u[:2], u[2:4].exp()).log_prob(number(1 / 3).expand(3)),
    lambda u: td.TransformedDistribution(td.Normal(u, 1.0), [td.TanhTransform(), td.AffineTransform(1.0, u.exp())]).log_prob(1 + P * u.exp()),
    lambda u: td.Bernoulli(logits=60 * u).log_prob(number(1.0)) + td.Bernoulli(logits=u - u.detach()).log_prob(number(0.0)) * Q,
    lambda u: td.RelaxedBernoulli(Q, logits=u).log_prob(number(P)) + td.RelaxedOneHotCategorical(Q, logits=u).log_prob(torch.full((12,), 1 / 12, dtype=F64)),
]  # fmt: skip


def of_all(functions: list[Callable[[torch.Tensor], torch.Tensor]]):
    u = yield Sample("u", td.Normal(torch.zeros(12, dtype=F64), 1.0))
    for i, function in enumerate(functions):
        yield factor(f"f{i}", (function(u) * (1 + i / 7)).sum())


GROUPS = {"elementwise": ELEMENTWISE, "shaped": SHAPED, "linear": LINEAR, "distributions": DISTRIBUTIONS}


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_a_kernel_of_them_is_native_and_agrees_with_autograd(group: str, tmp_path: Path):
    d = density(Program(of_all, GROUPS[group]))
    kernel = compile_density(d, cache_dir=tmp_path)
    assert kernel.tier == "native"
    for seed in range(3):
        u = 0.6 * torch.randn(12, dtype=F64, generator=torch.Generator().manual_seed(seed))
        value, gradient = kernel.value_and_grad(u)
        expected, expected_gradient = d.value_and_grad(u)
        assert torch.isclose(value, expected, rtol=1e-12)
        assert torch.allclose(gradient, expected_gradient, rtol=1e-11, atol=1e-11)
