"""The way of a posterior to ArviZ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from os import PathLike, fspath
from typing import Any

import torch

from interpreters.results.extras import extra

Dims = Mapping[str, tuple[str | None, ...]]


def inference_data(
    draws: Mapping[str, torch.Tensor],
    observed: Mapping[str, torch.Tensor],
    dims: Dims,
    attributes: Mapping[str, Any],
    statistics: Mapping[str, torch.Tensor] | None = None,
    log_likelihood: Mapping[str, torch.Tensor] | None = None,
) -> Any:
    """An ``arviz.InferenceData``.

    draws:     by name of site, each [num_chains, num_draws, *shape]; observed: each [*shape].
    statistics:      of the sampler, each [num_chains, num_draws].
    log_likelihood:  of the observations, in nats, by name of site, each [num_chains, num_draws, *batch_shape].
    dims:      by name of site, for each dimension of shape the name of its plate, or None.
    A site or plate of no name becomes ``unnamed``. A ``/`` in a name becomes a ``.``, since NetCDF takes it for a group. A plate of the name of a site, or of ArviZ's own
    dimensions, becomes ``name_dim``; one that is entered with several sizes has a dimension for each.
    """
    names = _unique({**draws, **observed})
    shapes = {name: values.shape[2:] for name, values in draws.items()} | {name: values.shape for name, values in observed.items()}
    axes = _axes(dims, shapes, {*names.values(), "chain", "draw"})
    return extra("arviz").from_dict(
        posterior={names[name]: values.cpu().numpy() for name, values in draws.items()},
        sample_stats={name: values.cpu().numpy() for name, values in (statistics or {}).items()} or None,
        log_likelihood={names[name]: values.cpu().numpy() for name, values in (log_likelihood or {}).items()} or None,
        observed_data={names[name]: values.cpu().numpy() for name, values in observed.items()} or None,
        dims={names[name]: axes[name] for name in shapes},
        coords={axis: range(size) for name in shapes for axis, size in zip(axes[name], shapes[name], strict=True) if axis},
        attrs=dict(attributes),
        posterior_attrs=dict(attributes),
    )


def write(data: Any, path: str | PathLike[str]) -> None:
    """Writes an ``InferenceData`` as NetCDF."""
    data.to_netcdf(fspath(path), engine="h5netcdf")


def _unique(names: Iterable[str]) -> dict[str, str]:
    """For each name one that NetCDF can hold."""
    new: dict[str, str] = {}
    for name in names:
        candidates = ((name.replace("/", ".") or "unnamed") + "_" * i for i in count())
        new[name] = next(candidate for candidate in candidates if candidate not in new.values())
    return new


def _axes(dims: Dims, shapes: Mapping[str, torch.Size], taken: set[str]) -> dict[str, list[str | None]]:
    sizes: dict[str, set[int]] = {}
    for name, shape in shapes.items():
        for plate, size in zip(dims[name], shape, strict=True):
            sizes.setdefault(plate or "", set()).add(size)

    def axis(plate: str | None, size: int) -> str | None:
        if plate is None:
            return None
        plain = plate.replace("/", ".") or "unnamed"
        plain = f"{plain}_dim" if plain in taken else plain
        return plain if len(sizes[plate]) == 1 else f"{plain}_{size}"

    return {name: [axis(plate, size) for plate, size in zip(dims[name], shape, strict=True)] for name, shape in shapes.items()}
