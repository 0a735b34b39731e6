"""``poutine step``: what it shows, what it does with bad commands and bad input, on a terminal and from a pipe."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from torch.distributions import Normal

from interpreters.__main__ import main
from interpreters.console.commands import COMMANDS
from interpreters.console.model import ModelOnData
from interpreters.console.session import Session
from interpreters.console.shell import completer
from interpreters.stepping import begin, save
from poutine import Sample

ROOT = Path(__file__).parents[2]

MODELS = """\
import torch
from torch.distributions import Bernoulli, HalfNormal, Independent, Normal, Uniform
from poutine import Deterministic, Observe, Param, Sample, block, plate, scale

def model(y):
    mu = yield Sample("mu", Normal, 0.0, 5.0)
    tau = yield Sample("tau", HalfNormal, 2.0)

    @plate("data", len(y))
    def each(i):
        theta = yield Sample("theta", Normal(mu, tau))
        yield Observe("y", Normal(theta, 1.0), y)

    yield from each()
    return mu

tempered = scale(model, scale=0.5)

def hiding():
    x = yield from block(inner)()
    w = yield Param("w", torch.tensor(2.0))
    yield Deterministic("d", x * w)
    yield Sample("v", Independent(Normal(torch.zeros(8), 1.0), 1))

def inner():
    return (yield Sample("x", Bernoulli(0.5)))

def raising(y):
    mu = yield Sample("mu", Normal, 0.0, 5.0)
    raise ValueError("two\\nlines")

def leaving(y):
    mu = yield Sample("mu", Normal, 0.0, 5.0)
    raise SystemExit(7)

def at_once(y):
    raise ValueError("at once")
    yield

def no_generator(y):
    return Normal(y, 1.0)

def impossible(y):
    yield Observe("y", Uniform, y, 0.0, 0.5)
    return (yield Sample("z", Normal, 0.0, 1.0))

def slow():
    yield Sample("mu", Normal, 0.0, 5.0)
    import time
    print("begun", flush=True)
    time.sleep(60)

def regression(X, y):
    beta = yield Sample("beta", Independent(Normal(torch.zeros(2), 1.0), 1))
    yield Observe("y", Normal(X @ beta, 1.0), y)
    return beta.dtype

def unlikely():
    x = yield Sample("x", Normal, 0.0, 1.0)
    yield Observe("y", Uniform(0.0, 1.0), 2.0 + x * 0)
    for i in range(4):
        yield Sample(f"z{i}", Normal(x, 1.0))

def hopeless():
    for i in range(8):
        yield Observe(f"u{i}", Uniform(0.0, 1.0), torch.tensor(2.0))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("m.py").write_text(MODELS)
    Path("d.json").write_text('{"y": [1.0, 2.0, 3.0]}')
    return tmp_path


