"""SampledPosterior: the draws of Markov chains, by name, with what tells whether to trust them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

import attrs
import torch

from interpreters.batches.in_turn import at_once
from interpreters.circles import is_angle
from interpreters.counts import so_many
from interpreters.density import Density
from interpreters.evaluations.coordinates import shape_of
from interpreters.factor_graph.hiding import Labels, is_label, visible
from interpreters.kernels.recording import record
from interpreters.results.chain_rows import chain_rows, columns
from interpreters.results.inference_data import Coords, inference_data
from interpreters.results.news import News, silent
from interpreters.results.observed import constant_values, observed_values, plate_dims
from interpreters.results.picture import draw_panels, trace_figure
from interpreters.results.problems import bfmi, problems
from interpreters.results.stored import Contents, require_ending, write
from interpreters.results.summary import Summary
from poutine import Message, Runtime, Sample, SubstitutePoutine, Trace, TracePoutine, answer

Values = Mapping[str, torch.Tensor]
# In ArviZ, of statistics of the sampler, which are in one table of floats.
_TYPES: Final[Mapping[str, torch.dtype]] = MappingProxyType(
    dict.fromkeys(("diverging", "reached_max_treedepth"), torch.bool)
    | dict.fromkeys(("tree_depth", "n_steps", "index_in_trajectory"), torch.int64)
)
_UNSCORED: Final = "no_log_likelihood"  # attributes of the group posterior
_ANGLES: Final = "angles"


class Positions(Protocol):
    """What ``SampledPosterior.of`` asks of the chains: see ``hamiltonian.chains.Chains``."""

    @property
    def positions(self) -> torch.Tensor: ...
    @property
    def statistics(self) -> dict[str, torch.Tensor]: ...


@attrs.frozen(eq=False, repr=False)
class SampledPosterior:
    """Draws of several chains from a posterior.

    draws:       samples and deterministic values by name of site, each [num_chains, num_draws, *shape].
    statistics:  of the sampler, each [num_chains, num_draws], by their names in ArviZ.
    observed:    the observations by name of site.
    likelihood:  the pointwise log likelihood in nats, by name of site, each [num_chains, num_draws, *batch_shape]. Discrete sites that
                 were summed out of the density are summed out of it, too.
    unscored:    which observations have none, and why: sentences.
    dims:        by name of site, for each dimension of a single value the plate that it is of, or None.
    coords:      by name of plate, the labels of its members.
    constant:    the tensors that the model was given as arguments, but for the observations.
    angles:      the names of the samples that are angles: in ``summary``, their means and standard deviations are those of a circle.
    predictive, prior, prior_predictive:  like ``draws``, of the observations given each draw; of the samples before the data were
                 seen; and of observations given those. Empty unless they were asked for: see ``predictive``.
    hidden:      like ``draws``, of the continuous samples that ``block`` hides, as long as discrete sites are yet to be drawn given them (see
                 ``discrete``). They are in no result.
    """

    draws: Values
    statistics: Values
    observed: Values = attrs.field(factory=dict)
    likelihood: Values = attrs.field(factory=dict)
    dims: Mapping[str, tuple[str | None, ...]] = attrs.field(factory=dict)
    coords: Coords = attrs.field(factory=dict)
    constant: Values = attrs.field(factory=dict)
    predictive: Values = attrs.field(factory=dict)
    prior: Values = attrs.field(factory=dict)
    prior_predictive: Values = attrs.field(factory=dict)
    unscored: tuple[str, ...] = ()
    angles: frozenset[str] = frozenset()
    hidden: Values = attrs.field(factory=dict)

    @classmethod
    def of(cls, density: Density, chains: Positions, coords: Coords | None = None) -> SampledPosterior:
        """The draws of ``chains``, which sampled ``density``, constrained and by name. Raises ``ValueError`` if there are none.

        ``coords`` has labels for the members of plates, by name of plate.
        """
        positions = chains.positions
        if not positions.shape[1]:
            raise ValueError("there are no draws yet: the chains were stopped in warmup; resume them")
        found, likelihoods = _at_each(density.run_at, positions)
        draws, hidden = visible(found), {name: values for name, values in found.items() if density.summed and is_label(name)}
        first, _ = density.run_at(positions[0, 0])
        trace = trace_at(density, {name: first[name] for name in density.sites})
        observed = observed_values(trace)
        shapes = {name: values.shape[2:] for name, values in draws.items()} | {name: value.shape for name, value in observed.items()}
        likelihood = {name: values for name, values in likelihoods.items() if name in observed}
        constant = constant_values(density.program, shapes)
        angles = frozenset(name for name in density.sites if name in trace.nodes and is_angle(trace.nodes[name].dist))
        dims = plate_dims(trace, shapes)
        return cls(draws, chains.statistics, observed, likelihood, dims, coords or {}, constant, angles=angles, hidden=hidden)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> SampledPosterior:
        """What ``save`` wrote. Draws are read from the file site by site whenever they are asked for, so it may be larger than memory."""
        contents = Contents.of(Path(path))
        fields = {"draws": "posterior", "statistics": "sample_stats", "likelihood": "log_likelihood", "predictive": "posterior_predictive"}
        lazy: dict[str, Any] = {field: contents.stored(group) for field, group in fields.items()}
        lazy |= {group: contents.stored(group) for group in ("prior", "prior_predictive")}
        lazy |= {field: contents.data(f"{field}_data") for field in ("observed", "constant")}
        unscored = tuple(contents.attribute("posterior", _UNSCORED).splitlines())
        angles = frozenset(contents.attribute("posterior", _ANGLES).splitlines())
        return cls(**lazy, dims=contents.dims(), coords=contents.coords(), unscored=unscored, angles=angles)

    @property
    def num_draws(self) -> tuple[int, int]:
        """Chains, and draws of each."""
        chains, draws = self.statistics["diverging"].shape
        return chains, draws

    @property
    def divergences(self) -> int:
        return int(self.statistics["diverging"].sum())

    @property
    def bfmi(self) -> list[float]:
        """The Bayesian fraction of missing information of each chain."""
        return bfmi(self.statistics["energy"])

    def problems(self, summary: Summary | None = None) -> list[str]:
        """Why the result is not to be trusted, in words; empty if nothing is known against it."""
        return problems(list((summary or self._table()).rows.values()), self.statistics)

    def summary(self, news: News = silent) -> Summary:
        """Mean, sd, quantiles, mcse, ess and r_hat of every number. Its ``str`` is a table. ``news`` tells how many of the numbers are done."""
        table = self._table(news)
        chains, draws = self.num_draws
        notes = [f"{so_many(chains, 'chain')} of {so_many(draws, 'draw')}, {so_many(self.divergences, 'divergence')}"]
        if self.angles:
            notes.append(f"{', '.join(sorted(self.angles))}: angles; mean and sd of a circle, quantiles counted from the mean")
        return attrs.evolve(table, notes=(*notes, *self.unscored, *(f"warning: {problem}" for problem in self.problems(table))))

    def to_arviz(self) -> Any:
        """An ``arviz.InferenceData``: posterior, sample_stats, observed_data, log_likelihood, ...; plates are dimensions."""
        groups = {
            "posterior": self.draws,
            "log_likelihood": self.likelihood,
            "posterior_predictive": self.predictive,
            "prior": self.prior,
            "prior_predictive": self.prior_predictive,
            "observed_data": self.observed,
            "constant_data": self.constant,
        }
        statistics = {name: values.to(_TYPES.get(name, values.dtype)) for name, values in self.statistics.items()}
        marks = {_UNSCORED: self.unscored, _ANGLES: sorted(self.angles)}
        attributes = {"inference_library": "poutine"} | {name: "\n".join(lines) for name, lines in marks.items() if lines}
        return inference_data(groups, self.dims, attributes, statistics, self.coords)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes ``to_arviz()`` as NetCDF, for ``arviz.from_netcdf``, or as zarr if ``path`` ends so; ``load`` reads both.

        Raises ``ValueError`` at an ending that is neither's.
        """
        require_ending(Path(path))
        write(self.to_arviz(), Path(path))

    def plot(self, path: str | PathLike[str]) -> None:
        """Writes a picture with the histogram of each number; the ending of ``path`` says in which format."""
        panels = (
            (label, column)
            for names, slab in columns(self.draws)
            for label, column in zip(names, slab.flatten(0, 1).unbind(1), strict=True)
        )
        draw_panels(panels, torch.zeros(self.num_draws[0] * self.num_draws[1], dtype=torch.float64), path)

    def plot_trace(self, path: str | PathLike[str] | None = None, names: Sequence[str] | None = None) -> Any:
        """Densities and traces, by ``arviz.plot_trace``, as a ``matplotlib.figure.Figure``; written to ``path``, if there is one."""
        figure = trace_figure(self.to_arviz(), names)
        if path is not None:
            figure.savefig(path)
        return figure

    def __repr__(self) -> str:
        chains, draws = self.num_draws
        return f"<SampledPosterior: {so_many(chains, 'chain')} of {so_many(draws, 'draw')} of {', '.join(self.draws) or 'nothing'}>"

    def _table(self, news: News = silent) -> Summary:
        return Summary({row.name: row for row in chain_rows(self.draws, news, self.angles)})


