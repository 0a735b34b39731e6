"""plate: a part of a program that is run for each of several independent elements."""

from __future__ import annotations

from typing import Any

import attrs
import torch

from poutine.decorators import Decorator, check_name
from poutine.errors import PlateError
from poutine.handlers.broadcast import BroadcastPoutine
from poutine.handlers.indep import IndepPoutine
from poutine.handlers.scale import ScalePoutine
from poutine.messages import Sample
from poutine.options import check_number, of_type, whole
from poutine.poutine import Poutine
from poutine.program import Coroutine, Program


def plate(
    name: str,
    size: int | None = None,
    subsample_size: int | None = None,
    subsample: torch.Tensor | None = None,
    dim: int | None = None,
    *,
    vectorized: bool = True,
) -> Decorator[PlatePoutine]:
    """Makes a generator function of an index into a plate; use it as a decorator, and run the result with ``yield from``.

    ::

        @plate("schools", 8)
        def school(j):                                      # j = torch.arange(8)
            theta = yield Sample("theta", Normal(mu, tau))  # shape [8]
            yield Observe("y", Normal(theta, sigma[j]), y[j])
            return theta

        theta = yield from school()

    A plate in a plate takes the next dimension to the left. Each index is a vector, so data over both is indexed with one of them as a
    column (``y[i, j]`` alone is the diagonal)::

        @plate("columns", 3)
        def column(j):                                      # dimension -1
            @plate("rows", 2)
            def row(i):                                     # dimension -2
                yield Observe("y", Normal(mu, 1.0), y[i[:, None], j])   # shape [2, 3]

            yield from row()

    size:            the number of elements; without it (and without subsample) the index is ``slice(None)`` and nothing is broadcast.
    subsample_size:  draw so many of them: a site ``name`` of log density zero holds the index; the sites inside are scaled
                     by ``size / subsample_size``.
    subsample:       use these indices instead of drawing any; scaled likewise.
    dim:             the batch dimension (negative); without it, the first from the right that no plate around uses.
    vectorized:      True (the seed's iarange): the function is run once, with an index tensor, and what it samples is broadcast to
                     the size; a distribution that does not tell its ``batch_shape`` is drawn and scored for each element. False (the
                     seed's irange): it is run once for each element, with an int, and the plate's value is the list of what it
                     returned; its sites need names of their own.

    **Law**: a vectorised plate of n is, in log density, n sequential entries.
    Raises ``PlateError`` (a ``ValueError``) with both numbers where sizes do not fit.
    """
    check_name("plate", name, size)
    return Decorator("plate", "the index", PlatePoutine, (name, size, subsample_size, subsample, dim, vectorized))


@attrs.frozen(slots=False, eq=False, repr=False)
class PlatePoutine(Poutine):
    """What ``plate`` makes: calls ``fn(index, *args, **kwargs)`` under indep and scale (and broadcast)."""

    name: str = attrs.field(validator=of_type(str))
    size: int | None = attrs.field(default=None, converter=whole)
    subsample_size: int | None = attrs.field(default=None, converter=whole)
    subsample: torch.Tensor | None = attrs.field(default=None, converter=attrs.converters.optional(torch.as_tensor))
    dim: int | None = attrs.field(default=None, converter=whole)
    vectorized: bool = attrs.field(default=True, validator=of_type(bool))

    def __attrs_post_init__(self) -> None:
        if self.subsample is not None:
            self._check_index(self.subsample, "an index of the subsample")
        size, few = self.size, self._drawn
        for what, number, sign in (("size", size, 1), ("subsample_size", few, 1), ("dim", self.dim, -1)):
            check_number(self.name, what, number, sign)
        if self.subsample_size is not None and few != self.subsample_size:
            raise PlateError(self.name, f"subsample has {few} indices, but subsample_size is {self.subsample_size}")
        if size is not None and few is not None and few > size:
            raise PlateError(self.name, f"the subsample size {few} is larger than the size {size}")
        if size is None and self.subsample is None and (few is not None or not self.vectorized):
            raise PlateError(self.name, "give the plate a size: without it there is nothing to draw from or to count")

    def _check_index(self, index: torch.Tensor, what: str) -> None:
        if index.dim() != 1 or index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
            raise PlateError(self.name, f"expected a vector of whole numbers as subsample, got {index}")
        # The question that torch's own validation asks, which a tracer can answer.
        if self.size is not None and not torch._is_all_true((index >= 0) & (index < self.size)):
            raise PlateError(self.name, f"{what} lies outside of the plate's size {self.size}: {index.tolist()}")

    @property
    def _drawn(self) -> int | None:
        return self.subsample_size if self.subsample is None else len(self.subsample)

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        index = yield from self._index()
        if self.vectorized:
            count = None if isinstance(index, slice) else len(index)
            few = index if self.size is not None and (self.subsample is not None or count != self.size) else None
            weight = self._weight(count)
            body = BroadcastPoutine(IndepPoutine(program.fn, self.name, True, self.dim, count, index=few, weight=weight))
            return (yield from _scaled(body, weight)(index, *program.args, **program.kwargs))
        results = []
        weight = self._weight(len(index))
        branch = _scaled(IndepPoutine(program.fn, self.name, False, loop=object(), weight=weight), weight)
        for i in index.tolist():
            results.append((yield from branch(i, *program.args, **program.kwargs)))
        return results

    def _index(self) -> Coroutine[Any]:
        if self.subsample is not None:
            return self.subsample
        if self.size is None:
            return slice(None)
        if self.subsample_size in (None, self.size):
            return torch.arange(self.size)
        index = torch.as_tensor((yield Sample(self.name, Subsample(self.size, self._drawn), infer={"is_subsample": True})))
        self._check_index(index, "an index that was given")
        if len(index) != self._drawn:
            raise PlateError(self.name, f"the subsample size is {self._drawn} here, but the index that was given has {len(index)}")
        return index

    def _weight(self, count: int | None) -> float:
        """How many elements each of those that take part stands for."""
        return self.size / count if self.size and count else 1.0


def _scaled(body: Poutine, weight: float) -> Poutine:
    return body if weight == 1.0 else ScalePoutine(body, weight)


@attrs.frozen
class Subsample:
    """The distribution of the index of a subsampled plate: ``drawn`` of ``size`` without replacement; its log density is zero.

    Zero, since the estimator that the plate stands for is unbiased under it: the index is no part of the model.
    """

    size: int
    drawn: int | None

    def sample(self) -> torch.Tensor:
        """The indices: a vector of ``drawn`` different whole numbers below ``size``, in random order."""
        return torch.randperm(self.size)[: self.drawn].clone()

    def log_prob(self, value: torch.Tensor, /) -> torch.Tensor:
        """Zero, a scalar, whatever the indices are."""
        return torch.zeros(())
