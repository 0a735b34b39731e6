"""One message for many, and each one's part of the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import attrs
import torch

from interpreters.batches.gathering import Gathered
from interpreters.batches.plain import Columns, rows_message
from interpreters.batches.recipes import aligned, stack, tensor
from interpreters.errors import BatchError
from poutine import UNDECIDED, Deterministic, Message, Observe, Sample
from poutine.driver.arrivals import Alike
from poutine.messages import param_of


@attrs.frozen(eq=False)
class Stacked:
    """The message that asks for all of ``asked``, and what its answer is for each."""

    asked: Gathered
    message: Any

    def rows(self, site: Message, numbers: bool) -> Sequence[Any]:
        """Each one's value in the finished ``site``: what it gave itself, a number where it is to be one, or a row, which the instance
        may change in place. Raises ``BatchError``."""
        if site.value is self.message.value:
            return self.asked.values
        value = site.value
        expected = self._shape()
        if not isinstance(value, torch.Tensor) or value.shape[: len(expected)] != expected or (self._is_whole and value.shape != expected):
            got = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
            raise BatchError(
                site.name,
                f"expected a value of shape {tuple(expected)}, the first dimension for the {expected[0]} instances that ask, got {got}; "
                "to decide a site in every instance alike, put the handler around the program inside of lockstep",
            )
        if numbers and self.asked.numbers and value.dim() == 1:
            return value.tolist()
        return copies(value)

    @property
    def _is_whole(self) -> bool:
        return self.message.value is UNDECIDED

    def _shape(self) -> torch.Size:
        """Of an answer; of what was decided already, the leading dimension alone."""
        if not self._is_whole or type(self.message.args) is Columns:
            return torch.Size((len(self.asked.members),))
        dist = self.message.dist
        return torch.Size(dist.batch_shape + dist.event_shape)

    def site_of(self, site: Message, rows: Sequence[Any]) -> Callable[[int], Message]:
        """From j to the finished site of the j-th who asked: its own message, with all that ``site`` has got on its way."""
        changed: dict[str, Any] | None = None

        def finished(j: int) -> Message:
            nonlocal changed
            if changed is None:  # somebody asks
                changed = self._changed(site)
            own: Message = of_type(type(site), self.asked.requests[j], rows[j])
            return own.evolve(**{key: _row(key, value, j, own) for key, value in changed.items()}) if changed else own

        return finished

    def _changed(self, site: Message) -> dict[str, Any]:
        before = self.message.__dict__
        return {key: value for key, value in site.__dict__.items() if key in ADDED and value is not before.get(key, UNDECIDED)}


def copies(rows: torch.Tensor) -> Sequence[torch.Tensor]:
    """Each row as a tensor of its own, which may be changed in place: views of one tensor share its count of changes."""
    made: Sequence[torch.Tensor] = torch.unbind_copy(rows, 0)  # type: ignore[func-returns-value, assignment]  # torch's stub: None
    return made


ADDED: Final = frozenset(("scale", "mask", "cond_indep_stack", "infer", "conditioned"))


def of_type(kind: type[Message], request: Any, value: Any) -> Any:
    """``request``, answered, as what it has become on its way."""
    if issubclass(kind, type(request)):
        return request.evolve(value=value)
    if kind is Observe and isinstance(request, Sample):
        return request.observed(value)
    if issubclass(kind, Sample) and isinstance(request, Observe):
        return request.unobserved().evolve(value=value)
    raise BatchError(request.name, f"a {type(request).__name__} for many instances has become a {kind.__name__} on its way")


def _row(key: str, value: Any, j: int, own: Any) -> Any:
    """The j-th one's part of a field."""
    if key == "infer":
        return {name: each for name, each in value.items() if name != INSTANCES}
    if not isinstance(value, torch.Tensor) or not value.dim():
        return value
    row = value[j] if len(value) > 1 else value[0]
    shape = torch.as_tensor(getattr(own, key)).shape
    return row.reshape(shape) if row.numel() == shape.numel() else row


INSTANCES: Final = "instances"  # under this name, ``infer`` tells who asks


def stacked(asked: Gathered, name: str, numbers: bool) -> Stacked:
    """One message, called ``name``, for all of ``asked``. Raises what building their distribution raises."""
    if asked.is_closed:
        return Stacked(asked, rows_message(name, cast(Alike, asked.requests), cast(Columns, asked.columns), {INSTANCES: asked.members}))
    first: Any = asked.requests[0]
    infer = {**first.infer, INSTANCES: asked.members}
    if isinstance(first, Deterministic):
        value = tensor(asked.values, None)
        return Stacked(asked, Deterministic(name, value).evolve(**_around(asked, first, 0), infer=infer))
    dist, value = _distribution_and_value(asked, first, numbers)
    made = Sample(name, dist) if isinstance(first, Sample) else Observe(name, dist, value)
    rank = len(dist.batch_shape) - 1
    made = made.evolve(value=value, **_around(asked, first, rank), infer=infer)
    return Stacked(asked, made if (param := param_of(first)) is None else made.replaced("_init", param.init))


def refuse_plates(message: Message, site: Message) -> None:
    """A vectorised plate around the batch would take the instances' dimension for its own. Raises ``BatchError``."""
    own = getattr(message, "cond_indep_stack", ())
    for frame in getattr(site, "cond_indep_stack", ()):
        if frame.size is not None and frame not in own:
            raise BatchError(
                site.name,
                f"the vectorised plate {frame.name!r} is around the batch, whose instances have a dimension of their own; "
                "put the plate into the program inside of lockstep",
            )


def _distribution_and_value(asked: Gathered, first: Any, numbers: bool) -> tuple[Any, Any]:
    """The distribution of all, with a batch dimension for them on the left, and their values, if they have any."""
    recipe: Any = asked.recipe
    rank = max((each.dim() for each in (first.scale, first.mask) if isinstance(each, torch.Tensor)), default=0)
    kind = _type_of_numbers(first, asked, numbers)
    event_dims = recipe.event_dims
    dist = recipe.make(stack(asked.columns, event_dims, kind, rank + recipe.reinterpreted))
    if not first.is_decided:
        return dist, UNDECIDED
    value = tensor(asked.values, torch.float64 if type(first.value) is float else None)
    own = value.dim() - 1 - len(dist.event_shape)
    if own > len(dist.batch_shape) - 1:
        dist = recipe.make(stack(asked.columns, event_dims, kind, own + recipe.reinterpreted))
    return dist, aligned(value, len(dist.batch_shape) - 1 - own)


def _type_of_numbers(first: Any, asked: Gathered, numbers: bool) -> torch.dtype:
    """In which type plain numbers stand beside tensors: as torch's distributions do it; alone and answered by numbers, double."""
    if asked.numbers:
        return torch.float64 if numbers else torch.get_default_dtype()
    known = [column[0].dtype for column in asked.columns if isinstance(column[0], torch.Tensor) and column[0].is_floating_point()]
    return known[0] if known else torch.float64 if numbers else torch.get_default_dtype()


def _around(asked: Gathered, first: Any, rank: int) -> dict[str, Any]:
    """Scale, mask and frames for all."""
    fields = {"cond_indep_stack": first.cond_indep_stack}
    for key in ("scale", "mask"):
        column = [getattr(request, key) for request in asked.requests] if key in first.__dict__ else [getattr(first, key)]
        fields[key] = aligned(torch.stack(column), rank - column[0].dim()) if isinstance(column[0], torch.Tensor) else column[0]
    return fields
