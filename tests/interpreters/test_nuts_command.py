"""``poutine infer --method nuts``: results, checkpoints, interruption."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpreters.__main__ import main
from interpreters.adaptation import WARMUP
from interpreters.command import arguments, methods, values
from interpreters.command.interruption import interruptible
from interpreters.hamiltonian.machine import DEEPEST, METRICS, Options
from interpreters.hamiltonian.notices import Progress
from interpreters.hamiltonian.targets import Target
from interpreters.results.extras import extra

ROOT = Path(__file__).parents[2]
MODEL = """
from torch.distributions import Normal
from poutine import Observe, Sample

def model(y):
    mu = yield Sample("mu", Normal, 0.0, 2.0)
    yield Observe("y", Normal, y, mu, 1.0)

def discrete(y):
    from torch.distributions import Bernoulli
    yield Sample("k", Bernoulli(0.5))
    yield Observe("y", Normal, y, 0.0, 1.0)

def flat(y):
    from poutine import ImproperUniform, ordered
    from torch.distributions import constraints
    mu = yield Sample("mu", ImproperUniform(constraints.real))
    sigma = yield Sample("sigma", Normal, 0.0, 1.0)
    yield Observe("y", Normal, y, mu, sigma.exp())
    yield Observe("pair of data", Normal, sigma.new_tensor([0.0, 1.0]), (yield Sample("other", ImproperUniform, ordered, (), (2,))), 1.0)

def gamma(y):
    import torch
    mu = yield Sample("mu", Normal, 0.0, 2.0)
    yield Observe("y", Normal, y, torch.special.gammainc(mu.exp(), mu.new_ones(())), 1.0)

def in_place(y):
    mu = yield Sample("mu", Normal, 0.0, 2.0)
    level = mu.new_zeros(len(y))
    for t in range(1, len(y)):
        level[t] = mu + 0.5 * level[t - 1] ** 2
    yield Observe("y", Normal, y, level, 1.0)

def coin(y):
    from torch.distributions import Bernoulli, Beta
    p = yield Sample("p", Beta, 2.0, 2.0)
    yield Observe("y", Bernoulli, y, p)

def branching(y):
    mu = yield Sample("mu", Normal, 0.0, 2.0)
    if mu > 0:
        yield Sample("extra", Normal, 0.0, 1.0)
    yield Observe("y", Normal, y, mu, 1.0)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "m.py").write_text(MODEL)
    (tmp_path / "d.json").write_text(json.dumps({"y": [1.0, 2.0, 4.0]}))
    return tmp_path


MIXTURE = """
import torch
from torch.distributions import Categorical, Normal
from poutine import Observe, Sample, plate

def model(y):
    gap = yield Sample("gap", Normal, 3.0, 1.0)

    @plate("rows", len(y))
    def rows(i):
        z = yield Sample("z", Categorical, torch.tensor([0.25, 0.75]))
        yield Observe("y", Normal, y[i], gap * z, 1.0)

    yield from rows()
"""

DISCRETE = """
import torch
from torch.distributions import Categorical, Normal, Poisson
from poutine import Deterministic, Observe, Sample, plate

def model(y):
    gap = yield Sample("gap", Normal, 3.0, 1.0)

    @plate("rows", len(y))
    def rows(i):
        z = yield Sample("z", Categorical, torch.tensor([0.25, 0.75]))
        yield Deterministic("loc", gap * z)
        yield Observe("y", Normal, y[i], gap * z, 1.0)

    yield from rows()

def counting(y):
    gap = yield Sample("gap", Normal, 3.0, 1.0)
    n = yield Sample("n", Poisson, 3.0)
    yield Observe("y", Normal, y, gap * n, 1.0)
"""

NUTS = ["--data", "d.json", "--method", "nuts", "--chains", "2", "--warmup", "20"]


def draws(path: Path) -> Any:
    return extra("arviz").from_netcdf(path).posterior["mu"]


