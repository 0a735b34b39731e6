"""SampledPosterior: the draws of Markov chains, by name, with what tells whether to trust them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from typing import Any, Final

import attrs
import torch

from interpreters.density import Density
from interpreters.hamiltonian.chains import Chains
from interpreters.results.extras import extra
from interpreters.results.inference_data import inference_data, write
from interpreters.results.observed import observed_values, plate_dims
from interpreters.results.picture import draw_histograms
from interpreters.results.summary import PROBABILITIES, Row, Summary, labels
from poutine import SubstitutePoutine, Trace, TracePoutine, run

# The thresholds of Vehtari, Gelman, Simpson, Carpenter and Bürkner, "Rank-normalization, folding, and localization: an improved
# R-hat" (2021), and, for the energy, of Betancourt, "A conceptual introduction to Hamiltonian Monte Carlo" (2017), section 6.1.
_HIGHEST_R_HAT: Final = 1.01
_FEWEST_PER_CHAIN: Final = 100
_LOWEST_BFMI: Final = 0.3


@attrs.frozen(eq=False, repr=False)
class SampledPosterior:
    """Draws of several chains from a posterior.

    draws:       samples and deterministic values by name of site, each [num_chains, num_draws, *shape].
    statistics:  of the sampler, each [num_chains, num_draws], by their names in ArviZ.
    observed:    the observations by name of site.
    likelihood:  the pointwise log likelihood in nats, by name of site, each [num_chains, num_draws, *batch_shape].
    dims:        by name of site, for each dimension of a single value the plate that it is of, or None.
    """

    draws: Mapping[str, torch.Tensor]
    statistics: Mapping[str, torch.Tensor]
    observed: Mapping[str, torch.Tensor] = attrs.field(factory=dict)
    likelihood: Mapping[str, torch.Tensor] = attrs.field(factory=dict)
    dims: Mapping[str, tuple[str | None, ...]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, density: Density, chains: Chains) -> SampledPosterior:
        """The draws of ``chains``, which sampled ``density``, constrained and by name. Raises ``ValueError`` if there are none."""
        positions = chains.positions
        if not positions.shape[1]:
            raise ValueError("there are no draws yet: the chains were stopped in warmup; resume them")
        draws = _at_each(density.constrain, positions)
        trace = _trace_at(density, positions[0, 0])
        observed = observed_values(trace)
        shapes = {name: values.shape[2:] for name, values in draws.items()} | {name: value.shape for name, value in observed.items()}
        likelihood = {name: values for name, values in _at_each(density.log_likelihood, positions).items() if name in observed}
        return cls(draws, chains.statistics, observed, likelihood, plate_dims(trace, shapes))

    @property
    def num_draws(self) -> tuple[int, int]:
        """Chains, and draws of each."""
        chains, draws = next(iter(self.statistics.values())).shape
        return chains, draws

    @property
    def divergences(self) -> int:
        return int(self.statistics["diverging"].sum())

    @property
    def bfmi(self) -> list[float]:
        """The Bayesian fraction of missing information of each chain."""
        energy = self.statistics["energy"]
        return (energy.diff(dim=1).square().mean(1) / energy.var(1)).tolist() if self.num_draws[1] > 1 else []

    def problems(self, summary: Summary | None = None) -> list[str]:
        """Why the result is not to be trusted, in words; empty if nothing is known against it."""
        rows = list((summary or self._table()).rows.values())
        chains, draws = self.num_draws
        return [problem for problem in (self._divergent(), _mixing(rows), _few(rows, chains, draws), self._low_energy()) if problem]

    def summary(self) -> Summary:
        """Mean, sd, quantiles, mcse, ess and r_hat of every number. Its ``str`` is a table. Needs the extra ``infer``."""
        table = self._table()
        chains, draws = self.num_draws
        notes = [f"{chains} chains of {draws} draws, {self.divergences} divergences"]
        return attrs.evolve(table, notes=(*notes, *(f"warning: {problem}" for problem in self.problems(table))))

    def to_arviz(self) -> Any:
        """An ``arviz.InferenceData``: posterior, sample_stats, observed_data, log_likelihood; plates are dimensions."""
        statistics = {name: values.bool() if name == "diverging" else values for name, values in self.statistics.items()}
        return inference_data(
            self.draws, self.observed, self.dims, {"inference_library": "poutine"}, statistics=statistics, log_likelihood=self.likelihood
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Writes ``to_arviz()`` as NetCDF, for ``arviz.from_netcdf``."""
        write(self.to_arviz(), path)

    def plot(self, path: str | PathLike[str]) -> None:
        """Writes a picture with the histogram of each number; the ending of ``path`` says in which format."""
        flat = {name: values.flatten(0, 1) for name, values in self.draws.items()}
        draw_histograms(flat, torch.zeros(self.num_draws[0] * self.num_draws[1], dtype=torch.float64), path)

    def __repr__(self) -> str:
        chains, draws = self.num_draws
        return f"<SampledPosterior: {chains} chains of {draws} draws of {', '.join(self.draws) or 'nothing'}>"

    def _table(self) -> Summary:
        return Summary({row.name: row for name, values in self.draws.items() for row in _rows(name, values.double())})

    def _divergent(self) -> str | None:
        if not self.divergences:
            return None
        return (
            f"{self.divergences} transitions diverged: the sampler cannot follow the curvature there, and misses what lies behind. "
            "Reparameterise (non-centred, say), or raise the target acceptance."
        )

    def _low_energy(self) -> str | None:
        if all(value >= _LOWEST_BFMI for value in self.bfmi):
            return None
        return (
            f"the energy moves too little from draw to draw (E-BFMI {min(self.bfmi):.2f}, expected above {_LOWEST_BFMI}): "
            "heavy tails are hardly visited; reparameterise."
        )


