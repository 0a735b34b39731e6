"""Models are compiled where that pays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.distributions import Dirichlet, Distribution, Multinomial, MultivariateNormal, Normal

from interpreters.compiled import compile_density
from interpreters.density import density
from interpreters.hamiltonian.targets import Target
from interpreters.hamiltonian.worth import worthwhile
from interpreters.nuts import infer
from poutine import Observe, Program, Sample

F64 = torch.float64


def model(y: torch.Tensor):
    x = yield Sample("x", Normal(torch.zeros((), dtype=F64), 1.0))
    yield Observe("y", Normal(x, 1.0), y)


def branching(y: torch.Tensor):
    x = yield Sample("x", Normal(torch.zeros((), dtype=F64), 1.0))
    yield Observe("y", Normal(x if x > 0 else -x, 1.0), y)


Y = torch.tensor([1.0, 2.0], dtype=F64)


@pytest.mark.slow
def test_long_jobs_are_compiled_and_short_ones_only_if_they_were_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    target = density(Program(model, Y))
    monkeypatch.setattr("interpreters.hamiltonian.worth._seconds", lambda target, num_chains: 1e-3)
    assert worthwhile(target, 2, 5).kernel is None
    with monkeypatch.context() as slow:
        slow.setattr("interpreters.compiled._SECONDS", 3.0)  # where the job takes 2
        assert worthwhile(target, 2, 25).kernel is None
    assert not list(tmp_path.rglob("*.so"))
    assert worthwhile(target, 2, 100_000).kernel is not None
    assert list(tmp_path.rglob("*.so"))
    assert worthwhile(density(Program(model, Y + 1)), 2, 25).kernel is not None
    assert worthwhile(target, 2, 5).kernel is None


def test_a_model_that_asks_for_values_is_eager_one_chain_after_the_other():
    target = Target.of(density(Program(branching, Y)))
    positions = torch.tensor([[1.0], [-1.0], [0.5]], dtype=F64)
    values, gradients = target.batched(positions)
    expected = [density(Program(branching, Y)).value_and_grad(position) for position in positions]
    assert torch.equal(values, torch.stack([value for value, _ in expected]))
    assert torch.equal(gradients, torch.stack([gradient for _, gradient in expected]))


def counting(counts: torch.Tensor):
    p = yield Sample("p", Dirichlet(torch.ones(3, dtype=F64)))
    yield Observe("counts", Multinomial(10, p), counts)


def test_counts_of_categories_have_their_conjugate_posterior():
    posterior = infer(Program(counting, torch.tensor([2.0, 3.0, 5.0])), num_draws=500, seed=0)
    expected = torch.tensor([3.0, 4.0, 6.0], dtype=F64) / 13
    sd = (expected * (1 - expected) / 14).sqrt()
    assert ((posterior.draws["p"].mean((0, 1)) - expected).abs() < 4 * sd / 500**0.5).all()  # a quarter of the draws are effective
    exact = Multinomial(10, posterior.draws["p"]).log_prob(torch.tensor([2.0, 3.0, 5.0], dtype=F64))
    assert torch.allclose(posterior.likelihood["counts"], exact)


class Asking(Distribution):
    """A density that asks for the value of a tensor."""

    arg_constraints = {}  # noqa: RUF012  # torch's own

    def __init__(self, loc: torch.Tensor) -> None:
        self.loc = loc
        super().__init__(loc.shape, validate_args=False)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        return Normal(self.loc if self.loc > 0 else -self.loc, 1.0).log_prob(value)


def test_a_density_that_asks_for_values_does_so_one_chain_after_the_other():
    def asking():
        x = yield Sample("x", Normal(torch.zeros((), dtype=F64), 1.0))
        yield Observe("y", Asking(x), torch.tensor(2.0, dtype=F64))

    posterior = infer(asking, num_warmup=50, num_draws=50, seed=0)
    assert torch.allclose(posterior.likelihood["y"], Normal(posterior.draws["x"].abs(), 1.0).log_prob(torch.tensor(2.0, dtype=F64)))


@pytest.mark.parametrize("is_deferred", [False, True])
@pytest.mark.parametrize("asks", [False, True])
def test_where_there_is_no_cholesky_factor_the_density_is_nan_there_and_only_there(is_deferred: bool, asks: bool):
    def correlated(y: torch.Tensor):
        r = yield Sample("r", Normal(torch.zeros((), dtype=F64), 1.0))
        if asks and r > 5:
            r = -r
        one = torch.ones((), dtype=F64)
        matrix = torch.stack([torch.stack([one, r]), torch.stack([r, one])])
        loc = torch.zeros(2, dtype=F64)
        yield Observe("y", MultivariateNormal, y, loc, matrix) if is_deferred else Observe("y", MultivariateNormal(loc, matrix), y)

    target = density(Program(correlated, torch.tensor([0.5, 0.4], dtype=F64)))
    batched = Target.of(target).batched
    positions = torch.tensor([[0.5], [2.0], [-0.5]], dtype=F64)
    for _ in range(2):
        values, gradients = batched(positions)
        assert values.isnan().tolist() == gradients[:, 0].isnan().tolist() == [False, True, False]
        assert torch.allclose(values[0], target(positions[0])) and torch.allclose(values[2], target(positions[2]))
    assert compile_density(target, tier="eager").value_and_grad(positions[1])[0].isnan()
