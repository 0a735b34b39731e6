"""Constrained: the evaluation at values by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch.distributions.transforms import Transform

from interpreters.evaluations.coordinates import Coordinates
from interpreters.evaluations.evaluation import Evaluation
from interpreters.factor_graph.collecting import Collector
from interpreters.factor_graph.hiding import Label, visible
from interpreters.precision import in_double
from interpreters.ranges import is_bounded
from poutine import Choice, Sample
from poutine.supports import contains


class Constrained(Evaluation):
    """Reads each latent site from values by name, which may be anything; notes their unconstrained ``positions``.

    refuses:     whether a value outside of its range is an error; it has no position.
    impossible:  whether there was a value that cannot be: what comes after it is nobody's concern, and may be nan.
    """

    def __init__(
        self,
        sites: Mapping[str, Coordinates],
        given: Mapping[str, torch.Tensor],
        collector: Collector | None = None,
        bounded: Collection[str] = (),
        refuses: bool = False,
    ) -> None:
        super().__init__(collector, bounded)
        self.refuses = refuses
        missing = [name for name in sites if name not in given]
        if hidden := [name.hides for name in missing if isinstance(name, Label)]:
            raise KeyError(
                f"block hides {', '.join(hidden)}, so that its values are in no result, and without them there is no density at values by name; "
                "make it of the program without the block"
            )
        if missing:
            raise KeyError(f"no value for {', '.join(sorted(missing))}; the latent sites are {', '.join(visible(sites))}")
        self.sites, self.given = sites, given
        self.positions: dict[str, torch.Tensor] = {}
        self.impossible = torch.tensor(False)

    def locate(self, site: Sample, bijection: Transform) -> torch.Tensor:
        expected = self._known(self.sites, site, bijection).shape
        value: torch.Tensor = in_double(torch.as_tensor(self.given[site.name]))
        if value.shape != expected:
            raise ValueError(f"site {site.name!r}: expected a value of shape {tuple(expected)}, got {tuple(value.shape)}")
        if self.refuses and not bool(contains(site.dist, value).all()):
            raise ValueError(f"site {site.name!r}: expected a value that can be drawn, got one outside of the range of {site.dist!r}")
        self.positions[site.name] = bijection.inv(value)
        return value

    @property
    def log_density(self) -> torch.Tensor:
        return torch.where(self.impossible, -torch.inf, super().log_density)

    def _add(self, site: Choice) -> torch.Tensor:
        density = super()._add(site)
        if not self._depends(density):
            self.impossible = self.impossible | (density == -torch.inf).any()
        return density

    def _may_be_outside(self, site: Choice) -> bool:
        return (site.name in self.sites and is_bounded(site.dist)) or super()._may_be_outside(site)
