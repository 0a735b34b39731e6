"""Particles of a program whose structure varies, or that does not broadcast: in lockstep, what they draw and how they weigh."""

from __future__ import annotations

from typing import Any

import attrs
import torch

from interpreters.batches.batch import Group
from interpreters.numeric import is_numeric
from interpreters.weighted.drawn import as_draw
from interpreters.weighted.particles import ragged
from interpreters.weighted.scores import check_not_subsampled, score
from poutine import Choice, Deterministic, Sample, Trace, batch_log_density
from poutine.trace_graph import duplicate, is_subsample


@attrs.frozen
class Lockstep:
    """How a program runs for particles whose control flow differs: ``batch_size`` of them in lockstep."""

    batch_size: int = 1024

    def batches(self, num_particles: int) -> list[int]:
        """The sizes of the batches: as many as needed, each ``batch_size`` but for the last."""
        full, rest = divmod(num_particles, self.batch_size)
        return [self.batch_size] * full + [rest] * (rest > 0)


def prior_weight(request: Choice, site: Choice) -> torch.Tensor | None:
    """A site's term of the log weight where the guide is the prior: what is drawn cancels, but for a scale of the model's."""
    if isinstance(request, Sample) and not request.is_decided:
        check_not_subsampled(request)
        is_plain = not isinstance(site.scale, torch.Tensor) and site.scale == 1.0
        return None if is_plain else batch_log_density(site) - batch_log_density(site.evolve(scale=1.0))
    return score(site)


def with_draws(group: Group) -> Group:
    """The group with its draws as ``as_draw``."""
    is_drawn = isinstance(group.request, Sample) and not group.request.is_decided
    return attrs.evolve(group, site=as_draw(group.site)) if is_drawn else group


class Collected:
    """Gathers what the particles of a batch draw, name by name, and the trace of the first."""

    def __init__(self) -> None:
        self.trace = Trace()
        self._parts: dict[str, list[tuple[Group, torch.Tensor]]] = {}

    def note(self, group: Group) -> None:
        """Takes in a finished group. Raises ``DuplicateSite`` if the first particle has been at a site of this name before."""
        group = with_draws(group)
        first = group.of(0)
        if first is not None:
            self.trace.record(first)
        site = group.site
        if isinstance(site, (Sample, Deterministic)) and not is_subsample(site) and is_numeric(group.rows[0]):
            slim = attrs.evolve(group, rows=(), request=None, stacked=None)  # the messages are not kept: they are most of the memory
            self._parts.setdefault(group.name, []).append((slim, of_rows(site.value, group.rows)))

    def draws(self, size: int) -> dict[str, torch.Tensor]:
        """The values by name of site, each [size, *shape], nan where a particle has no such site. Raises ``DuplicateSite``, ``ValueError``."""
        return {name: _scattered(name, parts, size) for name, parts in self._parts.items()}


def of_rows(value: Any, rows: Any) -> torch.Tensor:
    """``value``, which many have in rows, as [len(rows), *shape of a row]."""
    shape = (len(rows), *torch.as_tensor(rows[0]).shape)
    if isinstance(value, torch.Tensor) and value.shape == shape:
        return value.detach()
    return torch.stack([torch.as_tensor(row).detach() for row in rows])


def _scattered(name: str, parts: list[tuple[Group, torch.Tensor]], size: int) -> torch.Tensor:
    members = [i for group, _ in parts for i in group.members]
    if len(set(members)) < len(members):
        raise duplicate(parts[-1][0].site.replaced("name", name), parts[0][0].site)
    shapes = {values.shape[1:] for _, values in parts}
    if len(shapes) > 1:
        raise ragged(name, shapes)
    known = torch.cat([values for _, values in parts])
    if len(members) < size:
        dtype = torch.promote_types(known.dtype, torch.float32)  # the first that has a nan
        whole, known = known.new_full((size, *known.shape[1:]), torch.nan, dtype=dtype), known.to(dtype)
    else:
        whole = torch.empty_like(known)
    whole[torch.tensor(members)] = known
    return whole
