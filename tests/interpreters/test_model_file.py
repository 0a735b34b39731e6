"""Models in files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from interpreters.command.model_file import ModelFile, blaming, one_line, split
from interpreters.errors import InputError
from poutine import run

HEAD = "from torch.distributions import Normal\nfrom poutine import Sample, scale\n"


def load(tmp_path: Path, text: str, name: str = "file.py") -> ModelFile:
    (tmp_path / name).write_text(text)
    return ModelFile.load(tmp_path / name)


def test_a_path_and_a_name():
    assert split("a/b.py") == (Path("a/b.py"), None)
    assert split("a/b.py:model") == (Path("a/b.py"), "model")
    assert split("c:/b.py") == (Path("c:/b.py"), None)


def test_the_model_is_the_one_named_model(tmp_path: Path):
    file = load(tmp_path, "def other():\n    yield\ndef model():\n    yield\n")
    assert file.model() is file.module.model
    assert file.model("other") is file.module.other


def test_or_the_only_generator_function_that_the_file_defines(tmp_path: Path):
    (tmp_path / "neighbour_of_the_model.py").write_text("def imported():\n    yield\n")
    file = load(tmp_path, HEAD + "from neighbour_of_the_model import imported\ndef helper(): pass\ndef only():\n    yield\n")
    assert file.model() is file.module.only


def test_a_name_may_be_any_callable(tmp_path: Path):
    file = load(tmp_path, HEAD + "def m():\n    return (yield Sample('x', Normal, 0.0, 1.0))\nhalf = scale(m, scale=0.5)\n")
    assert run(file.model("half")) == run(file.model("m"))


@pytest.mark.parametrize(
    "text, name, complaint",
    [
        (
            "def a():\n    yield\ndef b():\n    yield\n",
            None,
            "no model 'model'; its generator functions are a, b; name one as MODEL.py:NAME",
        ),
        ("def a():\n    yield\n", "b", "no model 'b'; its generator functions are a"),
        ("x = 1\n", None, "no model 'model'; it has no generator function: a model yields messages"),
        ("model = 1\n", None, "no model 'model'"),
        (
            "from poutine import Program, scale\ndef of(x):\n    yield\nmodel, scaled = Program(of, 1), scale(of, 2.0)(1)\n",
            None,
            "'model' is a program, which has its arguments already; name the function",
        ),
    ],
)
def test_no_such_model(tmp_path: Path, text: str, name: str | None, complaint: str):
    with pytest.raises(InputError, match=complaint):
        load(tmp_path, text).model(name)


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("x = 1\nimport not_a_module_of_anybody\n", "file.py, line 2: ModuleNotFoundError: No module named 'not_a_module_of_anybody'"),
        ("x = 1\ndef model(:\n", "file.py, line 2: SyntaxError: "),
        ("x = 1\n\nundefined\n", "file.py, line 3: NameError: name 'undefined'"),
        ("import sys\nsys.exit(3)\n", "file.py, line 2: SystemExit: 3"),
        ("import json\njson.loads('{')\n", "file.py, line 2: JSONDecodeError"),
    ],
)
def test_a_file_that_fails(tmp_path: Path, text: str, complaint: str):
    before = dict(sys.modules), list(sys.path)
    with pytest.raises(InputError, match=complaint):
        load(tmp_path, text)
    assert (dict(sys.modules), sys.path) == before


def test_no_file(tmp_path: Path):
    with pytest.raises(InputError, match="no model file"):
        ModelFile.load(tmp_path / "nowhere.py")
    with pytest.raises(InputError, match="is no Python file"):
        load(tmp_path, "", "model.txt")


def test_loading_leaves_the_interpreter_as_it_was(tmp_path: Path):
    before = dict(sys.modules), list(sys.path)
    load(tmp_path, "import sys, dataclasses\nassert __name__ in sys.modules\n@dataclasses.dataclass\nclass A:\n    x: 'int'\n")
    assert (dict(sys.modules), sys.path) == before


def test_a_file_may_be_called_as_a_module_that_is_there(tmp_path: Path):
    json = sys.modules["json"]
    assert load(tmp_path, "x = 1\n", "json.py").module.x == 1
    assert sys.modules["json"] is json


def test_a_fault_that_is_not_the_files_is_not_blamed_on_it(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), blaming(tmp_path / "file.py"):
        raise ZeroDivisionError


def test_one_line():
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("x" * 1000, 10) == "xxxxxxxxx…"


def test_a_file_is_what_it_is_now_and_not_what_python_has_compiled_before(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "quick.py"
    for number in range(3):
        path.write_text(f"number = {number}\n")
        assert ModelFile.load(path).module.number == number, "within one second, and of the same size"
    assert os.listdir(tmp_path) == ["quick.py"]
