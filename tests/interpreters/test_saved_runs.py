"""Suspended runs in files: what goes on in another process is bit for bit what would have been; where the model has changed, it is told."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal

from interpreters.errors import RecordError
from interpreters.stepping import begin, compare, load, resume, save
from poutine import Deterministic, Param, ParamStore, Program, Sample, run, same
from poutine.laws import AskingRuntime, difference, outcome, programs
from tests.interpreters.test_stepping import outcome_of, stepped

ROOT = Path(__file__).parents[2]
D = Normal(0.0, 1.0)

MODEL = """
import torch
from torch.distributions import Categorical, Gamma, HalfCauchy, MultivariateNormal, Normal
from poutine import Deterministic, Observe, Param, Sample, block, plate, scale

def model(y, n):
    mu = yield Sample("mu", Normal, 0.0, 5.0)
    tau = yield Sample("tau", HalfCauchy, 5.0)
    w = yield Param("w", torch.tensor(0.5))

    @plate("data", len(y))
    def each(i):
        theta = yield Sample("theta", Normal(mu, tau))
        yield Deterministic("doubled", 2 * theta)
        yield Observe("y", Normal(theta, 1.0), y)
        return theta

    theta = yield from scale(each, scale=0.5)()
    hidden = yield from block(inner)(theta)
    for i in range(n):
        mu = mu + (yield Sample(f"step{i}", Gamma, 2.0 + theta[0].abs(), 1.0))
    return mu * w + hidden

def inner(theta):
    yield Observe("seen", Normal(0.0, 1.0), theta.max())
    return (yield Sample("hidden", Normal(theta.sum(), 1.0)))
"""

GO_ON = """
import pickle, sys
from interpreters.stepping import resume
resumed = resume("run.step")
assert resumed.departure is None
here = resumed.here
print(here.index, here.pending and here.pending.name)
with open("ended.pickle", "wb") as file:
    pickle.dump([(a.site.type, a.site.name, a.edited, a.site.value) for a in here.finish().answers if a.is_visible] + [here.finish().value.detach()], file)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "saved_model", raising=False)
    (tmp_path / "saved_model.py").write_text(MODEL)
    return tmp_path


def suspended():
    import saved_model  # written by the test

    return begin(Program(saved_model.model, torch.tensor([1.0, 2.0, 3.0]), n=3), seed=11)


def bits(values):
    return [each.detach().numpy().tobytes() if isinstance(each, torch.Tensor) else each for each in values]


@pytest.mark.slow
def test_saved_and_resumed_in_a_new_process_is_uninterrupted_bit_for_bit(folder: Path):
    point = suspended().goto("tau").reply(0.3).goto("step1")
    save(point, "run.step")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-W", "error", "-c", GO_ON], capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(point.index), "step1"]
    *sites, value = pickle.loads((folder / "ended.pickle").read_bytes())
    end = point.finish()
    expected = [(a.site.type, a.site.name, a.edited, a.site.value) for a in end.answers if a.is_visible]
    assert [site[:3] for site in sites] == [site[:3] for site in expected]
    assert bits([site[3] for site in sites] + [value]) == bits([site[3] for site in expected] + [end.value])
    assert [site[1] for site in sites if site[2]] == ["tau"]


@pytest.mark.slow
@given(programs(cleanup=False), st.integers(0, 3), st.integers(0, 20))
def test_resumed_is_run(tmp_path_factory, fn, seed, count):
    path = tmp_path_factory.mktemp("runs") / "run.step"
    point = begin(stepped(fn, seed).setup.program, seed, runtime=AskingRuntime).step(count)
    save(point, path)
    resumed = resume(path, runtime=AskingRuntime)
    assert resumed.departure is None and resumed.here.index == point.index
    assert compare(resumed.here, point).same
    assert difference(outcome_of(resumed.here.finish()), outcome(fn, seed=seed)) is None


