"""Elementwise: a distribution that does not tell its shapes, for each element of a vectorised plate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from numbers import Number
from typing import Any

import attrs
import torch

from poutine.errors import DistributionError, PlateError, PoutineError
from poutine.randomness import is_reparameterized

Shape = tuple[int, ...]


@attrs.frozen(repr=False, slots=False)  # so that it shows what it is made of
class Elementwise:
    """``base``, a distribution without ``batch_shape``, over a batch of ``shape``: the plates' sizes at their dimensions, 1 elsewhere.

    What a draw of ``base`` is of, its log density tells, as torch's do. Where that is a scalar, a draw is one element's: there are as
    many draws, one after the other from the site's stream, as elements, and each is scored alone. Where it has sizes of the plates,
    from parameters of that shape, the draw is already of these elements.

    dims:  of the plates (negative), and those that belong to none; others may be of a plate further out.
    wide:  values may have batch dimensions to the left of all plates.

    **Law**: in log density, it is as many sites as there are elements (D). It takes as long, too: a distribution that tells
    ``batch_shape`` and ``event_shape``, and has ``expand``, is drawn and scored at once.
    Raises ``PlateError`` where a value or a density does not have the plates' sizes.
    """

    name: str
    base: Any
    shape: Shape
    dims: frozenset[int]
    wide: bool = False

    @property
    def has_rsample(self) -> bool:
        return is_reparameterized(self.base)

    def sample(self) -> torch.Tensor:
        """A value of shape [*shape, *what one draw has]."""
        return self._drawn(self.base.sample)

    def rsample(self) -> torch.Tensor:
        """The same, reparameterised."""
        return self._drawn(self.base.rsample)

    def log_prob(self, value: Any, /) -> torch.Tensor:
        """The log density of each element, in nats, of ``shape``. A value without the plates' sizes is that of all elements."""
        value = torch.as_tensor(value)
        sizes = leading(tuple(value.shape), self.shape, self.wide)
        if sizes is None:
            return self._shared(value)
        elements = value.reshape(-1, *value.shape[len(sizes) :])
        first = torch.as_tensor(self.base.log_prob(elements[0]))
        if first.dim() == 0:
            return torch.stack([first, *(torch.as_tensor(self.base.log_prob(element)) for element in elements[1:])]).reshape(sizes)
        together = torch.as_tensor(self.base.log_prob(value))  # its parameters are those of the elements
        if together.shape != sizes and together.shape != self._batch_of(tuple(together.shape)):
            raise PlateError(
                self.name, f"expected a log density of shape {sizes} from {self.base!r}, got {tuple(together.shape)}; {_WAYS_OUT}"
            )
        return together

    def check(self, value: Any) -> None:
        """Raises ``PlateError`` if ``value`` has not the plates' sizes, and cannot be that of all elements either."""
        if leading(tuple(value.shape), self.shape, self.wide) is not None:
            return
        try:
            self._shared(torch.as_tensor(value))
        except PoutineError:
            raise
        except Exception as error:
            raise DistributionError(self.name, f"cannot score a value of {_described(value)} under {self.base!r}: {error}") from error

    def _shared(self, value: torch.Tensor) -> torch.Tensor:
        """The log density of one value in each element."""
        score = torch.as_tensor(self.base.log_prob(value))
        further, inside = self._split(tuple(score.shape))
        taken = [size != 1 or dim in self.dims for dim, size in zip(range(-len(self.shape), 0), self.shape, strict=True)]
        if (further and not self.wide) or any(a not in (1, b) and it for a, b, it in zip(inside, self.shape, taken, strict=True)):
            raise PlateError(
                self.name,
                f"{self.base!r} does not tell its shapes, so a value has the sizes {self.shape} of its plates first: expected shape "
                f"{_shown(self.shape)}, got {_described(value)}, whose log density has shape {tuple(score.shape)}; "
                f"index the data with the plate's index; {_WAYS_OUT}",
            )
        return score.expand(further + tuple(map(max, inside, self.shape)))

    def _split(self, own: Shape) -> tuple[Shape, Shape]:
        """A shape as what is to the left of all plates, and what is in their dimensions."""
        further = own[: max(0, len(own) - len(self.shape))]
        return further, (1,) * (len(self.shape) - len(own)) + own[len(further) :]

    def _drawn(self, draw: Callable[[], Any]) -> torch.Tensor:
        first = self._tensor(draw())
        own = tuple(torch.as_tensor(self.base.log_prob(first)).shape)
        target = self._batch_of(own)
        if tuple(first.shape[: len(own)]) != own:
            raise PlateError(
                self.name,
                f"a draw of {self.base!r} has shape {tuple(first.shape)}, and its log density {own}, which should be the first of these; {_WAYS_OUT}",
            )
        batch = (1,) * (len(target) - len(own)) + own

        def draws() -> Iterator[torch.Tensor]:
            yield first
            while True:
                yield self._tensor(draw())

        each = (value.reshape(batch + tuple(value.shape[len(own) :])) for value in draws())

        def filled(dim: int) -> torch.Tensor:
            if dim == len(target):
                return next(each)
            return torch.cat([filled(dim + 1) for _ in range(target[dim] if batch[dim] == 1 else 1)], dim)

        return filled(0)

    def _batch_of(self, own: Shape) -> Shape:
        """The shape of a batch of elements, of which ``own`` are drawn, or scored, at once. Raises ``PlateError``."""
        further, inside = self._split(own)
        if any(a not in (1, b) for a, b in zip(inside, self.shape, strict=True)) or (further and not self.wide):
            raise PlateError(
                self.name,
                f"{self.base!r} has a log density of shape {own}, which does not fit into plates of sizes {self.shape}; {_WAYS_OUT}",
            )
        return further + self.shape

    def _tensor(self, value: Any) -> torch.Tensor:
        if not isinstance(value, (torch.Tensor, Number)) and not hasattr(value, "__array__"):
            raise PlateError(
                self.name,
                f"{self.base!r} draws {value!r}, and of what is no tensor and no number there is no batch of {self.shape}; {_WAYS_OUT}",
            )
        return torch.as_tensor(value)

    def __repr__(self) -> str:
        return repr(self.base)


def leading(given: Shape, sizes: Shape, wide: bool) -> Shape | None:
    """The part of the shape ``given`` that ends with ``sizes``: the first dimensions or, if it may be ``wide``, some to the left, too."""
    for start in range(len(given) - len(sizes) + 1 if wide else 1):
        if given[start : start + len(sizes)] == sizes:
            return given[: start + len(sizes)]
    return None


def check_bare(name: str, fn: Any, value: Any, sizes: Shape, wide: bool) -> None:
    """Raises ``PlateError`` if the value of a bare callable has not the sizes of its plates: it would be one draw that all elements share.

    It is not called for each: what it is called with, or refers to, is that of all elements.
    """
    if leading(tuple(getattr(value, "shape", ())), sizes, wide) is None:
        raise PlateError(
            name,
            f"{fn!r} is a bare callable, which draws for all elements of its plates: expected a value of shape {_shown(sizes)}, got "
            f"{_described(value)}; {_WAYS_OUT}",
        )


_WAYS_OUT = "give what it draws the plates' sizes first, or use plate(..., vectorized=False)"


def _shown(sizes: Shape) -> str:
    return f"({', '.join(map(str, sizes))}, ...)"


def _described(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if hasattr(value, "shape") else repr(value)
