"""The command line: what it prints, writes and returns; for bad input one line and exit code 2."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from interpreters.__main__ import main
from interpreters.results.extras import extra

arviz = extra("arviz")  # at import, since it takes a second
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "interpreters" / "examples" / "eight_schools.py"

MODELS = """
import torch
from torch.distributions import Bernoulli, Categorical, Dirichlet, HalfNormal, Independent, Normal, Uniform
from poutine import Deterministic, Observe, Param, Sample, plate

def model(x, y):
    slope = yield Sample("slope", Normal, 0.0, 1.0)
    sigma = yield Sample("sigma", HalfNormal, 1.0)
    yield Observe("y", Normal, y, slope * x, sigma)

def guide(y):
    yield Sample("slope", Normal, 1.0, 0.5)

def latent(x):
    slope = yield Sample("slope", Normal, 0.0, 1.0)
    yield Sample("y", Normal, slope * x, 1.0)

def branching(x, y):
    slope = yield Sample("slope", Normal, 0.0, 1.0)
    yield Observe("y", Normal, y, x if slope > 0 else -x, 1.0)

def silent(x, y):
    return
    yield

def no_generator(x, y):
    return Normal(x, y)

def raising(x, y):
    yield Sample("slope", Normal, 0.0, 1.0)
    raise ValueError("two\\nlines")

def raising_later(x, y):
    slope = yield Sample("slope", Normal, 0.0, 1.0)
    if (slope > 3.5).any():
        raise ValueError("rarely")
    yield Observe("y", Normal, y, slope, 1.0)

def impossible(x, y):
    yield Observe("y", Normal(x, 1.0, validate_args=False), y * float("inf"))

def of_no_message(x, y):
    yield Normal(x, y)

def slow(x, y):
    print("begun", flush=True)
    import time
    time.sleep(60)
    yield Sample("z", Normal, 0.0, 1.0)

def bad_parameters(x, y):
    yield Observe("y", Normal, y, x, -1.0)

def of_a_large_one(x, y):
    yield Sample("slope", Normal, next(v for v in y if v > 100), 1.0)

class Own(BaseException):
    pass

def raising_its_own(x, y):
    yield Sample("slope", Normal, 0.0, 1.0)
    raise Own("of mine")

def raising_exit(x, y):
    yield Sample("slope", Normal, 0.0, 1.0)
    raise GeneratorExit

builtin = dict

def bounded(y):
    theta = yield Sample("theta", HalfNormal, 2.0)
    yield Observe("y", Uniform, y, 0.0, theta)

def of_one_support(y):
    theta = yield Sample("theta", HalfNormal, 2.0)
    yield Observe("y", HalfNormal, y, theta)

def plated(y):
    z = yield Sample("z", Normal, 0.0, 1.0)
    @plate("p", 2)
    def each(index):
        yield Observe("y", Normal, y, z, 1.0)
    yield from each()

def regression(y, X):
    b = yield Sample("b", Normal(torch.zeros(2), 1.0))
    yield Observe("y", Normal, y, X @ b, 1.0)

def subsampled(x, y):
    z = yield Sample("z", Normal, 0.0, 1.0)
    @plate("p", len(y), 2)
    def each(index):
        yield Observe("y", Normal, y[index], z, 1.0)
    yield from each()

def of_three(y):
    z = yield Sample("z", Normal(torch.zeros(3), 1.0))
    yield Observe("y", Normal, y, z, 1.0)

def strange(y):
    z = yield Sample("", Normal, 0.0, 1.0)
    yield Sample("3", Normal, 0.0, 1.0)
    yield Sample("empty", Normal(torch.zeros(0), 1.0))
    yield Deterministic("infinite", 1 / z.clamp(min=0.0))
    yield Deterministic("nowhere", z * float("inf"))
    @plate("", 2)
    def each(index):
        yield Observe("y", Normal, y, z, 1.0)
    yield from each()