def _mixing(rows: list[Row]) -> str | None:
    worst = max(rows, key=lambda row: row.r_hat or 0.0, default=None)
    if worst is None or not (worst.r_hat or 0.0) > _HIGHEST_R_HAT:
        return None
    return f"the chains have not mixed: r_hat of {worst.name} is {worst.r_hat:.3f}, expected below {_HIGHEST_R_HAT}; run longer or reparameterise."


def _few(rows: list[Row], chains: int, draws: int) -> str | None:
    least = min(rows, key=lambda row: min(row.ess, row.ess_tail or row.ess), default=None)
    if least is None or not min(least.ess, least.ess_tail or least.ess) < _FEWEST_PER_CHAIN * chains:
        return None
    return (
        f"the effective sample size of {least.name} is only {min(least.ess, least.ess_tail or least.ess):.0f} of {chains * draws} draws, expected "
        f"at least {_FEWEST_PER_CHAIN} for each chain; run longer."
    )


def _rows(name: str, values: torch.Tensor) -> Iterator[Row]:
    arviz: Any = extra("arviz")
    flat = values.reshape(*values.shape[:2], -1)
    for label, column in zip(labels(name, values.shape[2:]), flat.unbind(-1), strict=True):
        x = column.cpu().numpy()
        quantiles = torch.quantile(column.flatten(), torch.tensor(PROBABILITIES, dtype=column.dtype, device=column.device)).tolist()
        constant = bool((column == column[0, 0]).all())  # nothing can be told from one value
        found = [arviz.mcse(x), arviz.ess(x), arviz.ess(x, method="tail"), arviz.rhat(x)] if not constant else [0.0, *[float("nan")] * 3]
        mcse, bulk, tail, r_hat = (float(torch.as_tensor(figure)) for figure in found)
        levels = dict(zip(PROBABILITIES, quantiles, strict=True))
        yield Row(label, column.mean().item(), column.std().item(), levels, mcse, bulk, tail, r_hat)


def _at_each(function: Callable[[torch.Tensor], dict[str, torch.Tensor]], positions: torch.Tensor) -> dict[str, torch.Tensor]:
    """``function`` at each of [chains, draws, dim] positions: at once where it can be, else one by one."""
    flat = positions.flatten(0, 1)
    with torch.no_grad():
        try:
            values: dict[str, torch.Tensor] = torch.func.vmap(function)(flat)
        except RuntimeError:  # a model that asks for the value of a tensor has an answer for one draw at a time only
            each = [function(position) for position in flat]
            values = {name: torch.stack([one[name] for one in each]) for name in each[0]}
    return {name: value.reshape(*positions.shape[:2], *value.shape[1:]) for name, value in values.items()}


def _trace_at(density: Density, position: torch.Tensor) -> Trace:
    program = density.program
    values = density.constrain(position)
    given = {name: values[name] for name in density.sites}
    return run(
        TracePoutine(SubstitutePoutine(program.fn, given, strict=False)).traced(*program.args, **program.kwargs), params=density.params
    )
