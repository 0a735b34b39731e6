"""The data of the posteriors: of posteriordb where it has them, else drawn from the model at a fixed seed.

The names of the data are those that the Stan programs declare, and each peer's model takes them as its arguments.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

Data = Mapping[str, Any]

POSTERIORDB: Final = "POUTINE_POSTERIORDB"
"""The environment variable that says where the files of posteriordb are; by default ``shared/posteriordb`` in or beside a parent."""


def posteriordb(name: str, *wanted: str) -> Callable[[], Data]:
    """A function that reads the entries ``wanted`` from the file ``name``."""

    def read() -> Data:
        data = json.loads((_folder() / f"{name}.json").read_text())["data"]
        return {key: np.array(data[key]) if isinstance(data[key], list) else data[key] for key in wanted}

    return read


def _folder() -> Path:
    near = [parent / "shared" / "posteriordb" for parent in Path(__file__).resolve().parents]
    for folder in [Path(os.environ[POSTERIORDB])] if POSTERIORDB in os.environ else near:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"the data of posteriordb are not in a folder shared/posteriordb above this file; name theirs in {POSTERIORDB}")


def radon() -> Data:
    """919 houses in 85 counties of uneven size, as in Gelman and Hill (2007): intercepts and slopes vary by county."""
    rng = np.random.default_rng(0)
    county = np.sort(np.concatenate([np.arange(85), rng.choice(85, 834, p=rng.dirichlet(np.full(85, 0.7)))]))
    floor = (rng.random(919) < 0.17).astype(float)
    intercepts, slopes = 1.46 + 0.33 * rng.standard_normal(85), -0.68 + 0.3 * rng.standard_normal(85)
    y = intercepts[county] + slopes[county] * floor + 0.75 * rng.standard_normal(919)
    return {"N": 919, "J": 85, "county": county + 1, "floor_measure": floor, "y": y}


def logistic(n: int, d: int) -> Callable[[], Data]:
    def make() -> Data:
        rng = np.random.default_rng(1)
        x = rng.standard_normal((n, d))
        y = rng.random(n) < 1.0 / (1.0 + np.exp(-0.3 - x @ rng.standard_normal(d)))
        return {"N": n, "D": d, "x": x, "y": y.astype(int)}

    return make


PROBLEMS: Final[Mapping[str, Callable[[], Data]]] = MappingProxyType(
    {
        "eight_schools": posteriordb("eight_schools-eight_schools_noncentered", "J", "y", "sigma"),
        "kidscore_momhsiq": posteriordb("kidiq-kidscore_momhsiq", "N", "kid_score", "mom_hs", "mom_iq"),
        "radon": radon,
        "logistic_500x5": logistic(500, 5),
        "logistic_10000x20": logistic(10_000, 20),
        "arK": posteriordb("arK-arK", "K", "T", "y"),
        "garch11": posteriordb("garch-garch11", "T", "y", "sigma1"),
        "gp_regr": posteriordb("gp_pois_regr-gp_regr", "N", "x", "y"),
        "low_dim_gauss_mix": posteriordb("low_dim_gauss_mix-low_dim_gauss_mix", "N", "y"),
    }
)


def model_of(problem: str) -> str:
    """Both logistic regressions are one model."""
    return problem.partition("_")[0] if problem.startswith("logistic") else problem
