"""The README runs: each block of Python prints what the block of text after it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

import poutine

TEXT = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize(("code", "output"), EXAMPLES)
def test_an_example_prints_what_it_says(code: str, output: str):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert printed.getvalue() == output


def test_there_are_examples_and_every_block_of_python_is_one():
    assert len(EXAMPLES) == TEXT.count("```python") >= 2


def test_the_table_names_every_poutine():
    handlers = {path.stem for path in (Path(poutine.__file__).parent / "handlers").glob("[!_]*.py")}
    assert {name for name in re.findall(r"^\| `(\w+)` \|", TEXT, flags=re.MULTILINE)} == handlers