class Talk:
    """What ``poutine step`` says to a script."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, script: str, *args: str, code: int = 0) -> list[str]:
        """The answers to commands between semicolons: one for each, after what is shown at the beginning."""
        return self.run(io.StringIO(script.replace("; ", "\n")), args or ("m.py", "--data", "d.json"), code)

    def run(self, stdin: io.StringIO, args: Sequence[str], code: int) -> list[str]:
        """``err`` keeps the complaints."""
        self.monkeypatch.setattr(sys, "stdin", stdin)
        assert main(["step", *args]) == code
        out, self.err = self.capsys.readouterr()
        return [part.partition("\n")[2] if i else part for i, part in enumerate(out.split("\n(step) "))]


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Talk:
    return Talk(monkeypatch, capsys)


def test_it_shows_the_line_the_message_and_the_trace_so_far(talk):
    first, second = talk("s; q")[:2]
    assert first.splitlines() == [
        "m.py, line 6, in model",
        "     4",
        "     5  def model(y):",
        '→    6      mu = yield Sample("mu", Normal, 0.0, 5.0)',
        '     7      tau = yield Sample("tau", HalfNormal, 2.0)',
        "     8",
        "waits at  Sample('mu', Normal(0, 5))",
        "no site so far",
    ]
    lines = second.splitlines()
    assert lines[0] == "m.py, line 7, in model" and lines[6] == "waits at  Sample('tau', HalfNormal(2))"
    assert lines[7].split() == ["site", "value", "log", "density", "so", "far"]
    name, kind, value, density, total = lines[8].split()
    assert (name, kind) == ("mu", "(sample)") and density == total and -40 < float(density) < -2.5 and float(value)


def test_it_shows_the_view_of_the_chain(talk):
    Path("d.json").write_text('{"y": [1.0, 2.0, 3.0], "tau": 0.5}')
    shown = talk("goto tau; s; chain tau; chain mu; q", "m.py:tempered", "--data", "d.json")
    lines = [line.split(maxsplit=2) for line in shown[1].splitlines() if line.startswith("  ")]
    ways = [line for line in lines if line[0] in "↑↓"]
    assert ways == [
        ["↑", "the", "program       Sample('tau', HalfNormal(2))"],
        ["↑", "ScalePoutine", "Sample('tau', HalfNormal(2), scale=0.5)"],
        ["↑", "ConditionPoutine", "Observe('tau', HalfNormal(2), value=0.5, scale=0.5)"],
    ]
    assert [line.split()[:2] for line in shown[3].splitlines()][3:] == [["↓", "the"], ["↓", "ConditionPoutine"], ["↓", "ScalePoutine"]]
    assert "Sample('mu', Normal(0, 5), value=" in shown[4]


def test_it_runs_in_double_precision_as_infer_does(talk):
    Path("d.json").write_text('{"X": [[1.0, 2.0], [0.5, 0.25]], "y": [1.0, 2.0]}')
    shown = talk("chain; edit beta [0.1, 0.2]; save run.step; reload; c; load run.step; c", "m.py:regression", "--data", "d.json")
    assert "Double" not in "".join(shown)
    assert [line for each in shown for line in each.splitlines() if "ended" in line] == ["ended: returned torch.float64"] * 2


def test_going_back_and_forth(talk):
    shown = talk("next 3; b; goto mu; g y; back 2; c; b; w; q")
    stops = [next(line for line in each.splitlines() if line.startswith(("waits", "ended"))) for each in shown[:8]]
    assert [stop[10:22] for stop in stops[:6]] == [
        "Sample('mu',",
        "Observe('y',",
        "Sample('thet",
        "Sample('mu',",
        "Observe('y',",
        "Sample('tau'",
    ]
    assert stops[6].startswith("ended: returned ") and stops[7].startswith("waits at  Observe('y'")
    assert [line.partition(": ")[2] for line in shown[8].splitlines()] == ["yield from each()", 'yield Observe("y", Normal(theta, 1.0), y)']


def test_editing_branching_and_comparing(talk):
    shown = talk("c; edit tau 0.25; branch small; c; diff; set 1; switch before; diff small; branch; q", code=1)
    assert "tau (sample, edited)   0.25" in shown[2]
    rows = {line.split()[0]: line for line in shown[5].splitlines()}
    assert list(rows) == ["site", "tau", "theta", "y", "all"], "the first draw stays"
    assert rows["tau"].split()[1] == "value" and rows["tau"].split()[3] == "0.25"
    assert "the program has ended: there is no message to answer" in talk.err
    assert shown[7].startswith("ended: returned")
    assert "only left" not in shown[8] and "theta      only right" in shown[8]
    assert [line.split()[0] for line in shown[9].splitlines()] == ["before", "small"]


def test_an_edit_that_another_one_undoes_is_told(talk):
    """What comes after a site that is edited is run anew: edits, too."""
    shown = talk("edit theta [1.0, 2.0, 3.0]; edit mu 1.0; c; edit tau 0.5; edit tau 0.7; edit mu 2; goto mu; set 3; switch before; q")
    assert shown[2].startswith("forgotten: the edit of theta, which comes after this site; the run as it was is the branch before\n")
    assert not any(shown[i].startswith("forgotten") for i in (1, 3, 4, 5, 7, 8, 9)), "another edit of the same site is no loss"
    assert shown[6].startswith("forgotten: the edit of tau,") and "theta" not in shown[6].splitlines()[0]
    shown = talk("edit mu 1.0; edit tau 0.5; edit theta [1.0, 2.0, 3.0]; goto mu; set 2.0; q")
    assert shown[5].startswith("forgotten: the edits of tau, theta, which come after this site;")


def test_breakpoints(talk):
    shown = talk("break th*; break observe; c; c; clear observe; break; c; clear; b 9; c; q")
    assert shown[2] == "stops at: th*, observe\n"
    assert "waits at  Sample('theta'" in shown[3] and "waits at  Observe('y'" in shown[4]
    assert shown[5] == shown[6] == "stops at: th*\n"
    assert "ended: returned" in shown[7] and shown[8] == "stops at: (no breakpoint)\n"
    assert "waits at  Sample('mu'" in shown[9] and "ended: returned" in shown[10]


def test_hidden_sites_params_and_large_values(talk):
    shown = talk("s; s; s; s; q", "m.py:hiding", "--seed", "3")
    assert "waits at  Sample('x', Bernoulli(probs=0.5))  (hidden from what is further out)" in shown[0]
    assert "waits at  Param('w', init=2)" in shown[1] and "x (sample, hidden)" in shown[1]
    assert "waits at  Deterministic('d', value=" in shown[2]
    assert "waits at  Sample('v', Independent(Normal(loc=[8] 0, 0, 0, 0, 0, 0, …, scale=[8] 1, 1, 1, 1, 1, 1, …), 1))" in shown[3]
    assert "ended: returned None" in shown[4]


def test_a_model_that_raises_has_ended_and_one_can_go_back(talk):
    shown = talk("s; s; b; q", "m.py:raising", "--data", "d.json", code=1)
    assert "ended: raised ValueError: two lines\n" in shown[1]
    assert '→   30      raise ValueError("two\\nlines")' in shown[1]
    assert talk.err == "poutine: error: the program has ended; back, goto and edit go back into it\n"
    assert "waits at  Sample('mu'" in shown[3]


def test_a_model_that_leaves_python_loses_nothing(talk):
    shown = talk("s; trace; q", "m.py:leaving", "--data", "d.json", code=1)
    assert talk.err == f"poutine: error: {Path('m.py').absolute()}, line 34: SystemExit: 7\n"
    assert shown[2] == "no site so far\n"


def test_what_cannot_be_scored_is_shown_all_the_same(talk):
    shown = talk("s; c; save run.step; q", "m.py:impossible", "--data", "d.json")
    assert "y (observe)  [1, 2, 3]" in shown[1] and "ended: returned" in shown[2]
    assert re.search(r"y \(observe\)  \[1, 2, 3\]  cannot be scored  unknown\nsite 'y': cannot score a value of shape \(3,\)", shown[1])
    assert re.search(r"unknown\nsite 'y': cannot score .*\n", shown[2])


def test_each_site_that_is_shown_and_cannot_be_scored_is_told_why(talk):
    shown = talk("s 7; trace; q", "m.py:hopeless")
    last, all_of_them = (re.findall(r"^site '(u\d)': cannot score", text, re.MULTILINE) for text in shown[1:3])
    assert last == ["u2", "u3", "u4", "u5", "u6"] and re.findall(r"^(u\d) ", shown[1], re.MULTILINE) == last
    assert all_of_them == ["u0", "u1", *last]


def test_a_run_has_no_sum_after_what_cannot_be_scored(talk):
    shown = talk("s 3; branch old; edit z0 0.5; diff old; s 9; q", "m.py:unlikely")
    rows = [re.split("  +", line) for line in shown[1].splitlines()[-5:]]
    assert rows[1][0] == "x (sample)" and rows[1][-1] == rows[1][-2]
    assert rows[2][0] == "y (observe)" and rows[2][-2:] == ["cannot be scored", "unknown"]
    assert rows[3][0] == "z0 (sample)" and float(rows[3][-2]) < 0.0 and rows[3][-1] == "unknown"
    assert rows[4][0].startswith("site 'y': cannot score a value of shape () under Uniform(low: 0.0, high: 1.0)")
    assert [line.split() for line in shown[4].splitlines()][-1] == ["all", "sites", "nan", "nan"]
    assert "… 1 site before (trace shows all)" in shown[5]


@pytest.mark.parametrize(("command", "complaint"), [
    ("foo", "no command 'foo'; help lists them all"),
    ("step x", "expected a number of messages, got 'x'"),
    ("step 0", "expected a number of messages, got '0'"),
    ("step 1 2", "expected step [N], got 'step 1 2'"),
    ("back", "this is the beginning"),
    ("goto", "expected goto NAME, got 'goto'"),
    ("goto nowhere", "the program never reached 'nowhere'; it reached: mu, tau, theta, y"),
    ("set", "expected set VALUE, got 'set'"),
    ("set [1, 2]", "site 'mu': expected a value of shape (), got shape (2,): "),
    ("set [1, [2]]", "site 'mu': expected numbers of shape (), got [1, [2]]"),
    ("set [1.0, [2]]", "expected a number, or a list of numbers such as [1.0, 2.0], got '[1.0, [2]]'"),
    ("set high", "expected a number, or a list of numbers such as [1.0, 2.0], got 'high'"),
    ("set __import__('os')", "expected a number, or a list of numbers such as"),
    ("set 'high'", "site 'mu': expected numbers of shape (), got 'high'"),
    ("set nan", "site 'mu': cannot score a value of shape ()"),
    ("edit tau", "expected edit NAME VALUE, got 'edit tau'"),
    ("edit tau -1", "site 'tau': cannot score a value of shape ()"),
    ("edit theta [1, 2]", "site 'theta': expected a value of shape (3,), got shape (2,)"),
    ("clear mu", "no breakpoint 'mu'; it stops at: (no breakpoint)"),
    ("chain nowhere", "no site 'nowhere' so far"),
    ("switch nowhere", "no branch 'nowhere'; there are: (none)"),
    ("diff", "no branch 'before'; there are: (none)"),
    ("save nowhere/run.step", "cannot write nowhere/run.step: No such file or directory"),
    ("save m.py", "m.py is there, and is no suspended run: it is not overwritten"),
    ("save .", "[Errno 21] Is a directory: '.'"),
    ("load nowhere.step", "cannot read nowhere.step: No such file or directory"),
    ("load m.py", "m.py holds no suspended run: it does not begin with 'poutine step 1'"),
    ("help foo", "no command 'foo'"),
])  # fmt: skip
def test_a_bad_command_is_one_line_and_loses_nothing(talk, command, complaint):
    shown = talk(f"{command}; s; q", code=1)
    assert talk.err.startswith(f"poutine: error: {complaint}") and talk.err.count("\n") == 1
    assert shown[1] == "" and "waits at  Sample('tau'" in shown[2]
    assert Path("m.py").read_text() == MODELS


@pytest.mark.parametrize(("args", "complaint"), [
    ([], "expected MODEL.py[:NAME], or --resume FILE; see poutine step --help"),
    (["nowhere.py"], "no model file "),
    (["m.py:nothing"], "m.py has no model 'nothing'"),
    (["m.py"], "the data is empty, but model(y) also needs y"),
    (["m.py", "--data", "nowhere.json"], "cannot read the data file nowhere.json"),
    (["m.py:no_generator", "--data", "d.json"], "m.py: no_generator is no generator function"),
    (["m.py:at_once", "--data", "d.json"], "m.py, line 37: ValueError: at once"),
    (["m.py", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
    (["--resume", "nowhere.step"], "cannot read nowhere.step: No such file or directory"),
    (["--resume", "m.py"], "m.py holds no suspended run"),
    (["--resume", "m.py", "--seed", "5"], "a run that is resumed keeps its seed: leave out --seed"),
])  # fmt: skip
def test_bad_input_is_one_line_and_code_2(talk, args, complaint):
    assert talk.run(io.StringIO("s"), args, code=2) == [""]
    assert talk.err.count("\n") == 1 and talk.err.startswith("poutine: error: ") and complaint in talk.err


def test_a_run_is_saved_and_resumed(talk):
    first = talk("edit mu 1.5; s; save run.step; c; q")
    second = talk("c; q", "--resume", "run.step")
    assert second[0] == first[2], "the same view"
    assert second[1] == first[4]
    assert talk("load run.step; c; q")[2] == first[4]


def test_a_run_of_a_model_that_has_changed_since(talk):
    before = talk("goto y; save run.step; q")[1]
    Path("m.py").write_text(MODELS.replace("HalfNormal, 2.0", "HalfNormal, 3.0"))
    shown = talk("c; q", "--resume", "run.step")
    notice, *rest = shown[0].splitlines()
    assert notice.startswith("the program departs from what was saved at site 'tau': expected the value ")
    assert notice.endswith("; kept: 1 before it; still in what was saved: 2 from there on")
    assert "waits at  Sample('tau', HalfNormal(3))" in rest
    Path("m.py").write_text(MODELS)
    assert talk("q", "--resume", "run.step")[0] == before.rstrip("\n") + "\n", "and the file still has all of it"
    Path("m.py").write_text("import nothing_of_the_kind\n")
    assert talk("q", "--resume", "run.step", code=2) == [""] and "No module named 'nothing_of_the_kind'" in talk.err


def test_a_model_is_loaded_again_in_the_middle(talk):
    def script():
        yield "goto y\n"
        Path("m.py").write_text(MODELS.replace("Normal(theta, 1.0), y", "Normal(theta, 9.0), y"))
        yield "reload\n"
        Path("m.py").write_text("def model(:\n")
        yield "reload\n"
        Path("m.py").write_text(MODELS.replace("HalfNormal, 2.0", "HalfNormal, 3.0"))
        yield "r\n"

    class Lines(io.StringIO):
        def __iter__(self):
            return script()

    shown = talk.run(Lines(), ["m.py", "--data", "d.json"], code=1)
    assert "waits at  Observe('y', Normal(loc=" in shown[2] and "scale=[9, 9, 9]" in shown[2] and "departs" not in shown[2]
    assert talk.err.startswith("poutine: error: ") and "SyntaxError" in talk.err and talk.err.count("\n") == 1
    assert shown[4].startswith("the program departs from what was saved at site 'tau'")
    assert '→    7      tau = yield Sample("tau", HalfNormal, 3.0)' in shown[4], "the lines are those of the file as it is"


OTHER = """\
from torch.distributions import Normal
from poutine import Sample


