"""Factors: tensors of log density whose dimensions have names, the variables and plates that they depend on."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from math import prod

import attrs
import torch


@attrs.frozen
class Plate:
    """A vectorised plate, or the steps of a vectorised markov loop: then ``loop`` is what tells it from a plate.

    weight:  how many elements each of them stands for: the sum over each one's own variables is taken to this power, as it would be
             multiplied with those that are left out.
    branch:  what tells it from others, if it is one of a sequential plate, of a subsample: of size 1, without a dimension (0).
    """

    name: str
    dim: int
    size: int
    loop: object = attrs.field(default=None, repr=False)
    weight: float = 1.0
    branch: object = attrs.field(default=None, repr=False)


@attrs.frozen(eq=False, repr=False)
class Variable:
    """A discrete site that is to be summed out: an axis.

    values:  of the support, [size, *batch_shape, *event_shape]; batch dimensions of plates have size 1, others are one joint value.
    plates:  that it is local to: in each of their elements it is a variable of its own.
    batch:   the batch shape of the site in a plain run (and with the steps of loops).
    """

    name: str
    values: torch.Tensor
    plates: frozenset[Plate] = frozenset()
    batch: torch.Size = torch.Size()
    size: int = attrs.field(init=False, default=attrs.Factory(lambda self: self.values.shape[0], takes_self=True))

    def __repr__(self) -> str:
        return f"<{self.name}: {self.size} values>"


Axis = Variable | Plate
Indices = dict[Variable, torch.Tensor]  # which value each variable has: [draws or 1, *sizes of ordered(variable.plates)]


@attrs.frozen(eq=False)
class Factor:
    """A tensor with an axis for each of its dimensions, in nats. It has the axes of all plates of its variables."""

    tensor: torch.Tensor
    axes: tuple[Axis, ...] = ()

    @property
    def variables(self) -> list[Variable]:
        return [axis for axis in self.axes if isinstance(axis, Variable)]

    @property
    def plates(self) -> frozenset[Plate]:
        return frozenset(axis for axis in self.axes if isinstance(axis, Plate))

    def over(self, axes: Iterable[Axis]) -> torch.Tensor:
        """The tensor with its dimensions in the order of ``axes``, which are all of its own and more: those have size 1."""
        order = list(axes)
        own = [axis for axis in order if axis in self.axes]
        shape = [axis.size if axis in self.axes else 1 for axis in order]
        return self.tensor.permute([self.axes.index(axis) for axis in own]).reshape(shape)

    def expanded(self, axes: Iterable[Axis]) -> Factor:
        """With these axes, too: all of its elements are the same along what is new."""
        new = tuple(axis for axis in axes if axis not in self.axes)
        sizes = [axis.size for axis in new]
        return Factor(self.tensor.expand(*sizes, *self.tensor.shape), (*new, *self.axes)) if new else self

    def renamed(self, names: Mapping[Axis, Axis]) -> Factor:
        return attrs.evolve(self, axes=tuple(names.get(axis, axis) for axis in self.axes))

    def at(self, indices: Indices, free: Collection[Variable]) -> torch.Tensor:
        """The tensor where its variables have these values: [draws or 1, *ordered plates, *free], for what is ``free`` has none."""
        fixed = [variable for variable in self.variables if variable not in free]
        plates = ordered(self.plates)
        tensor = self.over([*fixed, *plates, *(variable for variable in free if variable in self.axes)])
        if not fixed:
            return tensor.unsqueeze(0)
        chosen = [aligned(indices[variable], variable.plates, plates) for variable in fixed]
        elements = [_arange(plate.size, i, len(plates)) for i, plate in enumerate(plates)]
        return tensor[tuple(chosen + elements)]


def ordered(plates: Iterable[Plate]) -> list[Plate]:
    """In the order of their dimensions, leftmost first."""
    return sorted(plates, key=lambda plate: (plate.dim, plate.name))


def aligned(index: torch.Tensor, own: Iterable[Plate], plates: list[Plate]) -> torch.Tensor:
    """``index``, over draws and its ``own`` plates, as it broadcasts over draws and ``plates``."""
    mine = frozenset(own)
    sizes = iter(index.shape[1:])
    return index.reshape(index.shape[0], *(next(sizes) if plate in mine else 1 for plate in plates))


def _arange(size: int, place: int, rank: int) -> torch.Tensor:
    return torch.arange(size).reshape(size, *[1] * (rank - place - 1))


def weight(plates: Iterable[Plate]) -> float:
    """How often an element of all of them counts."""
    return prod(plate.weight for plate in plates)


Step = tuple[int, ...]  # the element of each loop's plate, from 0, in the order of ``ordered``


def step_names(name: str, plates: Iterable[Plate]) -> dict[Step, str]:
    """What a site of vectorised loops is called in a plain run, step for step: "x_1:4" is "x_1", "x_2" and "x_3"."""
    names: dict[Step, str] = {(): name}
    for plate in loops(plates):
        label = re.compile(rf"_1:{plate.size + 1}(?!\d)")
        names = {(*at, i): label.sub(f"_{i + 1}", each, count=1) for at, each in names.items() for i in range(plate.size)}
    return names


def loops(plates: Iterable[Plate]) -> list[Plate]:
    return [plate for plate in ordered(plates) if plate.loop is not None]


def value_of(variable: Variable, index: torch.Tensor) -> torch.Tensor:
    """The values at ``index``, over draws and the variable's plates: [draws, *batch, *event_shape]."""
    rank, draws = len(variable.batch), len(index)
    event = variable.values.shape[1 + rank :]
    dims = {plate.dim: plate.size for plate in variable.plates}
    place = index.reshape(draws, *(dims.get(dim, 1) for dim in range(-rank, 0)), *[1] * len(event))
    values = variable.values.expand(variable.size, *variable.batch, *event)
    return torch.take_along_dim(values, place.expand(draws, *variable.batch, *event), 0)


def by_step(variable: Variable, values: torch.Tensor) -> dict[str, torch.Tensor]:
    """``values``, [draws, *batch, *event_shape], by the names of a plain run, each of the shape that it has there."""
    rank = len(variable.batch)
    named, left = {}, _left_of(variable)
    for at, name in step_names(variable.name, variable.plates).items():
        value = values
        for plate, element in zip(loops(variable.plates), at, strict=True):
            value = value.narrow(1 + rank + plate.dim, element, 1)
        named[name] = value.reshape(len(value), *value.shape[1 + left :])
    return named


def from_steps(variable: Variable, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The inverse of ``by_step``: [draws, *batch, *event_shape]."""
    event = variable.values.dim() - 1 - len(variable.batch)
    parts = [values[name] for name in step_names(variable.name, variable.plates).values()]
    left = _left_of(variable)
    parts = [part.reshape(len(part), *[1] * left, *part.shape[1:]) for part in parts]
    for plate in reversed(loops(variable.plates)):
        parts = [torch.cat(parts[i : i + plate.size], plate.dim - event) for i in range(0, len(parts), plate.size)]
    return parts[0].expand(len(parts[0]), *variable.batch, *parts[0].shape[parts[0].dim() - event :])


def _left_of(variable: Variable) -> int:
    """How many of the leftmost batch dimensions are of loops: a plain run does not have these."""
    dims = {plate.dim for plate in loops(variable.plates)}
    return next((left for left in range(len(variable.batch)) if left - len(variable.batch) not in dims), len(variable.batch))
