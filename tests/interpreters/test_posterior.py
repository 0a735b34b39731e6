"""Posterior: from weighted draws to tables, ArviZ, files and pictures."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Dirichlet, MultivariateNormal, Normal

from interpreters.importance import importance_resampling, infer
from interpreters.posterior import Posterior
from interpreters.results.extras import extra
from interpreters.results.observed import observed_values
from poutine import Coroutine, Deterministic, Observe, Program, Sample, Trace, factor, plate, run, scope

arviz = extra("arviz")  # at import, since it takes a second
extra("matplotlib.figure")


def model() -> Coroutine[None]:
    mu = yield Sample("mu", Normal, 0.0, 1.0)
    w = yield Sample("w", Dirichlet, torch.ones(2))

    @plate("group", 3)
    def group(_: Any) -> Coroutine[None]:
        z = yield Sample("z", MultivariateNormal, torch.zeros(2), torch.eye(2))
        theta = yield Deterministic("theta", mu + z[..., 0])
        yield Sample("on", Bernoulli, 0.5)
        yield Observe("y", Normal, torch.tensor([1.0, 2.0, 3.0]), theta, 1.0)

        @plate("item", 4)
        def item(_: Any) -> Coroutine[None]:
            yield Sample("x/a", Normal, 0.0, 1.0)

        yield from item()

    yield from group()
    yield factor("penalty", -w[..., 0])
    yield Observe("total", Normal, torch.tensor(1.0), mu, 1.0)


POSTERIOR = infer(Program(model), 500, seed=2)


def test_that_the_model_above_is_vectorised_or_not_makes_no_difference_to_the_plates():
    """Its plates have a dimension each; z[..., 0] and the factor broadcast."""
    alone = run(Program(importance_resampling, Program(model), 5))
    assert dict(alone.dims) == dict(POSTERIOR.dims)
    assert {name: values.shape[1:] for name, values in alone.draws.items()} == {k: v.shape[1:] for k, v in POSTERIOR.draws.items()}


def test_dimensions_are_plates():
    assert POSTERIOR.dims == {
        "mu": (),
        "w": (None,),
        "z": ("group", None),
        "theta": ("group",),
        "on": ("group",),
        "x/a": ("item", "group"),
        "y": ("group",),
        "total": (),
    }
    assert POSTERIOR.draws["x/a"].shape == (500, 4, 3)


def test_to_arviz():
    data = POSTERIOR.to_arviz()
    number = round(POSTERIOR.ess)
    assert data.posterior.sizes["chain"] == 1 and data.posterior.sizes["draw"] == number
    assert data.posterior["theta"].dims == ("chain", "draw", "group")
    assert data.posterior["x.a"].dims == ("chain", "draw", "item", "group")
    assert data.posterior["z"].dims[:3] == ("chain", "draw", "group")
    assert np.array_equal(data.posterior["theta"].values[0], POSTERIOR.draws["theta"][POSTERIOR.ancestors].numpy())
    assert set(data.observed_data.data_vars) == {"y", "total"}
    assert data.observed_data["y"].dims == ("group",) and data.observed_data["y"].values.tolist() == [1, 2, 3]
    assert data.posterior.attrs["log_evidence"] == POSTERIOR.log_evidence
    assert data.posterior.attrs["ess"] == POSTERIOR.ess


def test_save_and_load(tmp_path: Path):
    POSTERIOR.save(tmp_path / "result.nc")
    loaded = arviz.from_netcdf(tmp_path / "result.nc")
    for name, values in POSTERIOR.to_arviz().posterior.data_vars.items():
        assert loaded.posterior[name].dims == values.dims and np.array_equal(loaded.posterior[name].values, values.values)
    assert loaded.observed_data["y"].values.tolist() == [1, 2, 3]
    assert loaded.posterior.attrs["num_particles"] == 500
    assert "theta[2]" in arviz.summary(loaded).index


def test_a_saved_file_can_be_saved_again(tmp_path: Path):
    for _ in range(2):
        POSTERIOR.save(tmp_path / "result.nc")
    assert arviz.from_netcdf(tmp_path / "result.nc").posterior.sizes["group"] == 3


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_picture(tmp_path: Path, suffix: str):
    few = Posterior({"x": torch.tensor([[1.0, 2.0], [2.0, 5.0]]), "$k_": torch.tensor([1, 2])}, torch.zeros(2), torch.tensor([0]))
    few.plot(tmp_path / f"picture.{suffix}")
    assert (tmp_path / f"picture.{suffix}").read_bytes()[:5] == {"png": b"\x89PNG\r", "svg": b"<?xml"}[suffix]


def test_a_picture_of_no_draws_and_of_a_constant(tmp_path: Path):
    Posterior({}, torch.zeros(2), torch.tensor([0])).plot(tmp_path / "none.png")
    Posterior({"x": torch.ones(2)}, torch.zeros(2), torch.tensor([0])).plot(tmp_path / "constant.png")
    assert (tmp_path / "constant.png").stat().st_size > (tmp_path / "none.png").stat().st_size > 0


def test_a_posterior_without_draws(tmp_path: Path):
    def observed() -> Coroutine[None]:
        yield Observe("y", Normal, torch.tensor(1.0), 0.0, 1.0)

    posterior = infer(Program(observed), 10)
    posterior.save(tmp_path / "result.nc")
    assert list(arviz.from_netcdf(tmp_path / "result.nc").observed_data.data_vars) == ["y"]
    assert posterior.log_evidence == pytest.approx(-0.5 - 0.5 * math.log(2 * math.pi))


def test_names_that_netcdf_cannot_hold_or_that_collide(tmp_path: Path):
    def sub() -> Coroutine[None]:
        @plate("b", 2)
        def twice(_: Any) -> Coroutine[None]:
            yield Sample("b", Normal, 0.0, 1.0)

        yield from twice()

    def awkward() -> Coroutine[None]:
        yield from scope(sub, prefix="a")()
        yield Sample("a.b", Normal, 0.0, 1.0)

        @plate("draw", 3)
        def drawn(_: Any) -> Coroutine[None]:
            yield Sample("x", Normal, 0.0, 1.0)

        yield from drawn()
        yield from sub()

        @plate("b", 4)
        def again(_: Any) -> Coroutine[None]:
            yield Sample("c", Normal, 0.0, 1.0)

        yield from again()

    infer(Program(awkward), 5).save(tmp_path / "result.nc")
    posterior = arviz.from_netcdf(tmp_path / "result.nc").posterior
    assert {name: values.dims[2:] for name, values in posterior.data_vars.items()} == {
        "a.b": ("a.b_dim",),
        "a.b_": (),
        "x": ("draw_dim",),
        "b": ("b_dim_2",),
        "c": ("b_dim_4",),
    }


def test_too_few_effective_draws_are_said_in_words():
    poor = Posterior({"x": torch.arange(1000.0)}, -torch.arange(1000.0), torch.tensor([0]))
    assert poor.problem is not None and "only 2.2 of 1000" in poor.problem
    assert "warning: the effective sample size is only 2.2 of 1000" in str(poor.summary())
    assert Posterior({}, torch.zeros(100), torch.tensor([0])).problem is None


def test_the_summary_tells_the_evidence():
    text = str(POSTERIOR.summary())
    assert f"log evidence {POSTERIOR.log_evidence:.3f} ± {POSTERIOR.log_evidence_error:.2g} nats" in text
    assert f"effective sample size {POSTERIOR.ess:.0f} of 500" in text


def test_repr():
    assert repr(Posterior({"x": torch.zeros(4)}, torch.zeros(4), torch.tensor([0]))) == "<Posterior: 4 draws of x; ess 4>"


def test_what_is_not_installed_is_named_with_the_way_out():
    with pytest.raises(ImportError, match=r"needs not_a_module_of_anybody: pip install 'poutine\[infer\]'"):
        extra("not_a_module_of_anybody")


@pytest.mark.slow
def test_no_warning_leaks_from_the_extras(tmp_path: Path):
    """In a fresh cache, where ArviZ notes that it has given its warning of the day."""
    code = "from interpreters.results.extras import extra; extra('arviz'); extra('h5netcdf'); extra('tqdm')"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_lists_of_numbers_are_observed_data_and_words_are_none():
    trace = Trace()
    for name, value in {"y": [1.0, 2.0], "words": ["a", "b"], "ragged": [[1.0], [1.0, 2.0]]}.items():
        trace.add_node(name, type="observe", fn=Normal(0.0, 1.0), value=value)
    assert {name: value.tolist() for name, value in observed_values(trace).items()} == {"y": [1.0, 2.0]}
