"""Particles: weighted draws of many runs of a program, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs
import torch

from poutine import Trace


@attrs.frozen(eq=False)
class Particles:
    """Weighted draws.

    draws:        the samples and deterministic values by name of site, each [num_particles, *shape]. A site that is not in
                  all of the particles is nan in the others.
    log_weights:  [num_particles], in nats.
    trace:        the model's trace of one particle or batch, for what is the same in all: plates and observations.
    """

    draws: Mapping[str, torch.Tensor]
    log_weights: torch.Tensor
    trace: Trace


def joined(parts: Sequence[Particles]) -> Particles:
    """All of the particles in one."""
    draws = joined_draws([part.draws for part in parts], [len(part.log_weights) for part in parts])
    return Particles(draws, torch.cat([part.log_weights for part in parts]), parts[0].trace)


def joined_draws(parts: Sequence[Mapping[str, torch.Tensor]], sizes: Sequence[int]) -> dict[str, torch.Tensor]:
    """Draws by name of site, of parts of these sizes, in one; nan where a part has no such site. Raises ``ValueError`` where shapes differ."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: _stacked(name, parts, sizes) for name in names}


def _stacked(name: str, parts: Sequence[Mapping[str, torch.Tensor]], sizes: Sequence[int]) -> torch.Tensor:
    known = [part[name] for part in parts if name in part]
    shapes = {values.shape[1:] for values in known}
    if len(shapes) > 1:
        raise ragged(name, shapes)
    if len(known) == len(parts):
        return torch.cat(known)
    dtype = torch.promote_types(known[0].dtype, torch.float32)  # the first that has a nan
    missing = [known[0].new_full((size, *known[0].shape[1:]), torch.nan, dtype=dtype) for size in sizes]
    return torch.cat([part.get(name, nans).to(dtype) for part, nans in zip(parts, missing, strict=True)])


def ragged(name: str, shapes: Iterable[torch.Size]) -> ValueError:
    """Draws of one name are one tensor."""
    told = ", ".join(map(str, map(tuple, shapes)))
    return ValueError(
        f"site {name!r} has different shapes in different particles: {told}; give it another name for each shape, f'{name}_{{size}}', or block "
        "it, if its draws are not wanted"
    )
