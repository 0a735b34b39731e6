"""Results on disk: appended in blocks of draws, and read site by site, so that memory need not hold them.

NetCDF 4 (a file) or zarr (a folder, by zarr), as the ending of the path says; the groups are those of ArviZ.

Draws are written by time and read by number: of some numbers all draws. So what lies together on disk is a part of the draws of so many
numbers as are read at once, and nothing is read twice.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from math import ceil, prod
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import torch

from interpreters.results import netcdf
from interpreters.results.extras import extra
from interpreters.results.layout import NOTHING, Group, Variable

DRAW: Final = "draw"
SLAB: Final = 1 << 21  # numbers that are read at once: 16 MiB
_ORDER: Final = "order"  # under this name, a group of zarr, which sorts them by name, has its variables as they came
_TOGETHER: Final = 1 << 17  # numbers that lie together on disk: 1 MiB
ENDINGS: Final = (".nc", ".nc4", ".netcdf", ".cdf", ".h5", ".hdf5", ".zarr")


@attrs.frozen
class Appended:
    """A result at ``path`` that grows. ``add`` it one ``arviz.InferenceData`` after the other, in the order of their draws."""

    path: Path
    total: int  # draws of a chain

    def add(self, data: Any, start: int) -> None:
        """Draws ``start`` and on of all chains. The first block, at 0, replaces what is there, and makes the groups.

        Raises ``OSError``, also if there is no room for all blocks: HDF 5 does not survive a full disk.
        """
        if start == 0:
            self._check_room(data)
        if is_zarr(self.path):
            self._add_to_zarr(data, start)
        elif start == 0:
            netcdf.create(data, self.path, DRAW, self.total, lambda dataset: _chunks(dataset, self.total))
        else:
            netcdf.append(data, self.path, DRAW, start)

    def _check_room(self, data: Any) -> None:
        variables = [variable for name in data.groups() for variable in data[name].variables.values()]
        needed = sum(
            each.nbytes * (max(self.total, each.sizes[DRAW]) // each.sizes[DRAW] if each.sizes.get(DRAW) else 1) for each in variables
        )
        free = shutil.disk_usage(self.path.resolve().parent).free
        if needed > free:
            raise OSError(errno.ENOSPC, f"{needed / 2**20:.1f} MiB are needed, and {free / 2**20:.1f} are free")

    def _add_to_zarr(self, data: Any, start: int) -> None:
        if start == 0:
            extra("zarr").open_group(self.path, mode="w", zarr_format=2)
        for name in data.groups():
            dataset = data[name].assign_attrs({_ORDER: [*map(str, data[name].data_vars)]})
            if start == 0:
                encoding = {variable: {"chunks": chunk} for variable, chunk in _chunks(dataset, self.total).items()}
                dataset.to_zarr(self.path, group=name, zarr_format=2, mode="w", encoding=encoding)
            elif DRAW in dataset.dims:
                dataset.assign_coords({DRAW: np.arange(start, start + dataset.sizes[DRAW])}).to_zarr(self.path, group=name, append_dim=DRAW)


@contextmanager
def appended(path: Path, total: int) -> Iterator[Appended]:
    """To be added to. A file is there when all of it is, and until then whatever was there before.

    A folder, a device, and a file in a folder that nothing can be put into, are written as they are.
    """
    if is_zarr(path) or (path.exists() and not path.is_file()) or not os.access(path.resolve().parent, os.W_OK):
        yield Appended(path, total)
        return
    path = path.resolve()  # a link stays one
    partial = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        yield Appended(partial, total)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def require_ending(path: Path) -> None:
    """Raises ``ValueError`` at a name that ends as no result does, since readers go by that. One without an ending is NetCDF."""
    if path.suffix not in ("", *ENDINGS):
        raise ValueError(f"cannot write {path}: expected a name that ends in one of {', '.join(ENDINGS)}")


def write(data: Any, path: Path) -> None:
    """Writes an ``arviz.InferenceData``."""
    with appended(path, 0) as out:
        out.add(data, 0)


def _chunks(dataset: Any, total: int) -> dict[str, tuple[int, ...]]:
    """For each variable with draws, how much of each of its dimensions lies together."""
    variables = {str(name): dataset.variables[name] for name in dataset.data_vars}  # of which xarray would look for the coordinates
    drawn = {name: variable for name, variable in variables.items() if DRAW in variable.dims and variable.size}
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
    """The variables of a group on disk by name of site, read whenever one is asked for."""

    path: Path
    group: str
    variables: Mapping[str, Variable]

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.part(name, slice(None))

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def __len__(self) -> int:
        return len(self.variables)

    def part(self, name: str, rows: slice) -> torch.Tensor:
        """``self[name][:, :, rows]`` (all of it, for a number), of which no more is read."""
        variable = self.variables[name]
        where = (slice(None), slice(None), rows)[: len(variable.shape)]
        if not is_zarr(self.path):
            return torch.from_numpy(netcdf.read(self.path, self.group, variable.name, where))
        array = extra("zarr").open_array(self.path, path=f"{self.group}/{variable.name}", mode="r")
        values = np.ascontiguousarray(array[where])
        return torch.from_numpy(values.astype(bool) if array.attrs.get("dtype") == "bool" else values)

    def rows_together(self, name: str) -> int:
        """How many rows of ``self[name]`` lie together on disk: to read fewer takes as long."""
        chunks = self.variables[name].chunks
        return chunks[2] if len(chunks) > 2 else 1

    def shape(self, name: str) -> torch.Size:
        return torch.Size(self.variables[name].shape)


@attrs.frozen
class Contents:
    """What is on disk at ``path``, by group of ArviZ's."""

    path: Path
    groups: Mapping[str, Group]

    @classmethod
    def of(cls, path: Path) -> Contents:
        """Looks once. Raises ``FileNotFoundError``."""
        if not path.exists():
            raise FileNotFoundError(f"there is no result {path}")
        return cls(path, _zarr_groups(path) if is_zarr(path) else netcdf.groups(path))

    def stored(self, group: str) -> Mapping[str, torch.Tensor]:
        """The variables of ``group``, which are read when they are asked for; empty if there is no such group."""
        return Stored(self.path, group, self._group(group).variables)

    def data(self, group: str) -> dict[str, torch.Tensor]:
        """The variables of a group without chains and draws, read now."""
        return dict(self.stored(group))

    def attribute(self, group: str, name: str) -> str:
        """What a group is marked with; empty if it is not."""
        return str(self._group(group).attributes.get(name, ""))

    def dims(self) -> dict[str, tuple[str | None, ...]]:
        """By name of site its dimensions, those that are nobody's as None."""
        found: dict[str, tuple[str | None, ...]] = {}
        for group in self._of_sites():
            for site, variable in group.variables.items():
                plates = tuple(None if dim.startswith(f"{variable.name}_dim_") else dim for dim in _own(variable))
                if len(plates) >= len(found.get(site, ())):
                    found[site] = plates
        return found

    def coords(self) -> dict[str, list[Any]]:
        """By name of each plate its labels."""
        plates = {plate for dims in self.dims().values() for plate in dims}
        return {plate: labels for group in self._of_sites() for plate, labels in group.labels.items() if plate in plates}

    def _of_sites(self) -> list[Group]:
        return [group for name, group in self.groups.items() if name != "sample_stats"]

    def _group(self, name: str) -> Group:
        return self.groups.get(name, NOTHING)


def _own(variable: Variable) -> list[str]:
    return [dim for dim in variable.dims if dim not in ("chain", DRAW)]


def _zarr_groups(path: Path) -> dict[str, Group]:
    return {each.name: _zarr_group(path, each.name) for each in sorted(path.iterdir()) if each.is_dir()}


def _zarr_group(path: Path, group: str) -> Group:
    with extra("xarray").open_dataset(path, group=group, engine="zarr") as dataset:
        order = dict(zip(dataset.attrs.pop(_ORDER, ()), count(), strict=False))
        variables = {
            str(each.attrs.get("site", name)): Variable(
                str(name), each.shape, tuple(map(str, each.dims)), each.encoding.get("chunks") or ()
            )
            for name, each in sorted(dataset.data_vars.items(), key=lambda item: order.get(item[0], len(order)))
        }
        return Group(variables, {str(dim): dataset[dim].values.tolist() for dim in dataset.dims if dim in dataset.coords}, dataset.attrs)