@pytest.mark.slow
def test_a_posterior_its_file_and_the_way_on_from_a_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]):
    """Short jobs: they are not compiled."""
    assert main(["infer", "m.py", *NUTS, "--draws", "30", "--out", "whole.nc"]) == 0
    table = capsys.readouterr().out
    assert "r_hat" in table
    assert "2 chains of 30 draws" in table
    for number in ("10", "30"):
        assert main(["infer", "m.py", *NUTS, "--draws", number, "--checkpoint", "c", "--out", "parts.nc"]) == 0
    whole, parts = draws(folder / "whole.nc"), draws(folder / "parts.nc")
    assert whole.shape == (2, 30)
    assert (whole == parts).all()

    capsys.readouterr()
    assert main(["infer", "m.py", *NUTS, "--seed", "1", "--checkpoint", "c"]) == 2
    assert "was made with seed 0, not 1; use the same options" in capsys.readouterr().err
    for option, told in (
        ("--target-accept=0.9", "target_accept 0.8, not 0.9"),
        ("--max-depth=3", "10, not 3"),
        ("--metric=dense", "auto, not"),
    ):
        assert main(["infer", "m.py", *NUTS, option, "--checkpoint", "c"]) == 2
        assert told in capsys.readouterr().err
    assert main(["infer", "m.py", *NUTS, "--draws", "10", "--checkpoint", "c"]) == 2
    assert "the checkpoint c has 30 draws of a chain already: ask for as many" in capsys.readouterr().err
    (folder / "other.json").write_text(json.dumps({"y": [1.0, 2.0, 4.5]}))
    assert main(["infer", "m.py", *NUTS, "--data", "other.json", "--draws", "30", "--checkpoint", "c"]) == 2
    assert "was made with model and data, whose log densities here and there are [" in capsys.readouterr().err
    (folder / "m.py").write_text(MODEL.replace("0.0, 2.0", "0.0, 2.1"))
    assert main(["infer", "m.py", *NUTS, "--draws", "30", "--checkpoint", "c"]) == 2
    assert "use the same options, model and data" in capsys.readouterr().err
    (folder / "m.py").write_text(MODEL)
    (folder / "c" / "chain_1.f64").write_bytes(b"")
    assert main(["infer", "m.py", *NUTS, "--checkpoint", "c"]) == 2
    assert "the checkpoint c is not whole: c/chain_1.f64 has 0 draws, expected 30" in capsys.readouterr().err
    (folder / "c" / "state.pickle").write_text("no pickle")
    assert main(["infer", "m.py", *NUTS, "--checkpoint", "c"]) == 2
    assert "cannot read the checkpoint c/state.pickle" in capsys.readouterr().err


def started(folder: Path, *args: str) -> subprocess.Popen[str]:
    """A job, at work. What is compiled is kept in the folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder)}
    command = [sys.executable, "-m", "interpreters", "infer", "m.py", *NUTS, *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder)


def logged(folder: Path) -> Any:
    """The first chain of a checkpoint: whole rows of position and statistics."""
    numbers = np.fromfile(folder / "chain_0.f64")
    return numbers[: len(numbers) // 9 * 9].reshape(-1, 9)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_without_numba(folder: Path):
    """The native kernel serves the batched sampler then."""
    (folder / "nothing").mkdir()
    (folder / "nothing" / "numba.py").write_text("raise ImportError")
    environment = {**os.environ, "PYTHONPATH": f"{folder / 'nothing'}{os.pathsep}{ROOT}", "XDG_CACHE_HOME": str(folder)}
    example = ROOT / "interpreters" / "examples" / "eight_schools"
    command = [
        sys.executable,
        "-m",
        "interpreters",
        "infer",
        f"{example}.py",
        "--data",
        f"{example}.json",
        "--warmup",
        "150",
        "--draws",
        "100",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert list(folder.glob("poutine/kernels/*.so"))
    (mu,) = re.findall(r"^mu +(\S+)", done.stdout, re.MULTILINE)
    assert abs(float(mu) - 4.4) < 1.5


@pytest.mark.slow
def test_a_killed_process_goes_on_bit_for_bit(folder: Path):
    def more() -> bool:
        return log.exists() and log.stat().st_size > before + 10_000

    log, endless, before = folder / "c" / "chain_0.f64", ("--draws", str(10**9), "--checkpoint", "c"), 0
    process = started(folder, *endless)
    wait_for(lambda: more() and (folder / "c" / "state.pickle").exists(), process)
    process.kill()
    process.communicate()
    before = log.stat().st_size

    process = started(folder, *endless)
    wait_for(more, process)
    process.kill()
    process.communicate()
    kept = logged(folder / "c")

    process = started(folder, "--draws", "3000", "--checkpoint", "d")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    whole = logged(folder / "d")
    assert len(whole) == 3000 < len(kept)
    np.testing.assert_array_equal(whole, kept[:3000])


def test_the_first_interrupt_keeps_what_was_drawn_and_says_so(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Interrupted after the first draws of the batched sampler."""
    seen = []

    @contextmanager
    def bars(num_chains: int, total: int):
        def show(news: Progress) -> None:
            if min(news.draws) > 12 and not seen:
                seen.append(news.draws)
                signal.raise_signal(signal.SIGINT)

        yield show

    monkeypatch.setattr(methods, "progress_bars", bars)
    monkeypatch.setattr(methods, "worthwhile", lambda target, num_chains, num_draws: Target.of(target))
    assert main(["infer", "m.py", "--data", "d.json", "--chains", "2", "--warmup", "5", "--draws", "40", "--out", "r.nc"]) == 130
    out, err = capfd.readouterr()
    number = draws(folder / "r.nc").sizes["draw"]
    assert 7 < number < 40
    assert "stopping as soon as what there is can be kept" in err
    assert f"interrupted: kept {number} draws of each chain" in err
    assert f"2 chains of {number} draws" in out and "wrote r.nc" in out