@pytest.mark.parametrize(("old", "new", "name", "problem"), [
    ('"tau", HalfCauchy, 5.0', '"sigma", HalfCauchy, 5.0', "tau", "expected sample 'tau', got sample 'sigma'"),
    ('"tau", HalfCauchy, 5.0', '"tau", HalfCauchy, 2.5', "tau", r"expected the log density -\d.*, got -\d"),
    ('"theta", Normal(mu, tau)', '"theta", Normal(0.0, tau)', "theta", r"expected the value \[.*\], got \[.*\]"),
    ("scale=0.5", "scale=0.25", "theta", "expected the log density"),
    ("2 * theta", "3 * theta", "doubled", "expected the value"),
    ("Normal(theta, 1.0), y", "Normal(theta, 2.0), y", "y", "expected the log density"),
    ("theta.sum()", "theta.mean()", "hidden", "expected the value"),
    ('"seen", Normal(0.0, 1.0)', '"seen", Normal(0.0, 2.0)', "seen", "expected the log density"),
    ("torch.tensor(0.5)", "torch.tensor(0.25)", "w", "expected the value 0.5, got 0.25"),
    ("    theta = yield from scale", "    return\n    theta = yield from scale", "theta", "the program ends before it"),
    ("    theta = yield from scale", "    1 / 0\n    theta = yield from scale", "theta", "before it, the program raises ZeroDivisionError"),
    ("Gamma, 2.0 +", "Gamma, -2.0 -", "step0", "DistributionError: site 'step0'"),
    ("    w = yield", '    yield Observe("new", Normal(mu, 1.0), mu)\n    w = yield', "w", "expected param 'w', got observe 'new'"),
])  # fmt: skip
def test_a_model_that_has_changed_is_told_at_its_site_and_nothing_is_lost(folder: Path, old, new, name, problem):
    point = suspended().goto("tau").reply(0.3).goto("step1")
    save(point, "run.step")
    before = Path("run.step").read_bytes()
    assert MODEL.count(old) == 1
    Path("changed_model.py").write_text(MODEL.replace(old, new))
    sys.modules.pop("changed_model", None)
    import changed_model  # written by the test

    resumed = resume("run.step", Program(changed_model.model, torch.tensor([1.0, 2.0, 3.0]), n=3))
    departure = resumed.departure
    assert departure is not None and departure.name == name
    names = [answer.name for answer in load("run.step").answers]
    kept = names.index(name)
    assert departure.kept == kept == resumed.here.index
    assert [answer.name for answer in departure.left] == names[kept:]
    for mine, theirs in zip(resumed.here.answers, point.answers[:kept], strict=True):
        assert bits([mine.given, mine.edited]) == bits([theirs.given, theirs.edited])
    with pytest.raises(
        AssertionError, match=rf"(?s)departs .* at site '{name}': {problem}.*; kept: {kept} before it; .* {len(names) - kept} from"
    ):
        raise AssertionError(str(departure))
    assert Path("run.step").read_bytes() == before
    resumed.here.step()  # and it goes on from there


def test_a_model_that_has_changed_later_or_in_form_only_does_not_depart(folder: Path):
    point = suspended().goto("hidden")
    save(point, "run.step")
    Path("changed_model.py").write_text(MODEL.replace("Normal, 0.0, 5.0", "Normal(0.0, 5.0)").replace("Gamma, 2.0", "Gamma, 9.0"))
    sys.modules.pop("changed_model", None)
    import changed_model  # written by the test

    resumed = resume("run.step", Program(changed_model.model, torch.tensor([1.0, 2.0, 3.0]), n=3))
    assert resumed.departure is None and resumed.here.index == point.index
    assert compare(resumed.here, point).same


def test_parameters_are_saved_with_the_run():
    store = ParamStore()
    run(learning, params=store)
    with torch.no_grad():
        next(iter(store.parameters())).fill_(3.0)
    point = begin(learning, params=store).step()
    save(point, "run.step")
    resumed = resume("run.step").here
    assert resumed.finish().value.item() == 3.0
    assert resumed.finish().value.requires_grad, "it is read from a store, which gradients reach"


def learning():
    w = yield Param("w", torch.tensor(2.0))
    yield Sample("x", D)
    return w


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_program_that_cannot_be_pickled_is_passed_again():
    def local():
        return (yield Sample("x", D)) + (yield Sample("y", D))

    save(begin(local).step(), "run.step")
    with pytest.raises(RecordError, match="the program could not be saved with its answers .*local.*: pass it to resume"):
        resume("run.step")
    assert resume("run.step", Program(local)).here.finish().value == run(local)


