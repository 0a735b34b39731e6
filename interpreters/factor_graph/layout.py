"""Which dimension of the program's tensors stands for which variable, while it runs.

Right are the batch dimensions that the program itself has, ``rank`` of them; left of those, each variable has one of its own.
A dimension is used again when nothing can see its variable any more: after the step of a markov loop, and, where torch's 64
dimensions run out, after the branch of a sequential plate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any, Final

import attrs
import torch

from interpreters.errors import NotVectorizable
from interpreters.factor_graph.factors import Axis, Factor, Plate, Variable, ordered
from poutine import CondIndepStackFrame

_MOST: Final = 56  # dimensions: torch has 64, and a value or a distribution may have some more

Branch = tuple[tuple[object, int], ...]  # of sequential plates: (loop, counter) of each


class TooFewDimensions(Exception):
    """A plate has a dimension left of the ``rank`` that was planned for; ``needed`` is what it takes."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


@attrs.frozen
class _Place:
    variable: Variable
    branch: Branch


class Layout:
    """The variables that have dimensions at this moment."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self._places: dict[int, _Place] = {}  # by distance from the program's own dimensions

    def __contains__(self, variable: Variable) -> bool:
        return any(place.variable is variable for place in self._places.values())

    @property
    def variables(self) -> list[Variable]:
        return [place.variable for place in self._places.values()]

    def place(self, variable: Variable, event_dim: int, frames: Iterable[CondIndepStackFrame] = ()) -> torch.Tensor:
        """Gives ``variable`` a dimension, and returns its values as they are laid out there."""
        branch = branch_of(frames)
        at = next(place for place in count() if place not in self._places)
        if self.rank + at >= _MOST:
            at = self._vacated(variable, branch)
        self._places[at] = _Place(variable, branch)
        batch, event = (
            variable.values.shape[1 : variable.values.dim() - event_dim],
            variable.values.shape[variable.values.dim() - event_dim :],
        )
        filling = [1] * (self.rank + at - len(batch))
        return variable.values.reshape(variable.size, *filling, *batch, *event)

    def moved(self, tensor: torch.Tensor, to: Mapping[Variable, Variable]) -> torch.Tensor:
        """``tensor``, which has no event dimensions, as it is for other variables in place of some: each of the same size."""
        dims = {place.variable: -1 - self.rank - at for at, place in self._places.items()}
        lowest = min([-tensor.dim(), *(dims[variable] for variable in to.values())])
        wide = tensor.reshape((*[1] * (-lowest - tensor.dim()), *tensor.shape))
        for old, new in to.items():
            wide = wide.transpose(dims[old], dims[new])
        return wide

    def free(self, variables: Iterable[Variable]) -> None:
        gone = set(variables)
        self._places = {at: place for at, place in self._places.items() if place.variable not in gone}

    def seen_in(self, value: Any, event_dim: int = 0) -> list[Variable]:
        """The variables on whose dimensions a tensor varies."""
        if not isinstance(value, torch.Tensor):
            return []
        shape = value.shape[: value.dim() - event_dim]
        return [place.variable for at, place in self._places.items() if len(shape) > self.rank + at and shape[-1 - self.rank - at] > 1]

    def named(self, name: str, density: torch.Tensor, frames: Iterable[CondIndepStackFrame]) -> Factor:
        """The log density of a site as a factor; batch dimensions that belong to nothing are summed. Raises ``NotVectorizable``."""
        plates = plates_of(frames)
        axes: list[Axis | None] = [self._axis(name, density, dim, plates) for dim in range(-density.dim(), 0)]
        loose = [i for i, axis in enumerate(axes) if axis is None and density.shape[i] != 1]
        density = density.sum(loose, keepdim=True) if loose else density
        kept = tuple(axis for axis in axes if axis is not None)
        sizes = [size for size, axis in zip(density.shape, axes, strict=True) if axis is not None]
        factor = Factor(density.reshape(sizes), kept)
        local = frozenset[Plate]().union(*(variable.plates for variable in factor.variables))
        _check_inside(name, local - plates, factor.variables)
        return factor.expanded(ordered(local | {plate for plate in plates if plate.loop is not None}))

    def _axis(self, name: str, density: torch.Tensor, dim: int, plates: frozenset[Plate]) -> Axis | None:
        size = density.shape[dim]
        if -dim <= self.rank:
            return next((plate for plate in plates if plate.dim == dim and plate.size == size), None)
        if size == 1:
            return None
        place = self._places.get(-dim - 1 - self.rank)
        if place is None or place.variable.size != size:
            raise NotVectorizable(
                f"site {name!r}: its log density has size {size} at dimension {dim}, which is no plate and no enumerated site; "
                f"the batch dimensions of the program must be the last {self.rank}"
            )
        return place.variable

    def _vacated(self, variable: Variable, branch: Branch) -> int:
        """The dimension of a variable that was local to another branch of a sequential plate."""
        for at, place in self._places.items():
            if place.branch != branch[: len(place.branch)]:
                return at
        raise NotVectorizable(
            f"site {variable.name!r} is the {len(self._places) + 1}th that is enumerated at once, and torch has 64 dimensions; put the loop "
            "that they are in into markov, whose steps use theirs again, or into a plate; or use interpreters.enumeration.exact"
        )


def branch_of(frames: Iterable[CondIndepStackFrame]) -> Branch:
    return tuple((frame.loop, frame.counter) for frame in frames if not frame.vectorized and frame.loop is not None)


def plates_of(frames: Iterable[CondIndepStackFrame]) -> frozenset[Plate]:
    """The plates that are dimensions of more than one element, or subsamples. A loop's frame has a ``loop`` although it is vectorised."""
    return frozenset(plate for plate in map(_plate, frames) if plate.size > 1 or plate.loop is not None or plate.weight != 1.0)


def _plate(frame: CondIndepStackFrame) -> Plate:
    if frame.vectorized and frame.dim is not None and frame.size is not None:
        return Plate(frame.name, frame.dim, frame.size, frame.loop, frame.weight)
    return Plate(frame.name, 0, 1, None, frame.weight, (frame.loop, frame.counter))


def floored(density: torch.Tensor) -> torch.Tensor:
    """What is impossible as a huge negative number instead of -inf, which no gradient passes."""
    return density.clamp(min=_lowest(density.dtype, 0.9))


def possible(total: torch.Tensor) -> torch.Tensor:
    """-inf again, where a sum is of nothing but the impossible."""
    return torch.where(total < _lowest(total.dtype, 0.89), -torch.inf, total)


def _lowest(dtype: torch.dtype, power: float) -> float:
    """The same in single and double precision: a total in double precision may be of factors in single."""
    return -float(min(torch.finfo(dtype).max, torch.finfo(torch.float32).max) ** power)


def _check_inside(name: str, outside: frozenset[Plate], variables: list[Variable]) -> None:
    if outside:
        plate = next(iter(outside))
        local = next(variable for variable in variables if plate in variable.plates)
        raise NotVectorizable(
            f"site {name!r} is outside of plate {plate.name!r} and depends on {local.name!r}, which is local to it: all of its elements "
            "are then one joint choice; use interpreters.enumeration.exact"
        )
