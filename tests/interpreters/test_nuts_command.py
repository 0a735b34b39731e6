"""``poutine infer --method nuts``: results, checkpoints, interruption."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import pytest

from interpreters.__main__ import main
from interpreters.command.interruption import interruptible
from interpreters.results.extras import extra

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

NUTS = ["--data", "d.json", "--method", "nuts", "--chains", "2", "--warmup", "200"]


@pytest.mark.slow
def test_a_posterior_its_file_and_the_way_on_from_a_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["infer", "m.py", *NUTS, "--draws", "300", "--out", "whole.nc"]) == 0
    table = capsys.readouterr().out
    assert "r_hat" in table
    assert "2 chains of 300 draws, 0 divergences" in table
    for draws in ("100", "300"):
        assert main(["infer", "m.py", *NUTS, "--draws", draws, "--checkpoint", "c.pickle", "--out", "parts.nc"]) == 0
    whole, parts = (extra("arviz").from_netcdf(folder / f"{name}.nc").posterior["mu"] for name in ("whole", "parts"))
    assert whole.shape == (2, 300)
    assert (whole == parts).all()

    capsys.readouterr()
    assert main(["infer", "m.py", *NUTS, "--seed", "1", "--checkpoint", "c.pickle"]) == 2
    assert "was made with seed 0, not 1; use the same options" in capsys.readouterr().err
    (folder / "c.pickle").write_text("no pickle")
    assert main(["infer", "m.py", *NUTS, "--checkpoint", "c.pickle"]) == 2
    assert "cannot read the checkpoint c.pickle" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "problem"), [
    (["m.py", "--guide", "discrete"], "nuts needs none"),
    (["m.py:discrete"], "all latent sites are discrete (k)"),
    (["m.py", "--checkpoint", "nowhere/c.pickle"], "there is no directory"),
])  # fmt: skip
def test_bad_input_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], problem: str):
    assert main(["infer", *options, *NUTS]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line


def test_the_first_interrupt_is_noted_and_the_second_breaks_off():
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


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
def test_discrete_sites_are_summed_out(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "mixture.py").write_text(MIXTURE)
    (folder / "d.json").write_text(json.dumps({"y": [0.1, -0.5, 4.0, 3.9, 4.2, 3.6, 4.4]}))
    assert main(["infer", "mixture.py", *NUTS, "--draws", "500"]) == 0
    out = capsys.readouterr().out
    (row,) = [line.split() for line in out.splitlines() if line.startswith("gap")]
    assert 3.5 < float(row[1]) < 4.5
    assert "z" not in out.split()