@pytest.mark.parametrize("extra_options", [[], ["--checkpoint", "c"]])
def test_the_sampler_is_told_what_the_warnings_advise(folder: Path, capsys: pytest.CaptureFixture[str], extra_options: list[str]):
    chosen = ["--target-accept", "0.99", "--max-depth", "1", "--metric", "diagonal", *extra_options]
    assert main(["infer", "m.py", *NUTS, *chosen, "--draws", "30", "--out", "r.nc"]) == 0
    assert "trajectories were cut at the greatest tree depth" in capsys.readouterr().out
    statistics = extra("arviz").from_netcdf(folder / "r.nc").sample_stats
    assert int(statistics["tree_depth"].max()) == 1 and bool(statistics["reached_max_treedepth"].all())
    assert float(statistics["acceptance_rate"].mean()) > 0.9


def test_strict_tells_scripts_of_warnings(folder: Path, capsys: pytest.CaptureFixture[str]):
    short = ["infer", "m.py", "--data", "d.json", "--chains", "2", "--warmup", "5", "--draws", "10"]
    assert main(short) == 0
    assert main([*short, "--strict"]) == 3
    assert "warning: the effective sample size" in capsys.readouterr().out


@pytest.mark.parametrize(("model", "reason"), [
    ("m.py:discrete", "poutine: importance sampling, not NUTS: the model has no continuous latent site"),
    ("m.py:branching", "poutine: importance sampling, not NUTS: site 'extra' was not there before"),
])  # fmt: skip
def test_a_model_that_nuts_is_not_for_is_sampled_by_importance(folder: Path, capsys: pytest.CaptureFixture[str], model: str, reason: str):
    assert main(["infer", model, "--data", "d.json"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith(reason) and "log evidence" in out


@pytest.mark.parametrize(("options", "problem"), [
    (["m.py", "--guide", "discrete"], "--guide: for --method importance only"),
    (["m.py", "--num-samples", "9", "--num-draws", "5"], "--num-samples, --num-draws: for --method importance only"),
    (["m.py:gamma"], "the log density has no gradient, which --method nuts needs: "),
    (["m.py:discrete"], "all latent sites are discrete (k)"),
    (["m.py", "--checkpoint", "nowhere/c"], "there is no directory"),
    (["m.py", "--checkpoint", "d.json"], "it is no directory"),
    (["m.py", "--target-accept", "1"], "argument --target-accept: expected a number between 0 and 1, got 1;"),
    (["m.py", "--target-accept", "high"], "argument --target-accept: invalid share value: 'high'"),
    (["m.py", "--max-depth", "21"], "argument --max-depth: expected at most 20, got 21"),
    (["m.py", "--metric", "foo"], "argument --metric: invalid choice: 'foo' (choose from 'auto', 'diagonal', 'dense')"),
])  # fmt: skip
def test_bad_input_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], problem: str):
    assert main(["infer", *options, *NUTS]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line


@pytest.mark.parametrize(("options", "problem"), [
    (["m.py", "--method", "importance", "--chains", "3", "--draws", "9"], "--chains, --draws: for --method nuts only"),
    (["m.py", "--num-samples", "9", "--checkpoint", "c"], "--checkpoint: for --method nuts only"),
    (["m.py", "--method", "importance", "--target-accept", "0.9", "--max-depth", "3", "--metric", "dense"],
     "--target-accept, --max-depth, --metric: for --method nuts only"),
    (["m.py:branching", "--warmup", "9"], "--warmup: for --method nuts only, which this model is not for (site 'extra' was not there"),
])  # fmt: skip
def test_options_of_nuts_are_not_dropped(folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], problem: str):
    assert main(["infer", *options, "--data", "d.json"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line


@pytest.mark.slow
def test_discrete_sites_have_draws_in_the_table_and_in_the_file(folder: Path, capsys: pytest.CaptureFixture[str]):
    """The same with a file, with a checkpoint and without."""
    (folder / "m.py").write_text(DISCRETE)
    tables = []
    for options in ([], ["--out", "r.nc"], ["--checkpoint", "c"]):
        assert main(["infer", "m.py", *NUTS, "--draws", "30", *options]) == 0
        tables.append([line for line in capsys.readouterr().out.splitlines() if line.startswith(("gap", "z[", "loc["))])
    assert [line.split()[0] for line in tables[0]] == ["gap", "z[0]", "z[1]", "z[2]", "loc[0]", "loc[1]", "loc[2]"]
    assert tables[0] == tables[1] == tables[2]
    posterior = extra("arviz").from_netcdf(folder / "r.nc").posterior
    assert posterior["z"].dims == posterior["loc"].dims == ("chain", "draw", "rows")
    assert set(posterior["z"].values.flat) == {0, 1}
    assert np.array_equal(posterior["loc"].values, posterior["gap"].values[..., None] * posterior["z"].values)


def test_a_discrete_site_of_infinitely_many_values_is_sampled_by_importance_or_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "m.py").write_text(DISCRETE)
    assert main(["infer", "m.py:counting", "--data", "d.json", "--num-samples", "500"]) == 0
    assert "n " in capsys.readouterr().out
    assert main(["infer", "m.py:counting", *NUTS]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "site 'n': Poisson(rate: 3.0)" in line and "has infinitely many values, which cannot be summed out" in line


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [[], ["--method", "nuts"]])
def test_a_recursion_that_writes_in_place_is_for_nuts(folder: Path, capsys: pytest.CaptureFixture[str], chosen: list[str]):
    """Autograd itself has no gradient of it; that of the recorded graph is right."""
    assert main(["infer", "m.py:in_place", "--data", "d.json", "--chains", "2", "--warmup", "50", "--draws", "50", *chosen]) == 0
    out, err = capsys.readouterr()
    assert "2 chains of 50 draws" in out and "importance" not in err


@pytest.mark.slow
def test_flat_priors_need_no_draw(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["infer", "m.py:flat", *NUTS, "--draws", "100"]) == 0
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:6]]
    assert rows[:4] == ["mu", "sigma", "other[0]", "other[1]"]
    assert main(["infer", "m.py:flat", "--data", "d.json", "--method", "importance"]) == 2
    assert "site 'mu': cannot draw from ImproperUniform()" in capsys.readouterr().err


