"""The notebooks run, from the first cell to the last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The inplace keyword in")  # of pandas, which ArviZ before version 1 uses
@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto:UserWarning")  # ArviZ on eight schools, of which one weighs much
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    namespace = {"__name__": "notebook"}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), namespace)
    assert cells


def test_there_are_notebooks():
    assert NOTEBOOKS