def test_a_value_that_cannot_be_pickled_is_told_before_anything_is_written():
    def odd():
        yield Sample("odd", lambda: lambda: 0)

    save(begin(odd), "run.step")
    before = Path("run.step").read_bytes()
    with pytest.raises(RecordError, match="site 'odd': its value .* cannot be saved"):
        save(begin(odd).step(), "run.step")
    assert Path("run.step").read_bytes() == before and os.listdir() == ["run.step"]

    def decided():
        yield Deterministic("odd", lambda: 0)
        return (yield Sample("x", D))

    save(begin(decided).step(), "run.step")
    assert resume("run.step", Program(decided)).here.finish().value == run(decided), "what the program makes anew need not be saved"


@pytest.mark.parametrize(("content", "problem"), [
    (None, "cannot read run.step: No such file"),
    (b"", "run.step holds no suspended run: it does not begin with"),
    (b"poutine step 1\nrubbish", "run.step holds no suspended run"),
    (b"poutine step 1\n" + pickle.dumps({"seed": 1}), "run.step holds no suspended run"),
])  # fmt: skip
def test_a_file_that_holds_no_run(content, problem):
    if content is not None:
        Path("run.step").write_bytes(content)
    with pytest.raises(RecordError, match=problem):
        load("run.step")


def test_a_place_that_cannot_be_written():
    with pytest.raises(RecordError, match="cannot write nowhere/run.step: No such file"):
        save(begin(learning), "nowhere/run.step")


def test_a_program_that_is_no_more(monkeypatch):
    save(begin(learning).step(), "run.step")
    monkeypatch.delattr(sys.modules[__name__], "learning")
    with pytest.raises(RecordError, match="the program cannot be found any more .AttributeError.*: pass it to resume"):
        resume("run.step")


def summing():
    total = torch.zeros(2)
    for i in range(3):
        total += yield Sample(f"x{i}", Normal(total, 1.0))
    return total


def test_a_program_that_changes_in_place_what_its_distributions_are_made_of_does_not_depart():
    point = begin(summing, seed=2).step(2)
    save(point, "run.step")
    resumed = resume("run.step")
    assert resumed.departure is None
    assert same(resumed.here.finish().value, run(summing, seed=2))


def test_an_edit_is_saved_with_the_run():
    def local():
        return (yield Sample("x", D)) + (yield Sample("y", D))

    point = begin(local).reply(5.0).finish()
    save(point, "run.step")
    assert resume("run.step", Program(local)).here.value == point.value


class Box:
    """Knows no equality."""

    def __init__(self, content: object) -> None:
        self.content = content


MARK = object()


def boxing(content, mark):
    yield Deterministic("box", Box(content))
    yield Deterministic("mark", mark)
    yield Sample("x", D)


def test_an_object_is_compared_by_what_it_holds():
    save(begin(Program(boxing, 1, MARK)).step(2), "run.step")
    assert resume("run.step").departure is None
    departure = resume("run.step", Program(boxing, 2, MARK)).departure
    assert departure is not None and departure.name == "box"
    departure = resume("run.step", Program(boxing, 1, 5)).departure
    assert departure is not None and departure.name == "mark"


def test_parameters_that_have_changed_are_told():
    def starting(init: float):
        return (yield Param("w", torch.tensor(init)))

    save(begin(Program(starting, 1.0)).step(), "run.step")
    departure = resume("run.step", Program(starting, 2.0)).departure
    assert departure is not None and departure.problem == "expected the value 1, got 2"


def test_a_value_of_another_type_is_told_though_it_looks_the_same():
    def model(dtype):
        x = yield Deterministic("x", torch.tensor([-1.5, 0.25], dtype=dtype))
        yield Sample("y", Normal(x, 1.0))

    save(begin(Program(model, torch.float32)).step(2), "run.step")
    departure = resume("run.step", Program(model, torch.float64)).departure
    assert departure is not None
    assert "(of type torch.float64 in place of torch.float32; has the default type changed?)" in departure.problem