@pytest.mark.parametrize("data", [[1, 0, 1], [True, False, True], [1.0, 0.0, 1.0]])
@pytest.mark.parametrize("method", ["nuts", "importance"])
def test_a_coin_and_whole_numbers(folder: Path, capsys: pytest.CaptureFixture[str], method: str, data: list[Any]):
    (folder / "d.json").write_text(json.dumps({"y": data}))
    assert main(["infer", "m.py:coin", "--data", "d.json", "--method", method]) == 0
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("p ")]
    assert abs(float(row[1]) - 4 / 7) < 4 * float(row[8])  # the posterior is Beta(4, 3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interrupt_is_noted_and_the_second_breaks_off(number: signal.Signals):
    before = signal.getsignal(number)
    with interruptible() as interrupted:
        with interrupted.deferred():
            assert not interrupted()
            signal.raise_signal(number)
            assert interrupted()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_an_interrupt_that_somebody_swallows_is_not_forgotten():
    """As it is in a callback of C, where numba's compiler has Python at work."""
    with interruptible() as interrupted:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), interrupted.deferred():
            raise AssertionError


@pytest.mark.parametrize("where", ["worthwhile", "density"])
def test_an_interrupt_is_not_lost_before_the_sampler_runs(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, where: str
):
    original = getattr(methods, where)

    def interrupted(*args: Any) -> Any:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(methods, where, interrupted)
    assert main(["infer", "m.py", *NUTS, "--draws", "40"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "poutine: interrupted"


@pytest.mark.parametrize("extra_options", [[], ["--checkpoint", "c"]])
def test_an_interrupt_in_warmup_says_that_nothing_is_kept(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, extra_options: list[str]
):
    @contextmanager
    def bars(num_chains: int, total: int):
        yield lambda news: signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(methods, "progress_bars", bars)
    monkeypatch.setattr(methods, "worthwhile", lambda target, num_chains, num_draws: Target.of(target))
    assert main(["infer", "m.py", *NUTS, "--draws", "40", "--out", "r.nc", *extra_options]) == 130
    out, err = capsys.readouterr()
    on = "; the same command goes on from c" if extra_options else ""
    assert err.splitlines()[-1] == f"poutine: interrupted: in warmup, so there are no draws to keep{on}"
    assert not out and not (folder / "r.nc").exists()


@pytest.mark.parametrize(("when", "extra_options", "said"), [
    ("summary", ["--out", "r.nc"], "all draws are in r.nc, for SampledPosterior.load and arviz.from_netcdf; only the summary is missing"),
    ("writing r.nc", ["--out", "r.nc", "--checkpoint", "c"], "all draws are in the checkpoint c, and the same command goes on from there"),
    ("summary", ["--checkpoint", "c"], "all draws are in the checkpoint c, and the same command goes on from there"),
    ("writing r.nc", ["--out", "r.nc"], "before r.nc was written, so nothing was kept"),
    ("summary", [], "before the result was written, so nothing was kept"),
])  # fmt: skip
def test_an_interrupt_after_the_draws_says_where_they_are(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, when: str, extra_options: list[str], said: str
):
    @contextmanager
    def bar(work: str, unit: str):
        yield lambda done, total: signal.raise_signal(signal.SIGTERM) if work == when else None

    monkeypatch.setattr(methods, "bar_of", bar)
    monkeypatch.setattr("interpreters.command.infer.bar_of", bar)
    monkeypatch.setattr(methods, "worthwhile", lambda target, num_chains, num_draws: Target.of(target))
    assert main(["infer", "m.py", *NUTS, "--draws", "20", *extra_options]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == f"poutine: interrupted: {said}"
    assert (folder / "r.nc").exists() == said.startswith("all draws are in r.nc")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_importance_sampling_says_that_nothing_is_kept(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
):
    @contextmanager
    def bar(steps: int, unit: str):
        yield lambda: signal.raise_signal(number)

    monkeypatch.setattr(methods, "progress_bar", bar)
    assert main(["infer", "m.py", "--data", "d.json", "--method", "importance", "--out", "r.nc"]) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "poutine: interrupted: importance sampling has no result before its last sample, so nothing was kept"


def test_other_threads_get_no_signals():
    seen = []

    def work():
        with interruptible() as interrupted:
            seen.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


@pytest.mark.slow
def test_discrete_sites_are_summed_out_and_drawn(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "mixture.py").write_text(MIXTURE)
    (folder / "d.json").write_text(json.dumps({"y": [0.1, -0.5, 4.0, 3.9, 4.2, 3.6, 4.4]}))
    assert main(["infer", "mixture.py", *NUTS, "--draws", "500"]) == 0
    out = capsys.readouterr().out
    (row,) = [line.split() for line in out.splitlines() if line.startswith("gap")]
    assert 3.5 < float(row[1]) < 4.5
    shares = [float(line.split()[1]) for line in out.splitlines() if line.startswith("z[")]
    assert [share > 0.5 for share in shares] == [False, False, True, True, True, True, True]


def test_the_help_tells_the_defaults_of_nuts(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["infer", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for words in (f"to adapt with (default: {WARMUP})", "to keep (default: 1000)"):
        assert words in told
    ours = {"target_accept": arguments.TARGET_ACCEPT, "max_depth": arguments.MAX_DEPTH, "metric": arguments.METRIC}
    assert Options(**ours) == Options()
    assert (arguments.METRICS, values.DEEPEST) == (METRICS, DEEPEST)