Pair = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]


def _at_each(function: Callable[[torch.Tensor], Pair], positions: torch.Tensor) -> Pair:
    """``function`` at each of [chains, draws, dim] positions: at once where it can be, else one by one."""
    flat = positions.flatten(0, 1)
    with torch.no_grad():
        try:
            values: Pair = at_once(function)(flat)
        except Exception:  # what is the model's own fault, it will raise again
            values = _replayed(function, flat) or _one_by_one(function, flat)
    first, second = ({name: value.reshape(*positions.shape[:2], *value.shape[1:]) for name, value in part.items()} for part in values)
    return first, second


def _replayed(function: Callable[[torch.Tensor], Pair], positions: torch.Tensor) -> Pair | None:
    """At all positions at once, from a record of one run; none if there is no such record.

    torch does not batch what is written in place into a tensor of the model's own; the record has no operations in place.
    """
    parts = function(positions[0])

    def numbers(position: torch.Tensor) -> torch.Tensor:
        return torch.cat([value.reshape(-1).double() for part in function(position) for value in part.values()])

    try:
        recorded = record(numbers, positions[0].clone())
        rows = torch.func.vmap(lambda position: recorded.module(position, *recorded.constants))(positions)
    except Exception:  # a site may have wrapped it in its own
        return None
    if not torch.allclose(rows[-1], numbers(positions[-1]), equal_nan=True):
        return None
    ahead = iter(rows.split([value.numel() for part in parts for value in part.values()], dim=1))
    first, second = ({name: next(ahead).reshape(-1, *value.shape).to(value.dtype) for name, value in part.items()} for part in parts)
    return first, second


def _one_by_one(function: Callable[[torch.Tensor], Pair], positions: torch.Tensor) -> Pair:
    """For a model that asks for the value of a tensor."""
    each = [function(position) for position in positions]
    return _stacked([first for first, _ in each]), _stacked([second for _, second in each])


def _stacked(each: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


def trace_at(density: Density, values: Values) -> Trace:
    """A plain run of the program of ``density``, at values by name of site, and those of what ``block`` hides by label: it is in no trace."""
    program, answers, labels = density.program, Runtime(params=density.params), Labels()
    draw = answers[Sample]

    def hidden(site: Sample) -> Message:
        value = None if site.is_decided else values.get(labels.of(site).name)
        return draw(site) if value is None else site.evolve(value=value.reshape(shape_of(site)))

    answers.hidden = {Sample: hidden}
    given = SubstitutePoutine(program.fn, visible(values), strict=False)
    return answer(TracePoutine(given).traced(*program.args, **program.kwargs), answers)