def model():
    return (yield Sample("q", Normal, 0.0, 1.0))
"""


def test_a_branch_keeps_its_model_and_its_lines(talk):
    Path("other.py").write_text(OTHER)
    talk("save other.step; q", "other.py")
    shown = talk("edit mu 5; load other.step; branch; switch before; branch; save mine.step; reload; q")
    assert "other.py, line 6, in model" in shown[2] and "waits at  Sample('q'" in shown[2]
    assert shown[3].split()[:4] == ["before", "waits", "at", "Sample('tau',"] and shown[3].rstrip().endswith("in m.py")
    assert '→    7      tau = yield Sample("tau", HalfNormal, 2.0)' in shown[4]
    assert shown[5].split()[:4] == ["before", "waits", "at", "Sample('q',"] and shown[5].rstrip().endswith("in other.py")
    assert "departs" not in shown[7] and "mu (sample, edited)" in shown[7]
    assert "departs" not in talk("q", "--resume", "mine.step")[0]


def test_a_branch_of_before_the_file_changed_shows_the_lines_as_they_were(talk):
    def script():
        yield "goto y\n"
        Path("m.py").write_text("# one\n# two\n" + MODELS.replace("HalfNormal, 2.0", "HalfNormal, 3.0"))
        yield "reload\n"
        yield "branch\n"
        yield "switch before\n"
        yield "where\n"
        yield "switch before\n"

    class Lines(io.StringIO):
        def __iter__(self):
            return script()

    shown = talk.run(Lines(), ["m.py", "--data", "d.json"], code=0)
    assert '→    9      tau = yield Sample("tau", HalfNormal, 3.0)' in shown[2]
    assert shown[3].rstrip().endswith("in m.py as it was")
    line = MODELS.splitlines().index('        yield Observe("y", Normal(theta, 1.0), y)') + 1
    assert f'→   {line}          yield Observe("y", Normal(theta, 1.0), y)' in shown[4]
    assert shown[5].splitlines()[-1].endswith('yield Observe("y", Normal(theta, 1.0), y)')
    assert '→    9      tau = yield Sample("tau", HalfNormal, 3.0)' in shown[6]


LEAVING = """\
from torch.distributions import Normal
from poutine import Sample


