"""Unconstrained: the evaluation at a position in unconstrained space."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch.distributions.transforms import Transform

from interpreters.errors import StructureChanged
from interpreters.evaluations.coordinates import WAY_OUT, Coordinates
from interpreters.evaluations.evaluation import Evaluation
from interpreters.factor_graph.collecting import Collector
from poutine import Sample


class Unconstrained(Evaluation):
    """Reads each latent site from a flat unconstrained vector, and adds the log Jacobians."""

    def __init__(
        self, sites: Mapping[str, Coordinates], position: torch.Tensor, collector: Collector | None = None, bounded: Collection[str] = ()
    ) -> None:
        super().__init__(collector, bounded)
        self.sites, self.position = sites, position

    def locate(self, site: Sample, bijection: Transform) -> torch.Tensor:
        known = self._known(self.sites, site, bijection)
        x = known.of(self.position)
        value: torch.Tensor = bijection(x)
        _check_shape(site, value, known)
        jacobian: torch.Tensor = bijection.log_abs_det_jacobian(x, value)  # type: ignore[no-untyped-call]  # torch's own
        self._sum = self._sum + jacobian.sum()
        return value


def _check_shape(site: Sample, value: torch.Tensor, known: Coordinates) -> None:
    """One value, whatever the discrete sites are: what its support is must not depend on them."""
    if value.shape != known.shape:
        raise StructureChanged(f"site {site.name!r} has a support that depends on discrete sites that are summed out; {WAY_OUT}")
