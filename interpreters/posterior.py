"""Posterior: the result of an inference, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final

import attrs
import torch

from interpreters.counts import so_many
from interpreters.results.inference_data import inference_data
from interpreters.results.news import News, silent
from interpreters.results.observed import observed_values, plate_dims
from interpreters.results.picture import draw_histograms
from interpreters.results.stored import require_ending, write
from interpreters.results.summary import Summary, summarize
from interpreters.weighted import weights
from poutine import Trace

_FEW: Final = 100  # effective draws, below which the error of a mean is above a tenth of the standard deviation


@attrs.frozen(eq=False, repr=False)
class Posterior:
    """Weighted draws from a posterior.

    draws:        samples and deterministic values by name of site, each [num_draws, *shape].
    log_weights:  [num_draws], in nats; their mean (of the weights) is the evidence.
    ancestors:    [num_resampled], int64: indices of equally weighted draws.
    observed:     the observations by name of site.
    dims:         by name of site, for each dimension of a single value the plate that it is of, or None.
    predictive, prior, prior_predictive:  of the observations given each of the equally weighted draws, [num_resampled, *shape]; of the
                  samples before the data were seen; and of observations given those. Empty unless they were asked for: see ``predictive``.
    """

    draws: Mapping[str, torch.Tensor]
    log_weights: torch.Tensor
    ancestors: torch.Tensor
    observed: Mapping[str, torch.Tensor] = attrs.field(factory=dict)
    dims: Mapping[str, tuple[str | None, ...]] = attrs.field(factory=dict)
    predictive: Mapping[str, torch.Tensor] = attrs.field(factory=dict)
    prior: Mapping[str, torch.Tensor] = attrs.field(factory=dict)
    prior_predictive: Mapping[str, torch.Tensor] = attrs.field(factory=dict)

    @classmethod
    def of(cls, trace: Trace, draws: Mapping[str, torch.Tensor], log_weights: torch.Tensor, ancestors: torch.Tensor) -> Posterior:
        """The posterior of which ``trace`` is one particle, or a batch of them: it tells plates and observations."""
        observed = observed_values(trace)
        shapes = {name: values.shape[1:] for name, values in draws.items()} | {name: value.shape for name, value in observed.items()}
        return cls(draws, log_weights, ancestors, observed, plate_dims(trace, shapes))

    @property
    def ess(self) -> float:
        """The effective sample size of the weights."""
        return weights.ess(self.log_weights)

    @property
    def log_evidence(self) -> float:
        """The estimate of the log evidence, in nats."""
        return weights.log_mean(self.log_weights)

    @property
    def log_evidence_error(self) -> float:
        """Its Monte Carlo standard error, in nats."""
        return weights.log_mean_error(self.log_weights)

    @property
    def problem(self) -> str | None:
        """Why the result is not to be trusted, in words; None if nothing is known against it."""
        if self.ess >= _FEW:
            return None
        number = len(self.log_weights)
        if self.ess > number / 2:
            return f"the effective sample size is only {self.ess:.1f}, since there {'is' if number == 1 else 'are'} only {so_many(number, 'sample')}: use more."
        return (
            f"the effective sample size is only {self.ess:.1f} of {number}: nearly all of the weight is on a few draws. "
            "Do not trust these figures, nor their errors; use more samples, a guide nearer to the posterior, or another method."
        )

    def problems(self, summary: Summary | None = None) -> list[str]:
        """``problem``, in a list, if there is one."""
        return [] if self.problem is None else [self.problem]

    def resampled(self) -> dict[str, torch.Tensor]:
        """Equally weighted draws by name of site, each [num_resampled, *shape]."""
        return {name: values[self.ancestors] for name, values in self.draws.items()}

    def summary(self, news: News = silent) -> Summary:
        """Mean, sd, quantiles, mcse and ess of every number, and the log evidence. Its ``str`` is a table. There are no ``news``."""
        notes = (
            f"log evidence {self.log_evidence:.3f} ± {self.log_evidence_error:.2g} nats (Monte Carlo standard error)",
            f"effective sample size {self.ess:.0f} of {len(self.log_weights)}",
        )
        return summarize(self.draws, self.log_weights, notes if self.problem is None else (*notes, f"warning: {self.problem}"))

    def to_arviz(self) -> Any:
        """An ``arviz.InferenceData`` with the resampled draws as one chain, plates as dimensions, and the observed data.

        What is known of the weights is among its attributes. Needs the extra ``infer``.
        """
        attributes = {
            "inference_library": "poutine",
            "log_evidence": self.log_evidence,
            "log_evidence_error": self.log_evidence_error,
            "ess": self.ess,
            "num_particles": len(self.log_weights),
        }
        groups = {
            "posterior": self.resampled(),
            "posterior_predictive": self.predictive,
            "prior": self.prior,
            "prior_predictive": self.prior_predictive,
        }
        one_chain = {group: {name: values.unsqueeze(0) for name, values in draws.items()} for group, draws in groups.items()}
        return inference_data({**one_chain, "observed_data": self.observed}, self.dims, attributes)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes ``to_arviz()`` as NetCDF, for ``arviz.from_netcdf``, or as zarr if ``path`` ends so. Raises ``ValueError`` at another ending."""
        require_ending(Path(path))
        write(self.to_arviz(), Path(path))

    def plot(self, path: str | PathLike[str]) -> None:
        """Writes a picture with the weighted histogram of each number; the ending of ``path`` says in which format."""
        draw_histograms(self.draws, self.log_weights, path)

    def __repr__(self) -> str:
        return f"<Posterior: {so_many(len(self.log_weights), 'draw')} of {', '.join(self.draws) or 'nothing'}; ess {self.ess:.0f}>"
