"""The draws of Markov chains as a result: names, plates, figures, warnings in words, and their way to ArviZ."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.distributions import Independent, Normal, VonMises

from interpreters.density import density
from interpreters.nuts import infer, nuts
from interpreters.results.extras import extra
from interpreters.sampled_posterior import SampledPosterior
from poutine import Deterministic, Observe, Program, Sample, chain, condition, plate, run, scale

F64 = torch.float64
Y = torch.tensor([1.0, 2.0, 4.0], dtype=F64)


def model(y: torch.Tensor):
    mu = yield Sample("mu", Normal(torch.zeros((), dtype=F64), 2.0))

    @plate("rows", len(y))
    def rows(i):
        yield Deterministic("twice", 2 * mu + y * 0)
        yield Observe("y", Normal(mu, 1.0), y[i])

    yield from rows()


def sampled(num_draws: int = 200, num_chains: int = 2) -> SampledPosterior:
    d = density(Program(model, Y))
    return SampledPosterior.of(d, run(Program(nuts, d, num_chains, 100, num_draws), seed=1))


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(0))


def made(draws: torch.Tensor, **statistics: torch.Tensor) -> SampledPosterior:
    quiet = {"diverging": torch.zeros(draws.shape[:2], dtype=F64), "energy": noise(*draws.shape[:2])}
    return SampledPosterior({"x": draws}, quiet | statistics)


@pytest.fixture(scope="module")
def posterior() -> SampledPosterior:
    return sampled()


def test_draws_have_names_shapes_and_plates(posterior):
    assert {name: tuple(values.shape) for name, values in posterior.draws.items()} == {"mu": (2, 200), "twice": (2, 200, 3)}
    assert torch.equal(posterior.draws["twice"][..., 0], 2 * posterior.draws["mu"])
    assert posterior.dims == {"mu": (), "twice": ("rows",), "y": ("rows",)}
    assert posterior.num_draws == (2, 200)
    assert repr(posterior) == "<SampledPosterior: 2 chains of 200 draws of mu, twice>"


def test_the_figures_are_those_of_the_conjugate_posterior(posterior):
    """mu | y ~ Normal(7 / (3 + 1/4), 1 / (3 + 1/4))."""
    row = posterior.summary()["mu"]
    variance = 1 / 3.25
    assert abs(row.mean - 7 * variance) < 4 * row.mcse
    assert abs(row.sd**2 - variance) < 4 * variance * (2 / row.ess) ** 0.5
    assert row.quantiles[0.05] < row.quantiles[0.5] < row.quantiles[0.95]


def test_the_log_likelihood_is_pointwise(posterior):
    expected = Normal(posterior.draws["mu"].unsqueeze(-1), 1.0).log_prob(Y)
    assert torch.allclose(posterior.likelihood["y"], expected)


def test_arviz_gets_everything_and_reads_the_file_back(posterior, tmp_path: Path):
    path = tmp_path / "result.nc"
    posterior.save(path)
    data = extra("arviz").from_netcdf(path)
    assert data.posterior["twice"].dims == ("chain", "draw", "rows")
    assert data.observed_data["y"].values.tolist() == Y.tolist()
    assert data.log_likelihood["y"].shape == (2, 200, 3)
    assert data.sample_stats["diverging"].dtype == bool
    assert {"lp", "energy", "step_size", "tree_depth", "acceptance_rate", "n_steps"} <= set(data.sample_stats)


def test_counts_are_whole_numbers_in_arviz(posterior):
    types = {name: str(values.dtype) for name, values in posterior.to_arviz().sample_stats.data_vars.items()}
    assert {name for name, dtype in types.items() if dtype == "int64"} == {"tree_depth", "n_steps", "index_in_trajectory"}
    assert {name for name, dtype in types.items() if dtype == "bool"} == {"diverging", "reached_max_treedepth"}


def test_a_picture_is_written(posterior, tmp_path: Path):
    path = tmp_path / "picture.png"
    posterior.plot(path)
    assert path.stat().st_size > 1000


def test_traces_are_drawn_without_the_global_state_of_pyplot(posterior, tmp_path: Path):
    path = tmp_path / "trace.png"
    figure = posterior.plot_trace(path, ["mu"])
    assert path.stat().st_size > 1000 and len(figure.axes) == 2
    assert extra("matplotlib.pyplot").get_fignums() == []


def test_the_arguments_of_a_program_under_poutines_are_data_too():
    def weighted(y, x):
        b = yield Sample("b", Independent(Normal(torch.zeros(1), 1.0), 1))
        yield Observe("y", Normal(x @ b, 1.0), y)

    x = torch.ones(3, 1)  # single, as by default: x @ b wants double
    d = density(chain(weighted, condition(data={}), scale(scale=0.5))(Y, x=x))
    chains = run(Program(nuts, d, 1, 0, 4), seed=1)
    assert torch.equal(SampledPosterior.of(d, chains).constant["x"], x.double())


def test_leave_one_out_finds_what_it_needs():
    """elpd of y_i given the others is that of a normal, in closed form: to the Monte Carlo error of a few thousand draws.

    Of fewer, the shape of the weights' tail, 1 / 3.25, is estimated so badly that ArviZ may warn.
    """
    found = extra("arviz").loo(sampled(num_chains=10).to_arviz())
    exact = 0.0
    for i in range(3):
        others = torch.cat([Y[:i], Y[i + 1 :]])
        precision = 2 + 1 / 4
        exact += float(Normal(others.sum() / precision, (1 + 1 / precision) ** 0.5).log_prob(Y[i]))
    assert abs(found.elpd_loo - exact) < 0.1


def test_good_chains_give_no_warning():
    assert made(noise(4, 1000)).problems() == []


@pytest.mark.parametrize(("posterior", "words"), [
    (made(noise(4, 1000) + torch.arange(4.0).reshape(4, 1)), "have not mixed: r_hat of x is"),
    (made(noise(4, 1000).cumsum(1)), "the effective sample size of x is only"),
    (made(noise(4, 1000), diverging=torch.eye(4, 1000, dtype=F64)), "4 transitions diverged"),
    (made(noise(4, 1000), reached_max_treedepth=torch.eye(4, 1000, dtype=F64)), "4 trajectories were cut at the greatest tree depth"),
    (made(noise(4, 1000), energy=noise(4, 1000).cumsum(1)), "E-BFMI"),
])  # fmt: skip
def test_what_is_not_to_be_trusted_is_said_in_words(posterior, words):
    assert any(words in problem for problem in posterior.problems())
    assert f"warning: {next(problem for problem in posterior.problems() if words in problem)}" in str(posterior.summary())


def test_one_of_a_thing_is_one():
    one = torch.zeros(1, 1, dtype=F64)
    posterior = made(one, diverging=one + 1, reached_max_treedepth=one + 1)
    said = str(posterior.summary())  # without a warning of torch's
    assert "1 chain of 1 draw, 1 divergence\n" in said and repr(posterior) == "<SampledPosterior: 1 chain of 1 draw of x>"
    assert "1 draw of each chain: too few to tell" in said and "1 transition diverged: " in said and "1 trajectory was cut" in said
    assert str(posterior.summary()["x"].sd) == "nan"


def test_a_number_that_never_moves_is_no_error():
    assert made(torch.ones(2, 50, dtype=F64)).summary()["x"].mcse == 0


def test_chains_without_draws_are_refused():
    d = density(Program(model, Y))
    with pytest.raises(ValueError, match="no draws yet"):
        SampledPosterior.of(d, run(Program(nuts, d, 1, 5, 0)))


def test_a_model_that_cannot_run_for_many_draws_is_asked_one_by_one():
    def branching():
        x = yield Sample("x", Normal(torch.zeros((), dtype=F64), 1.0))
        yield Deterministic("sign", torch.tensor(1.0 if x > 0 else -1.0))

    d = density(branching)
    chains = run(Program(nuts, density(lambda: only_x()), 1, 20, 30))
    posterior = SampledPosterior.of(d, chains)
    assert torch.equal(posterior.draws["sign"], posterior.draws["x"].sign().float())


def only_x():
    yield Sample("x", Normal(torch.zeros((), dtype=F64), 1.0))


def test_a_model_that_writes_in_place_is_not_run_for_each_draw():
    """Which torch does not batch; and a model that asks for a value is."""
    runs: list[bool] = []

    def in_place(y: torch.Tensor, asks: bool):
        runs.append(asks)
        a = yield Sample("a", Normal(torch.zeros((), dtype=F64), 1.0))
        h = torch.zeros(len(y), dtype=F64)
        for t in range(1, len(y)):
            h[t] = a * y[t - 1] + float(a > 0 if asks else True)
        yield Deterministic("h", h)
        yield Observe("y", Normal(h, 1.0), y)

    positions = noise(2, 30, 1)
    for asks in (False, True):
        d = density(Program(in_place, Y, asks))
        runs.clear()
        found = SampledPosterior.of(d, Held(positions))
        assert (len(runs) < 15) is not asks
        expected = torch.stack([torch.stack([d.constrain(u)["h"] for u in chain]) for chain in positions])
        assert torch.equal(found.draws["h"], expected)
        assert torch.allclose(found.likelihood["y"], Normal(expected, 1.0).log_prob(Y))


@pytest.mark.parametrize("where", ["memory", "nc", "zarr"])
def test_angles_have_the_mean_and_sd_of_a_circle(tmp_path: Path, where: str):
    """Whose mass is where pi and -pi meet; ArviZ has the same."""

    def directions():
        yield Sample("phi", Independent(VonMises(torch.full((2,), 3.1, dtype=F64), 20.0), 1))
        yield Sample("x", Normal(torch.zeros((), dtype=F64), 1.0))

    d = density(Program(directions))
    angles = torch.remainder(3.1 + 0.2 * noise(2, 300, 2) + math.pi, 2 * math.pi) - math.pi
    points = torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(2)
    chains = Held(torch.cat([points, noise(2, 300, 1)], dim=2))
    chains.statistics = {name: torch.zeros(2, 300, dtype=F64) for name in ("diverging", "energy")}
    posterior = SampledPosterior.of(d, chains)
    if where != "memory":
        posterior.save(tmp_path / f"r.{where}")
        posterior = SampledPosterior.load(tmp_path / f"r.{where}")
    summary = posterior.summary()
    expected = extra("arviz").summary(posterior.to_arviz(), var_names=["phi"], circ_var_names=["phi"], round_to="none")
    for i in range(2):
        row = summary[f"phi[{i}]"]
        assert abs(row.mean - expected["mean"].iloc[i]) < 1e-9 and abs(row.sd - expected["sd"].iloc[i]) < 1e-9
        assert 2.6 < row.quantiles[0.05] < row.quantiles[0.5] < row.quantiles[0.95] < 3.7 and row.mcse < 0.02
        assert row.r_hat is not None and row.r_hat < 1.01
    assert "phi: angles; mean and sd of a circle" in str(summary)
    assert summary["x"].mean == pytest.approx(posterior.draws["x"].mean().item())


class Held:
    """What chains hold."""

    def __init__(self, positions: torch.Tensor) -> None:
        self.positions = positions
        self.statistics: dict[str, torch.Tensor] = {}


def test_draws_are_as_drawn_whatever_a_program_then_changes_in_place():
    def model():
        x = yield Sample("x", Normal(torch.tensor(0.0, dtype=F64), 1.0))
        x.mul_(2)
        yield Observe("y", Normal(x, 1.0), torch.tensor(1.0, dtype=F64))

    position = torch.tensor([0.3], dtype=F64)
    assert density(Program(model)).constrain(position)["x"].item() == 0.3 and position.item() == 0.3
    draws = infer(Program(model), seed=0).draws["x"]  # N(0.4, 1/5) by hand
    assert draws.mean().item() == pytest.approx(0.4, abs=4 * 0.2**0.5 / 1000**0.5)
