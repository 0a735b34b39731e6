"""NetCDF 4, which is HDF 5 with named dimensions, in time that is linear in the number of variables.

xarray and h5netcdf look, at each variable, at all of the others: a thousand take minutes to write, and half an hour to open. So they
make the groups with their coordinates, and the variables are made, filled and found by h5py. A dimension is a *scale*, attached to each
variable that has it. None is unlimited, since h5netcdf asks all variables how long such a one is, whenever it is asked for one.

Source: "The NetCDF-4 file format", appendix C of the NetCDF user's guide.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from interpreters.results.extras import extra
from interpreters.results.layout import Group, Variable

_NO_LABELS: Final = b"This is a netCDF dimension but not a netCDF variable"
_OF_THE_FORMAT: Final = frozenset(
    {"CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_FillValue", "_NCProperties"}
)

Chunks = Callable[[Any], Mapping[str, tuple[int, ...]]]


def create(data: Any, path: Path, dim: str, total: int, chunks: Chunks) -> None:
    """A new file with the groups of an ``arviz.InferenceData``. Those that have ``dim`` get ``total`` of it, of which the first are written.

    chunks:  of a group, by name of variable what lies together.
    """
    xarray, labels = extra("xarray"), {name: _labelled(data[name], dim, total) for name in data.groups()}
    for number, name in enumerate(data.groups()):
        coords = {each: values for each, values in labels[name].items() if not _is_plain(values)}
        empty = xarray.Dataset(coords={each: (each, values) for each, values in coords.items()}, attrs=data[name].attrs)
        empty.to_netcdf(path, mode="a" if number else "w", group=name, engine="h5netcdf")
    plain = [(name, each, values) for name in data.groups() for each, values in labels[name].items() if _is_plain(values)]
    number = sum(map(len, labels.values())) - len(plain)  # of dimensions that there are
    with extra("h5py").File(path, "r+") as file:
        for name, each, values in plain:
            scale = file[name].create_dataset(each, data=values, track_order=True)
            scale.make_scale(each)
            scale.attrs["_Netcdf4Dimid"] = np.int32(number)
            number += 1
        for name in data.groups():
            _make(file[name], data[name], chunks(data[name]))
    append(data, path, dim, 0, data.groups())


def _labelled(dataset: Any, dim: str, total: int) -> dict[str, Any]:
    """By name of dimension its labels, an array."""
    known = {each: dataset.variables[each].values if each in dataset.variables else np.arange(size) for each, size in dataset.sizes.items()}
    return known | ({dim: np.arange(max(total, len(known[dim])))} if dim in known else {})


def _is_plain(labels: Any) -> bool:
    """Whether they are written as they are: whole numbers."""
    return labels.dtype.kind in "iu"


def _make(group: Any, dataset: Any, chunks: Mapping[str, tuple[int, ...]]) -> None:
    for name in dataset.data_vars:
        variable = dataset.variables[name]
        scales = [group[dim] for dim in variable.dims]
        options: dict[str, Any] = {"fillvalue": np.nan} if variable.dtype.kind == "f" else {}
        dtype = np.int8 if variable.dtype == bool else variable.dtype  # NetCDF has no truth values; xarray marks them so
        made = group.create_dataset(name, shape=tuple(map(len, scales)), dtype=dtype, chunks=chunks.get(name), track_order=True, **options)
        made.attrs.update(variable.attrs | ({"dtype": "bool"} if variable.dtype == bool else {}))
        for own, scale in zip(made.dims, scales, strict=True):
            own.attach_scale(scale)


def append(data: Any, path: Path, dim: str, start: int, groups: Collection[str] = ()) -> None:
    """Writes what has ``dim``, from ``start`` of it on, and all of the ``groups``."""
    with extra("h5py").File(path, "r+") as file:
        for name in data.groups():
            for variable in data[name].data_vars:
                values = data[name].variables[variable]
                if dim in values.dims or name in groups:
                    where = tuple(slice(start, start + size) if each == dim else slice(size) for each, size in values.sizes.items())
                    file[name][variable][where] = values.values


def read(path: Path, group: str, name: str, where: tuple[slice, ...]) -> Any:
    """A part of a variable, as a numpy array."""
    with extra("h5py").File(path, "r") as file:
        variable = file[group][name]
        values = np.ascontiguousarray(variable[where])
        return values.astype(bool) if _text(variable.attrs.get("dtype", "")) == "bool" else values


def groups(path: Path) -> dict[str, Group]:
    """By name, all that there are."""
    h5py = extra("h5py")
    with h5py.File(path, "r") as file:
        return {name: _group(group) for name, group in file.items() if isinstance(group, h5py.Group)}


def _group(group: Any) -> Group:
    datasets = dict(group.items())
    scales = {_address(each): name for name, each in datasets.items() if each.is_scale}
    coordinates = {name for each in datasets.values() for name in _text(each.attrs.get("coordinates", "")).split()}
    variables = {}
    for name, each in datasets.items():
        if not each.is_scale and name not in coordinates:
            dims = tuple(_dimension(each, axis, scales, group.file) for axis in range(each.ndim))
            variables[_text(each.attrs.get("site", name))] = Variable(name, each.shape, dims, each.chunks or ())
    labels = {name: _labels(datasets[name]) for name in scales.values() if not datasets[name].attrs["NAME"].startswith(_NO_LABELS)}
    attributes = {name: _text(value) for name, value in group.attrs.items() if name not in _OF_THE_FORMAT}
    return Group(variables, labels, attributes)


def _dimension(variable: Any, axis: int, scales: Mapping[Any, str], file: Any) -> str:
    """The name of a dimension; by its address, since HDF 5 searches the file for the name of what is referred to."""
    attached: Any = variable.attrs["DIMENSION_LIST"][axis] if "DIMENSION_LIST" in variable.attrs else ()
    return scales[_address(file[attached[-1]])] if len(attached) else f"{variable.name.rpartition('/')[2]}_dim_{axis}"


def _address(thing: Any) -> Any:
    return extra("h5py").h5o.get_info(thing.id).addr


def _labels(scale: Any) -> list[Any]:
    """Decoded as xarray encodes them: times are numbers, with a unit."""
    values = scale.asstr()[...] if extra("h5py").check_string_dtype(scale.dtype) else scale[...]
    attributes = {name: _text(value) for name, value in scale.attrs.items() if name not in _OF_THE_FORMAT}
    if attributes:
        xarray = extra("xarray")
        values = xarray.conventions.decode_cf_variable("labels", xarray.Variable(("labels",), values, attributes)).values
    labels: list[Any] = values.tolist()
    return labels


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
