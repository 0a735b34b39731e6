"""NUTS against the eleven reference posteriors: four chains, means and standard deviations within Monte Carlo error.

An error is a number of standard errors, ours and the reference's combined. There are 66 numbers with a mean and an sd each, so the
largest of 132 errors is bounded: if all are normal, one in 400 such runs has an error above 4.3 somewhere. The seed is fixed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from interpreters.density import density
from interpreters.examples.eight_schools import model as eight_schools
from interpreters.hamiltonian.targets import Target
from interpreters.hamiltonian.worth import compiled
from interpreters.nuts import nuts
from interpreters.results.diagnostics import diagnose
from interpreters.sampled_posterior import SampledPosterior
from poutine import Program, run
from tests.models import others, regressions, time_series

DATA = Path(__file__).parents[1] / "models" / "data"
SIGMAS = 4.3

# torch, where it validates a covariance under vmap
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")


@attrs.frozen
class Case:
    """The file of a posterior, its model, and what of the data it takes."""

    file: str
    model: Callable[..., Any]
    columns: str
    num_draws: int = 1000

    def read(self) -> tuple[Program[Any], dict[str, dict[str, float]], int]:
        content = json.loads((DATA / f"{self.file}.json").read_text())
        data = [torch.tensor(content["data"][column], dtype=torch.float64) for column in self.columns.split()]
        return Program(self.model, *data), content["reference"], content["draws"]


CASES = [
    Case("eight_schools-eight_schools_noncentered", eight_schools, "y sigma", 2000),
    Case("kidiq-kidscore_momhsiq", regressions.kidscore_momhsiq, "kid_score mom_hs mom_iq"),
    Case("earnings-logearn_interaction", regressions.logearn_interaction, "earn height male"),
    Case("nes2000-nes", regressions.nes, "partyid7 real_ideo race_adj age_discrete educ1 gender income"),
    Case("mesquite-logmesquite", regressions.logmesquite, "weight diam1 diam2 canopy_height total_height density group"),
    Case("arK-arK", time_series.ark, "y K"),
    Case("arma-arma11", time_series.arma11, "y"),
    Case("garch-garch11", time_series.garch11, "y sigma1"),
    Case("hmm_example-hmm_example", time_series.hidden_states, "y"),
    Case("gp_pois_regr-gp_regr", others.gp_regr, "x y"),
    Case("low_dim_gauss_mix-low_dim_gauss_mix", others.low_dim_gauss_mix, "y"),
]


def from_zero(name: str) -> str:
    """The reference counts from one."""
    return re.sub(r"\[(\d+)\]", lambda match: f"[{int(match[1]) - 1}]", name)


def kurtosis(draws: torch.Tensor) -> float:
    centred = draws - draws.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2)


def column(posterior: SampledPosterior, name: str) -> torch.Tensor:
    site, _, index = name.partition("[")
    draws = posterior.draws[site]
    return draws[..., int(index[:-1])] if index else draws


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_nuts_agrees_with_the_reference(case: Case):
    program, reference, reference_draws = case.read()
    target = density(program)
    chains = run(Program(nuts, compiled(target, Target.of(target)), num_draws=case.num_draws), seed=0)
    posterior = SampledPosterior.of(target, chains)
    summary = posterior.summary()
    assert max(summary[from_zero(name)].r_hat or math.inf for name in reference) < 1.01
    errors = {}
    for name, known in reference.items():
        row = summary[from_zero(name)]
        errors[f"mean of {name}"] = (row.mean - known["mean"]) / math.hypot(row.mcse, known["mcse"])
        # The standard error of the logarithm of an sd, of n draws of kurtosis k: sqrt((k - 1) / 4n).
        squared = (column(posterior, from_zero(name)) - row.mean) ** 2
        ours = diagnose(squared.unsqueeze(-1)).mcse.item() / (2 * row.sd**2)
        spread = math.hypot(ours, math.sqrt((kurtosis(column(posterior, from_zero(name))) - 1) / (4 * reference_draws)))
        errors[f"sd of {name}"] = math.log(row.sd / known["sd"]) / spread
    assert max(map(abs, errors.values())) < SIGMAS, errors


def test_there_are_eleven_and_all_of_their_numbers():
    assert sorted(f"{case.file}.json" for case in CASES) == sorted(path.name for path in DATA.glob("*.json"))
    assert sum(len(case.read()[1]) for case in CASES) == 66
