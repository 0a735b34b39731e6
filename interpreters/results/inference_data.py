"""The way of a posterior to ArviZ."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Final

import torch

from interpreters.results.extras import extra

Dims = Mapping[str, tuple[str | None, ...]]
Values = Mapping[str, torch.Tensor]
Coords = Mapping[str, Sequence[Any]]

# The groups of ArviZ whose variables have no chains and draws.
DATA: Final = ("observed_data", "constant_data")


def inference_data(
    groups: Mapping[str, Values], dims: Dims, attributes: Mapping[str, Any], statistics: Values | None = None, coords: Coords | None = None
) -> Any:
    """An ``arviz.InferenceData``.

    groups:      by ArviZ's name of it (posterior, observed_data, ...), tensors by name of site. Each is [chains, draws, *shape], but
                 for observed and constant data, [*shape]. Empty groups are left out.
    statistics:  of the sampler, each [chains, draws].
    dims:        by name of site, for each dimension of shape the name of its plate, or None.
    coords:      by name of plate the label of each of its members; numbers from zero, where there are none.

    A site or plate of no name becomes ``unnamed``; a site of the name of one of ArviZ's own dimensions, ``draw``, gets a ``_``. A ``/``
    in a name becomes a ``.``, since NetCDF takes it for a group, and a name that is a ``.`` becomes ``_``. A plate of the name of a site, or of ArviZ's own dimensions, becomes
    ``name_dim``; one that is entered with several sizes has a dimension for each. Where a name had to change, the variable's attribute
    ``site`` is the old one.
    """
    arviz = extra("arviz")
    everything = dict(groups) if statistics is None else {**groups, "sample_stats": statistics}
    shapes = {(group, name): x.shape[0 if group in DATA else 2 :] for group, values in everything.items() for name, x in values.items()}
    names = _unique(dict.fromkeys(name for _, name in shapes), _taken(shapes))
    axes = _axes(dims, shapes, {*names.values(), "chain", "draw"})
    _check_coords(coords or {}, {plate for each in dims.values() for plate in each if plate is not None})

    def dataset(group: str, values: Values) -> Any:
        made = arviz.dict_to_dataset(
            {names[name]: _array(tensor) for name, tensor in values.items()},
            dims={names[name]: [axis for axis, _ in axes[group, name]] for name in values},
            coords={
                axis: _labels(plate, size, coords or {})
                for name in values
                for (axis, plate), size in zip(axes[group, name], shapes[group, name], strict=True)
                if axis
            },
            **({"default_dims": []} if group in DATA else {}),
        )
        for name in values:
            if names[name] != name:
                made[names[name]].attrs["site"] = name
        made.attrs.update(attributes if group == "posterior" else {})
        return made

    datasets = {group: dataset(group, values) for group, values in everything.items() if values}
    return arviz.InferenceData(**datasets, attrs=dict(attributes))


def _check_coords(coords: Coords, plates: Collection[str]) -> None:
    unknown = [name for name in coords if name not in plates]
    if unknown:
        raise ValueError(
            f"coords has labels for {', '.join(unknown)}, of which there is no plate; the plates are {', '.join(sorted(plates)) or '(none)'}"
        )


def _labels(plate: str | None, size: int, coords: Coords) -> Sequence[Any]:
    labels = coords.get(plate or "")
    if labels is None:
        return range(size)
    if len(labels) != size:
        raise ValueError(f"plate {plate!r} has {size} members, but coords has {len(labels)} labels for it")
    return list(labels)


Shapes = Mapping[tuple[str, str], torch.Size]  # by group and name


def _taken(shapes: Shapes) -> set[str]:
    """The names of ArviZ's own dimensions, those of a site's that are no plates included."""
    return {"chain", "draw", *(f"{name.replace('/', '.')}_dim_{i}" for (_, name), shape in shapes.items() for i in range(len(shape)))}


def _unique(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """For each name one that NetCDF can hold, and that nobody else has."""
    new: dict[str, str] = {}
    gone = set(taken)
    for name in names:
        candidates = (_plain(name) + "_" * i for i in count())
        new[name] = next(candidate for candidate in candidates if candidate not in gone)
        gone.add(new[name])
    return new


def _axes(dims: Dims, shapes: Shapes, taken: set[str]) -> dict[tuple[str, str], list[tuple[str | None, str | None]]]:
    """For each dimension of each site its name in ArviZ, and the plate that it is of. Those of plates come first."""
    plates = {(group, name): (*dims.get(name, ()), *[None] * len(shape))[: len(shape)] for (group, name), shape in shapes.items()}
    sizes: dict[str, set[int]] = {}
    for key, shape in shapes.items():
        for plate, size in zip(plates[key], shape, strict=True):
            sizes.setdefault(plate or "", set()).add(size)

    def axis(plate: str | None, size: int) -> str | None:
        if plate is None:
            return None
        plain = _plain(plate)
        plain = f"{plain}_dim" if plain in taken else plain
        return plain if len(sizes[plate]) == 1 else f"{plain}_{size}"

    return {key: [(axis(plate, size), plate) for plate, size in zip(plates[key], shape, strict=True)] for key, shape in shapes.items()}


def _plain(name: str) -> str:
    """Without what NetCDF takes for a path: a ``/``, and nothing but a ``.``, which is the group itself."""
    return "_" if name == "." else name.replace("/", ".") or "unnamed"


def _array(tensor: torch.Tensor) -> Any:
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).cpu().numpy()  # numpy has no such type