def model():
    for i in range(9):
        yield Sample(f"x_{i}", Normal, 0.0, 1.0)
        if i == 4:
            LEAVE
"""


@pytest.mark.parametrize("command", ["step 20", "continue"])
def test_a_move_that_is_cut_short_stops_where_it_has_come_to_and_shows_it(talk, command):
    Path("leaving.py").write_text(LEAVING.replace("LEAVE", "raise SystemExit(3)"))
    shown = talk(f"{command}; edit x_0 5; switch before; q", "leaving.py", code=1)
    assert talk.err == f"poutine: error: {Path('leaving.py').absolute()}, line 9: SystemExit: 3\n"
    assert "waits at  Sample('x_4'" in shown[1]
    assert "waits at  Sample('x_4'" in shown[3], "the branch before is as far as it had come"


class Terminal(io.StringIO):
    """What somebody types; ``^C`` is Ctrl-C."""

    def isatty(self) -> bool:
        return True

    def readline(self, *_: int) -> str:  # type: ignore[override]
        line = super().readline()
        if line == "^C\n":
            raise KeyboardInterrupt
        return line


def test_ctrl_c_stops_where_it_has_come_to_and_shows_it(monkeypatch, capsys):
    Path("leaving.py").write_text(LEAVING.replace("LEAVE", "raise KeyboardInterrupt"))
    monkeypatch.setattr(sys, "stdin", Terminal("foo\n^C\nc\nstep\nback 9\nq\n"))
    assert main(["step", "leaving.py"]) == 0, "what fails on a terminal is no failure of all"
    out, err = capsys.readouterr()
    first, *rest = out.split("(step) ")
    assert len(rest) == 6 and "waits at  Sample('x_0'" in first
    assert rest[:2] == ["", "\n"], "a bad command, and Ctrl-C at the prompt"
    assert "waits at  Sample('x_4'" in rest[2] and rest[3] == "" and "waits at  Sample('x_0'" in rest[4]
    assert err.splitlines() == [
        "poutine: error: no command 'foo'; help lists them all",
        "interrupted",
        "interrupted; the run is where it was",
    ]


def test_the_end_of_what_is_typed_leaves(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", Terminal("\n"))
    assert main(["step", "m.py", "--data", "d.json"]) == 0
    assert "waits at  Sample('tau'" in capsys.readouterr().out, "an empty line steps"


def test_a_terminal_without_readline(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", Terminal("s\n"))
    monkeypatch.setitem(sys.modules, "readline", None)
    assert main(["step", "m.py", "--data", "d.json"]) == 0
    assert "waits at  Sample('tau'" in capsys.readouterr().out


def test_a_script_that_is_no_text(talk):
    shown = talk.run(io.TextIOWrapper(io.BytesIO(b"s\n" + b"#" * 9000 + b"\n\xff\n"), "utf-8"), ["m.py", "--data", "d.json"], code=2)
    assert "waits at  Sample('tau'" in shown[1]
    assert talk.err.startswith("poutine: error: the commands are no text: ") and talk.err.count("\n") == 1


def test_a_file_on_another_drive_is_named_in_full(talk, monkeypatch):
    def refuses(path: str) -> str:
        raise ValueError("path is on mount 'C:', start on mount 'D:'")

    monkeypatch.setattr(os.path, "relpath", refuses)
    assert talk("q")[0].startswith(f"{Path('m.py').absolute()}, line 6, in model\n")


ODD = """\
from poutine import Message, Sample