def of_categories(y):
    p = yield Sample("p", Dirichlet(torch.ones(3)))
    yield Observe("y", Categorical(p), y)
"""
DATA = '{"_source": "invented", "x": [1.0, 2.0, 3.0], "y": [1.1, 1.9, 3.2]}'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("m.py").write_text(MODELS)
    Path("d.json").write_text(DATA)
    return tmp_path


def test_a_summary_goes_to_stdout_and_progress_to_stderr(capsys: pytest.CaptureFixture[str]):
    assert main(["infer", "m.py", "--data", "d.json", "--num-samples", "2000"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["mean", "sd", "5%", "25%", "50%", "75%", "95%", "mcse", "ess"]
    assert [line.split()[0] for line in lines[1:3]] == ["slope", "sigma"]
    assert re.fullmatch(r"log evidence -\d+\.\d+ ± 0\.\d+ nats \(Monte Carlo standard error\)", lines[3])
    assert re.fullmatch(r"effective sample size \d+ of 2000", lines[4])
    assert "1/1" in err


def test_a_seed_is_a_result(capsys: pytest.CaptureFixture[str]):
    outputs = []
    for seed in (1, 1, 2):
        assert main(["infer", "m.py", "--data", "d.json", "--num-samples", "100", "--seed", str(seed)]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]


def test_files_are_written(capsys: pytest.CaptureFixture[str]):
    args = ["infer", "m.py", "--data", "d.json", "--num-samples", "500", "--num-draws", "70", "--out", "r.nc", "--plot", "p.png"]
    assert main(args) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["wrote r.nc", "wrote p.png"]
    result = arviz.from_netcdf("r.nc")
    assert dict(result.posterior.sizes) == {"chain": 1, "draw": 70}
    assert result.observed_data["y"].values.tolist() == [1.1, 1.9, 3.2]
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")


def test_data_that_is_no_argument_is_observed(capsys: pytest.CaptureFixture[str]):
    assert main(["infer", "m.py:latent", "--data", "d.json", "--method", "importance"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["mean", "slope", "log", "effective"]


def test_a_guide_takes_what_it_needs_of_the_data(capsys: pytest.CaptureFixture[str]):
    assert main(["infer", "m.py", "--data", "d.json", "--guide", "guide"]) == 0
    guided = re.search(r"effective sample size (\d+)", capsys.readouterr().out)
    assert main(["infer", "m.py", "--data", "d.json", "--method", "importance"]) == 0
    plain = re.search(r"effective sample size (\d+)", capsys.readouterr().out)
    assert guided and plain and int(guided[1]) > 1.5 * int(plain[1])


def test_particles_in_lockstep_are_said_in_a_line(capsys: pytest.CaptureFixture[str]):
    assert main(["infer", "m.py:branching", "--data", "d.json", "--num-samples", "150"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("poutine: warning: particles run in lockstep, which is slower: when particles run at once, `")
    assert (
        "(m.py:" in err
        and "raises RuntimeError: vmap: It looks like you're attempting to use a Tensor in some data-dependent control" in err
    )
    assert "1/1" in err and "slope" in out


def test_too_few_effective_samples_are_said_in_words(capsys: pytest.CaptureFixture[str]):
    assert main(["infer", "m.py", "--data", "d.json", "--num-samples", "20"]) == 0
    assert "\nwarning: the effective sample size is only " in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(5))  # of some, the first draw of theta is too small
def test_data_that_one_draw_makes_impossible(capsys: pytest.CaptureFixture[str], seed: int):
    Path("d.json").write_text('{"y": [1.0, 2.0]}')
    assert main(["infer", "m.py:bounded", "--data", "d.json", "--method", "importance", "--seed", str(seed)]) == 0
    out, err = capsys.readouterr()
    assert "theta" in out and "in lockstep" not in err


def test_strange_names_and_values_are_written(capsys: pytest.CaptureFixture[str]):
    Path("d.json").write_text('{"y": [1.0, 2.0]}')
    assert main(["infer", "m.py:strange", "--data", "d.json", "--num-samples", "500", "--out", "r.nc", "--plot", "p.png"]) == 0
    assert "empty" not in capsys.readouterr().out
    assert list(arviz.from_netcdf("r.nc").posterior.data_vars) == ["unnamed", "3", "empty", "infinite", "nowhere"]


def complaint(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """The one line that ``poutine infer`` says instead of doing anything."""
    assert main(["infer", *args]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.endswith("\n") and err.count("\n") == 1
    assert err.startswith("poutine: error: ")
    return err.removeprefix("poutine: error: ").rstrip()


@pytest.mark.parametrize(
    "name, text",
    [
        ("nothing", "m.py has no model 'nothing'; its generator functions are model, guide, latent, branching"),
        ("silent", "silent(x, y) yields no sample and no observation: there is nothing to infer"),
        ("no_generator", "m.py: no_generator is no generator function: calling it returned Normal("),
        ("raising", "m.py, line 31: ValueError: two lines"),
        ("of_no_message", "m.py, line 43: of_no_message, line 43 of"),
        ("bad_parameters", "m.py: site 'y': cannot call Normal("),
        ("of_a_large_one", "m.py, line 55: RuntimeError: generator raised StopIteration"),
        ("raising_its_own", "m.py, line 62: Own: of mine"),
        ("raising_exit", "m.py, line 66: GeneratorExit"),
        ("builtin", "dict is no model: no signature found for builtin type"),
    ],
)
def test_bad_models(capsys: pytest.CaptureFixture[str], name: str, text: str):
    assert complaint(capsys, f"m.py:{name}", "--data", "d.json").startswith(text)


@pytest.mark.parametrize(
    "model, data, text",
    [
        ("model", "", "d.json is no JSON: Expecting value"),
        ("model", '{"x": [1.0, 2.0, 3.0]}', "the data has x, but model(x, y) also needs y"),
        (
            "model",
            '{"x": [1.0, 2.0, 3.0], "y": [1, 2, 3], "z": 1}',
            "the data has z: no argument of model(x, y), and none of its sites slope",
        ),
        ("model", '{"x": [1.0, 2.0, 3.0], "y": [1, 2, 3], "_z": 1, "sigma": [1, 2]}', "site 'sigma': expected data of shape (), got (2,)"),
        ("model", '{"x": [1.0, 2.0, 3.0], "y": [1, 2]}', "site 'y': expected data of shape (3,), got (2,)"),
        ("model", '{"x": [1.0, 2.0, NaN], "y": [1, 2, 3]}', "d.json: x[2] is nan; leave out what is missing"),
        ("model", '{"x": [1.0, 2.0, 3.0], "y": [1, null, 3]}', "d.json: y[1] is null; leave out what is missing"),
        ("model", '{"x": [1.0, 2.0, 3.0], "y": ["a", "b", "c"]}', 'd.json: y[0]: expected numbers, or lists of them, got "a"'),
        ("model", f'{{"x": 1{"0" * 400}}}', "d.json: x has a number that is too large for torch.int64"),
        ("model", f'{{"x": [0.5, 1{"0" * 400}]}}', "d.json: x has a number that is too large for torch.float64"),
        *(("model", f'{{"x": {"[" * n}1{"]" * n}}}', "d.json: x: lists are nested too deeply") for n in (65, 100)),
        *(("model", f'{{"x": {"[" * n}1{"]" * n}}}', "d.json: lists are nested too deeply") for n in (500, 100_000)),
        ("model", f"{'[' * 500}1{']' * 500}", "d.json: "),
        ("latent", '{"x": [1.0, 2.0, 3.0], "y": 2}', "site 'y': expected data of shape (3,), got ()"),
        (
            "plated",
            '{"y": [[1, 2], [3, 4]]}',
            "m.py, line 82: site 'y': expected a value that broadcasts to batch shape (2,) and event shape (), got shape (2, 2)",
        ),
        (
            "regression",
            '{"y": [1, 2], "X": [[1, 0], [0, 1]]}',
            "m.py, line 87: RuntimeError: addmv input tensors must have the same dtype, but got Double, Long, and Double "
            "(whole numbers in the data are integers: write 1.0 for 1, or x.double() in the model, for x = y, X)",
        ),
        ("of_three", '{"y": [[1, 2, 3], [3, 4, 5], [6, 7, 8]]}', "site 'y': expected data of shape (3,), got (3, 3)"),
        ("of_one_support", '{"y": [1.0, -1.0]}', "m.py: site 'y': cannot score a value of shape (2,)"),
        ("model", '{"x": [1.0, 2.0], "y": [1, 2], "sigma": -1.0}', "m.py: site 'y': cannot call Normal("),
    ],
)
def test_bad_data(capsys: pytest.CaptureFixture[str], model: str, data: str, text: str):
    Path("d.json").write_text(data)
    assert complaint(capsys, f"m.py:{model}", "--data", "d.json").startswith(text)


@pytest.mark.parametrize("options", [(), ("--chains", "2"), ("--num-samples", "100"), ("--method", "nuts")])
def test_data_that_no_draw_makes_possible_are_told_of_whatever_the_method(capsys: pytest.CaptureFixture[str], options: tuple[str, ...]):
    Path("d.json").write_text('{"y": 5}')
    said = complaint(capsys, "m.py:of_categories", "--data", "d.json", *options)
    assert said.startswith("m.py: site 'y': cannot score a value of shape () under Categorical(probs: torch.Size([3]))")
    assert "invalid values: 5" in said


@pytest.mark.parametrize(
    "args, text",
    [
        (["nowhere.py"], "no model file nowhere.py"),
        (["broken.py"], "broken.py, line 1: ModuleNotFoundError: No module named 'not_a_module_of_anybody'"),
        (["m.py", "--data", "nowhere.json"], "cannot read the data file nowhere.json: No such file or directory"),
        (["m.py"], "the data is empty, but model(x, y) also needs x, y"),
        (["nowhere.py", "--out", "nowhere/r.nc"], "cannot write nowhere/r.nc: there is no directory "),
        (["nowhere.py", "--out", "."], "cannot write .: it is a directory"),
        (["nowhere.py", "--out", "/proc/r.nc"], "cannot write /proc/r.nc: No such file or directory"),
        (["nowhere.py", "--out", ""], "argument --out: expected a path, got nothing; see poutine infer --help"),
        (["nowhere.py", "--checkpoint", ""], "argument --checkpoint: expected a path, got nothing; see poutine infer --help"),
        (["m.py", "--guide", "nope"], "m.py has no model 'nope'; its generator functions are model, guide, "),
        (["nowhere.py", "--plot", "nowhere/p.png"], "cannot write nowhere/p.png: there is no directory "),
        (["nowhere.py", "--out", "r.csv"], "cannot write r.csv: expected a name that ends in one of .nc, "),
        (["nowhere.py", "--plot", "p.jpx"], "cannot draw p.jpx: expected a name that ends in one of ."),
        (["nowhere.py", "--plot", "p.pgf"], "cannot draw p.pgf: expected a name that ends in one of ."),
        (["m.py", "--num-samples", "0"], "argument --num-samples: expected a positive number, got 0; see poutine infer --help"),
        (["nul.py"], "nul.py: "),
        (["latin.py"], "latin.py, line 1: SyntaxError"),
        (["m" * 300 + ".py"], "cannot read the model file: [Errno 36] File name too long"),
        (["m.py", "--out", "r" * 300], "cannot write the output: [Errno 36] File name too long"),
        (["m.py", "--num-samples", str(10**20)], "argument --num-samples: expected at most 1000000000, got 1000"),
        (["m.py", "--num-samples", "many"], "argument --num-samples: invalid"),
        (["m.py", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (["m.py", "--method", "guessing"], "argument --method: invalid choice: 'guessing'"),
        (["m.py", "--colour", "red"], "unrecognized arguments: --colour red"),
        ([], "the following arguments are required: MODEL.py[:NAME]; see poutine infer --help"),
    ],
)
def test_bad_arguments(capsys: pytest.CaptureFixture[str], args: list[str], text: str):
    Path("broken.py").write_text("import not_a_module_of_anybody\n")
    Path("nul.py").write_bytes(b"x = 1\0\n")
    Path("latin.py").write_bytes(b"x = '\xe9'\n")
    assert complaint(capsys, *args).startswith(text)


def test_the_version(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert (done.value.code, capsys.readouterr().out) == (0, f"poutine {version('poutine')}\n")


@pytest.mark.parametrize(
    "name, text",
    [
        ("raising_later", "m.py, line 36: ValueError: rarely"),
        ("subsampled", "m.py, line 94: site 'p': it draws the index of a subsampled plate"),
        ("impossible", "m.py: every one of 10000 particles has weight zero"),
    ],
)
def test_what_fails_at_work_has_one_line_too(capsys: pytest.CaptureFixture[str], name: str, text: str):
    assert main(["infer", f"m.py:{name}", "--data", "d.json", "--method", "importance"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.rpartition("\r")[2].startswith(f"poutine: error: {text}")


def test_a_file_that_cannot_be_written(capsys: pytest.CaptureFixture[str]):
    """What could not be foreseen: /dev/full has no space, as a full disk has not."""
    assert main(["infer", "m.py", "--data", "d.json", "--num-samples", "10", "--out", "/dev/full"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("poutine: error: cannot write /dev/full: ")


def test_help(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        main(["infer", "--help"])
    assert stopped.value.code == 0 and "--num-samples" in capsys.readouterr().out


def poutine(*args: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "interpreters", *args]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_the_main_job_as_a_process(folder: Path):
    data = str(EXAMPLE.with_suffix(".json"))
    args = poutine("infer", str(EXAMPLE), "--data", data, "--num-samples", "100000", "--out", "r.nc", "--plot", "p.png")
    done = subprocess.run(args, capture_output=True, text=True, env=ENVIRONMENT, cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[1:]}
    for name, reference, error in (("mu", 4.411, 0.033), ("tau", 3.602, 0.032)):  # see test_eight_schools
        mean, mcse = float(rows[name][0]), float(rows[name][7])
        assert abs(mean - reference) < 4 * math.hypot(mcse, error)
    assert arviz.from_netcdf(folder / "r.nc").posterior["theta"].dims == ("chain", "draw", "school")


@pytest.mark.slow
def test_a_stdout_that_is_full_or_knows_no_more_than_ascii(folder: Path):
    args = poutine("infer", "m.py", "--data", "d.json", "--num-samples", "500")
    with open("/dev/full", "w") as full:
        done = subprocess.run(args, stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=folder)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "poutine: error: cannot write to stdout: No space left on device"
    plain = subprocess.run(args, capture_output=True, text=True, env={**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}, cwd=folder)
    assert plain.returncode == 0 and " ? 0." in plain.stdout


@pytest.mark.slow
def test_bad_input_as_a_process(folder: Path):
    done = subprocess.run(poutine("infer", "m.py:raising", "--data", "d.json"), capture_output=True, text=True, env=ENVIRONMENT, cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "poutine: error: m.py, line 31: ValueError: two lines\n")


@pytest.mark.slow
def test_an_interruption(folder: Path):
    args = poutine("infer", "m.py:slow", "--data", "d.json")
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=folder) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert process.stderr.read() == "poutine: interrupted\n"
