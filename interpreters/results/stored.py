"""Results on disk: appended in blocks of draws, and read site by site, so that memory need not hold them.

NetCDF 4 (a file, by h5netcdf) or zarr (a folder, by zarr), as the ending of the path says; the groups are those of ArviZ.

Draws are written by time and read by number: of some numbers all draws. So what lies together on disk is a part of the draws of so many
numbers as are read at once, and nothing is read twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, prod
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import torch

from interpreters.results.extras import extra

DRAW: Final = "draw"
SLAB: Final = 1 << 21  # numbers that are read at once: 16 MiB
_TOGETHER: Final = 1 << 17  # numbers that lie together on disk: 1 MiB
ENDINGS: Final = (".nc", ".nc4", ".netcdf", ".cdf", ".h5", ".hdf5", ".zarr")


@attrs.frozen
class Appended:
    """A result at ``path`` that grows. ``add`` it one ``arviz.InferenceData`` after the other, in the order of their draws."""

    path: Path
    total: int  # draws of a chain

    def add(self, data: Any, start: int) -> None:
        """Draws ``start`` and on of all chains. The first block, at 0, replaces what is there, and makes the groups."""
        if is_zarr(self.path):
            self._add_to_zarr(data, start)
        elif start == 0:
            write(data, self.path, self.total)
        else:
            self._add_to_netcdf(data, start)

    def _add_to_netcdf(self, data: Any, start: int) -> None:
        with extra("h5netcdf").File(self.path, "r+") as file:
            for name in data.groups():
                group, dataset = file[name], data[name]
                if DRAW in dataset.dims:
                    stop = start + dataset.sizes[DRAW]
                    group.resize_dimension(DRAW, stop)
                    for variable, values in dataset.variables.items():
                        if DRAW in values.dims:
                            where = tuple(slice(start, stop) if dim == DRAW else slice(None) for dim in values.dims)
                            group.variables[variable][where] = values.values + (start if variable == DRAW else 0)

    def _add_to_zarr(self, data: Any, start: int) -> None:
        for name in data.groups():
            dataset = data[name]
            if start == 0:
                encoding = {variable: {"chunks": chunk} for variable, chunk in _chunks(dataset, self.total).items()}
                dataset.to_zarr(self.path, group=name, zarr_format=2, mode="a" if name != data.groups()[0] else "w", encoding=encoding)
            elif DRAW in dataset.dims:
                dataset.assign_coords({DRAW: np.arange(start, start + dataset.sizes[DRAW])}).to_zarr(self.path, group=name, append_dim=DRAW)


def write(data: Any, path: Path, total: int = 0) -> None:
    """Writes an ``arviz.InferenceData``. Draws can be added to it, to so many in ``total``."""
    if is_zarr(path):
        Appended(path, total).add(data, 0)
        return
    for i, name in enumerate(data.groups()):
        growing = [DRAW] if DRAW in data[name].dims else []
        encoding = {variable: {"chunksizes": chunk} for variable, chunk in _chunks(data[name], total).items()}
        data[name].to_netcdf(path, mode="a" if i else "w", group=name, engine="h5netcdf", unlimited_dims=growing, encoding=encoding)


def _chunks(dataset: Any, total: int) -> dict[str, tuple[int, ...]]:
    """For each variable with draws, how much of each of its dimensions lies together."""
    drawn = {str(name): variable for name, variable in dataset.data_vars.items() if DRAW in variable.dims and variable.size}
    return {name: _chunk(variable.shape, max(total, variable.shape[1])) for name, variable in drawn.items()}


def _chunk(shape: Sequence[int], total: int) -> tuple[int, ...]:
    chains, draws, *own = shape
    slabs = ceil(own[0] / slab_rows((chains, total, *own))) if own else 1
    together = [ceil(own[0] / slabs), *own[1:]] if own else []
    return (chains, min(draws, max(1, _TOGETHER // (chains * prod(together)))), *together)


def slab_rows(shape: Sequence[int]) -> int:
    """Of draws [chains, draws, rows, ...], how many rows are read at once."""
    return max(1, SLAB // max(1, shape[0] * shape[1] * prod(shape[3:])))


def is_zarr(path: Path) -> bool:
    return path.suffix == ".zarr"


@attrs.frozen(repr=False)
class Stored(Mapping[str, torch.Tensor]):
    """The variables of a group on disk by name, read whenever one is asked for. ``names`` are those on disk, by those of the sites."""

    path: Path
    group: str
    names: Mapping[str, str]

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.part(name, slice(None))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def part(self, name: str, rows: slice) -> torch.Tensor:
        """``self[name][:, :, rows]`` (all of it, for a number), of which no more is read."""
        with opened(self.path, self.group) if is_zarr(self.path) else extra("h5netcdf").File(self.path, "r") as source:
            # A file not by xarray, which asks all of its variables for their sizes: a second a site where there are a hundred.
            variable = source[self.names[name]] if is_zarr(self.path) else source[self.group].variables[self.names[name]]
            values = np.ascontiguousarray(variable[:, :, rows] if variable.ndim > 2 else variable[...])
            return torch.from_numpy(values.astype(bool) if variable.attrs.get("dtype") == "bool" else values)

    def rows_together(self, name: str) -> int:
        """How many rows of ``self[name]`` lie together on disk: to read fewer takes as long."""
        with opened(self.path, self.group) as dataset:
            encoding = dataset[self.names[name]].encoding
            sizes: tuple[int, ...] = encoding.get("chunksizes") or encoding.get("chunks") or ()
            return sizes[2] if len(sizes) > 2 else 1

    def shape(self, name: str) -> torch.Size:
        with opened(self.path, self.group) as dataset:
            return torch.Size(dataset[self.names[name]].shape)


def opened(path: Path, group: str) -> Any:
    """The ``xarray.Dataset`` of a group, to be closed."""
    return extra("xarray").open_dataset(path, group=group, engine="zarr" if is_zarr(path) else "h5netcdf")


def stored(path: Path, group: str) -> Mapping[str, torch.Tensor]:
    """The variables of ``group``, which are read when they are asked for; empty if there is no such group."""
    return Stored(path, group, _names(path, group)) if group in groups_of(path) else {}


def data_of(path: Path, group: str) -> dict[str, torch.Tensor]:
    """The variables of a group without chains and draws, read now."""
    if group not in groups_of(path):
        return {}
    with opened(path, group) as dataset:
        return {site: torch.from_numpy(np.ascontiguousarray(dataset[name].values)) for site, name in _names(path, group).items()}


def dims_of(path: Path) -> tuple[dict[str, tuple[str | None, ...]], dict[str, list[Any]]]:
    """By name of site its dimensions, those that are nobody's as None; by name of each other one its labels."""
    dims: dict[str, tuple[str | None, ...]] = {}
    coords: dict[str, list[Any]] = {}
    for group in [each for each in groups_of(path) if each != "sample_stats"]:
        with opened(path, group) as dataset:
            for site, name in _names(path, group).items():
                own = [dim for dim in dataset[name].dims if dim not in ("chain", DRAW)]
                plates = tuple(None if dim.startswith(f"{name}_dim_") else dim for dim in own)
                if len(own) >= len(dims.get(site, ())):
                    dims[site] = plates
                coords.update({dim: dataset[dim].values.tolist() for dim in plates if dim is not None and dim in dataset.coords})
    return dims, coords


def attribute_of(path: Path, group: str, name: str) -> str:
    """What a group is marked with; empty if it is not."""
    if group not in groups_of(path):
        return ""
    with opened(path, group) as dataset:
        return str(dataset.attrs.get(name, ""))


def groups_of(path: Path) -> list[str]:
    """The groups of a result. Raises ``FileNotFoundError``."""
    if not path.exists():
        raise FileNotFoundError(f"there is no result {path}")
    if is_zarr(path):
        return sorted(each.name for each in path.iterdir() if each.is_dir())
    with extra("h5netcdf").File(path, "r") as file:
        return list(file.groups)


def _names(path: Path, group: str) -> dict[str, str]:
    """The variables by the names of their sites."""
    with opened(path, group) as dataset:
        return {str(variable.attrs.get("site", name)): str(name) for name, variable in dataset.data_vars.items()}