class Whim:
    def sample(self):
        return 1

    def log_prob(self, value):
        raise ValueError("not in the mood")

    def __repr__(self):
        return "Whim()"


def model():
    yield Sample("whim", Whim())
    yield Message("hello")
"""


def test_what_it_does_not_know_is_shown_as_it_is(talk):
    Path("odd.py").write_text(ODD)
    shown = talk("s; set 3; q", "odd.py")
    assert "waits at  Sample('whim', Whim())" in shown[0]
    assert "waits at  Message('hello')" in shown[1]
    assert shown[1].splitlines()[-2].split() == ["whim", "(sample)", "1", "cannot", "be", "scored", "unknown"]
    assert shown[1].splitlines()[-1] == "site 'whim': cannot score a value of 1 under Whim(): not in the mood"
    assert "ended: returned None" in shown[2] and "hello (message, edited)" in shown[2]


def test_an_answer_by_hand(talk):
    shown = talk("set 1.5; s; set [1, 2, 3]; c; q", code=0)
    assert "mu (sample, edited)    1.5" in shown[1] and "theta (sample, edited)  [1, 2, 3]" in shown[3]
    assert "ended: returned 1.5" in shown[4]


def test_ctrl_c_in_a_script_ends_it(talk):
    Path("leaving.py").write_text(LEAVING.replace("LEAVE", "raise KeyboardInterrupt"))
    talk("c; q", "leaving.py", code=130)


SPACED = """\
import torch
from torch.distributions import Categorical, Normal
from poutine import Sample, block


