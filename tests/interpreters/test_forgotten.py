"""Statements that run nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from interpreters.command.forgotten import forgotten
from interpreters.command.model_file import ModelFile
from interpreters.errors import InputError

PLATE = """
from poutine import Observe, Sample, plate
from torch.distributions import Normal


def model(y):
    mu = yield Sample("mu", Normal, 0.0, 1.0)
    yield Observe("z", Normal, 1.0, mu, 1.0)

    @plate("rows", len(y))
    def rows(i):
        yield Observe("y", Normal, y, mu, 1.0)

    {call}
"""


def test_a_plate_that_is_called_and_not_run_is_refused(tmp_path: Path):
    path = tmp_path / "m.py"
    path.write_text(PLATE.format(call="rows()"))
    with pytest.raises(
        InputError, match=r"m\.py, line 14: `rows\(\)` alone runs nothing, and its sites would be missing; write `yield from rows\(\)`"
    ):
        ModelFile.load(path)
    for call in ("yield from rows()", "yield rows()", "program = rows(); yield from program"):
        path.write_text(PLATE.format(call=call))
        assert callable(ModelFile.load(path).model())


@pytest.mark.parametrize(("text", "found"), [
    ("def f():\n yield\nf()", [(3, "f")]),
    ("def f():\n yield\ndef g():\n if g:\n  f(1)", [(5, "f")]),
    ("def f():\n def g():\n  yield from g()\n g()\n yield", [(4, "g")]),
    ("@markov(3)\ndef f():\n yield\nf()", [(4, "f")]),
    ("@contextmanager\ndef f():\n yield\nf()", []),
    ("async def f():\n yield\nf()", []),
    ("def f():\n return lambda: (yield)\nf()", []),
    ("def f():\n yield\ndef g(f):\n f()", []),
    ("def f():\n yield\ndef g():\n f = print\n f()", []),
    ("def f():\n yield\ndef g():\n def f():\n  pass\n f()", []),
    ("def f():\n yield\ndef f():\n pass\nf()", []),
    ("def f():\n pass\ndef f():\n yield\nf()", []),
    ("if x:\n def f():\n  yield\nelse:\n def f():\n  pass\nf()", []),
    ("def f():\n yield\ndef g():\n from m import f\n f()", []),
    ("def f():\n yield\ndef g():\n import a.b as f\n f()", []),
    ("def f():\n yield\ndef g():\n class f:\n  pass\n f()", []),
    ("def f():\n yield\ndef g():\n try:\n  pass\n except E as f:\n  f()", []),
    ("def f():\n yield\ndef g(x):\n match x:\n  case [f, *r] | {'a': f, **r}:\n   f()", []),
    ("def f():\n yield\ndef g(x):\n match x:\n  case {**f}:\n   f()\n  case _ as f:\n   pass", []),
    ("def f():\n yield\ndef g():\n global f\n f = print\n f()\ndef h():\n f()", []),
    ("def f():\n yield\ndef g():\n with x as f:\n  f()", []),
    ("def f():\n yield\nnext(f())\nx = f()\n[f() for _ in x]", []),
])  # fmt: skip
def test_only_what_surely_runs_nothing_is_found(text: str, found: list[tuple[int, str]]):
    assert forgotten(text.encode()) == found