def model():
    first = yield Sample("the first", Categorical(torch.tensor([0.5, 0.5])))
    it = yield Sample("it's", Normal(first.double(), 1.0))
    yield from block(inner)()
    return it


def inner():
    yield Sample("z", Normal(0.0, 1.0))
    yield Sample("last", Normal(0.0, 1.0))
"""


def test_names_with_spaces_are_written_in_quotes(talk):
    Path("spaced.py").write_text(SPACED)
    script = "branch 'a place'; edit \"the first\" 1; break 'the first'; switch 'a place'; goto it's; chain 'the first'; goto the first; q"
    shown = talk(script, "spaced.py", code=1)
    assert shown[1].startswith("a place  waits at  Sample('the first'")
    assert "the first (sample, edited)" in shown[2] and shown[3] == "stops at: the first\n"
    assert "waits at  Sample('the first'" in shown[4] and 'waits at  Sample("it\'s"' in shown[5] and "↓ the runtime" in shown[6]
    assert talk.err == "poutine: error: expected goto NAME, got 'goto the first'\n"


def test_completion_knows_commands_sites_and_branches():
    Path("spaced.py").write_text(SPACED)
    model = ModelOnData.of("spaced.py", {}).load()
    with Session(model, begin(model.program)) as session:
        session.step(2)
        session.branch("my own")
        complete = completer(session)
        assert [complete("st", 0), complete("st", 1)] == ["step", None]
        assert [complete("'", 0), complete("'", 1), complete("'", 2)] == ["'my own'", "'the first'", None]
        assert complete("it", 0) == "it's"


def test_what_a_handler_in_the_model_hides_is_shown_as_such(talk):
    Path("spaced.py").write_text(SPACED)
    shown = talk("goto last; chain z; chain; q", "spaced.py")
    assert "↑ the program  Sample('z', Normal(loc=0, scale=1))  (hidden)" in shown[2]
    assert shown[3].rstrip() == "  ↑ the program  Sample('last', Normal(loc=0, scale=1))  (hidden)"


def test_a_distribution_is_shown_by_what_it_was_made_of(talk):
    Path("spaced.py").write_text(SPACED)
    shown = talk("s; chain 'the first'; q", "spaced.py")
    assert "Categorical(probs=[0.5, 0.5])" in shown[0] and shown[2].count("Categorical(probs=[0.5, 0.5])") == 2


def test_a_branch_is_one_line(talk):
    Path("d.json").write_text('{"X": [[1.0, 2.0], [0.5, 0.25]], "y": [1.0, 2.0]}')
    shown = talk("branch here; s; c; branch ended; branch; q", "m.py:regression", "--data", "d.json")
    assert [line.partition("  ")[0] for line in shown[5].splitlines()] == ["here", "ended"]
    assert shown[5].splitlines()[1].split() == ["ended", "ended:", "returned", "torch.float64"]
    shown = talk("s; s; branch failed; q", "m.py:raising", "--data", "d.json", code=1)
    assert shown[3].split() == ["failed", "ended:", "raised", "ValueError"]


def test_a_run_that_was_not_saved_here_is_refused(talk):
    save(begin(lambda: (yield Sample("x", Normal, 0.0, 1.0))), "other.step")
    assert talk.run(io.StringIO("q"), ["--resume", "other.step"], code=2) == [""]
    assert "this run was not saved by poutine step: resume it with interpreters.stepping.resume" in talk.err
    talk("load other.step; q", code=1)
    assert "this run was not saved by poutine step" in talk.err


def test_a_run_is_resumed_with_another_model_or_other_data(talk):
    talk("goto y; save run.step; q")
    Path("copy.py").write_text(MODELS.replace("HalfNormal, 2.0", "HalfNormal, 3.0"))
    assert "departs from what was saved at site 'tau'" in talk("q", "copy.py", "--resume", "run.step")[0]
    Path("e.json").write_text('{"y": [5.0, 6.0, 7.0]}')
    last = talk("s; q", "--resume", "run.step", "--data", "e.json")[1].splitlines()[-1]
    assert last.split()[:5] == ["y", "(observe)", "[5,", "6,", "7]"]


def test_help_lists_every_command(talk):
    shown = talk("help; help set; q")
    assert len(shown[1].splitlines()) == len(COMMANDS)
    assert shown[2].split()[:2] == ["set", "VALUE"]
    names = [name for command in COMMANDS for name in command.names]
    assert len(names) == len(set(names))


def test_comments_and_empty_lines_of_a_script_are_skipped(talk):
    assert len(talk("# a script; ; s;   # so far; exit; s")) == 3


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8:strict"}


def process(*args: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-m", "interpreters", "step", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, **options)  # type: ignore[call-overload]


@pytest.mark.slow
def test_on_a_terminal():
    """With prompts; an empty line steps; a bad command is no failure; Ctrl-C in a command comes back to the prompt."""
    ours, theirs = pty.openpty()
    with process("m.py:slow", stdin=theirs) as running, os.fdopen(ours, "w") as keys:
        os.close(theirs)
        assert running.stdout is not None and running.stderr is not None
        keys.write("foo\n\n")
        keys.flush()
        while running.stdout.readline() != "(step) (step) begun\n":
            pass
        running.send_signal(2)
        assert [running.stderr.readline() for _ in range(2)] == [
            "poutine: error: no command 'foo'; help lists them all\n",
            "interrupted; the run is where it was\n",
        ]
        keys.write("trace\nq\n")
        keys.flush()
        assert running.wait(timeout=20) == 0
        assert running.stdout.read().endswith("(step) no site so far\n(step) ")


@pytest.mark.slow
def test_on_a_terminal_words_are_completed_and_lines_called_back():
    """Standard output is the terminal, too: only then does Python read by readline."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-W", "error", "-m", "interpreters", "step", "m.py", "--data", "d.json"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**ENVIRONMENT, "TERM": "dumb"}) as running:
        os.close(theirs)
        typed = Typed(ours)
        assert "waits at  Sample('tau'" in typed("\n"), "an empty line steps"
        assert "waits at  Sample('mu'" in typed("got\t mu\n")
        assert "no command 'foo'" in typed("foo\n")
        assert "waits at  Sample('mu'" in typed("\x1b[A\x1b[A\n"), "the line before, by the arrow up"
        assert "small  waits at  Sample('mu'" in typed("bra\t small\n").splitlines()[1]
        assert "waits at  Sample('mu'" in typed("switch sm\t\n")
        os.write(ours, b"exit\n")
        assert running.wait(timeout=20) == 0
    os.close(ours)


class Typed:
    """What is shown at a terminal for what is typed at its prompt."""

    def __init__(self, terminal: int) -> None:
        self.terminal = terminal
        self._to_prompt()

    def __call__(self, keys: str) -> str:
        os.write(self.terminal, keys.encode())
        return self._to_prompt()

    def _to_prompt(self) -> str:
        shown = b""
        while not shown.endswith(b"(step) "):
            shown += os.read(self.terminal, 4096)
        return shown.decode()


@pytest.mark.slow
def test_as_a_process_from_a_pipe():
    with process("m.py", "--data", "d.json", stdin=subprocess.PIPE) as running:
        out, err = running.communicate("s\ns\nq\n", timeout=60)
    assert (running.returncode, err) == (0, "")
    assert out.count("waits at") == 3 and out.count("\n(step) ") == 3
    with process("m.py", "--data", "d.json", stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        running.stdin.buffer.write(b"s\n\xff\xfe\n")
        running.stdin.close()
        running.stdin = None
        out, err = running.communicate(timeout=60)
    assert running.returncode == 2 and err.startswith("poutine: error: the commands are no text") and err.count("\n") == 1
