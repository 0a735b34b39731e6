"""Batch: what n instances of a program came to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import attrs
import numpy as np
import torch

from interpreters.batches.closed_forms import ClosedForm
from interpreters.batches.plain import Owed
from interpreters.batches.stacking import Stacked
from poutine import Message, Trace

T = TypeVar("T")


@attrs.frozen(eq=False)
class Group:
    """A finished message of a batch.

    name:     the site's name in each of ``members``, the numbers of the instances that asked.
    site:     the finished message of all of them.
    rows:     each one's value.
    request:  what was asked for ``site``.
    stacked:  how that was made of theirs; None if it is each one's own: of a single one, or a parameter's.
    """

    name: str
    members: tuple[int, ...]
    site: Message
    rows: Sequence[Any]
    request: Any
    stacked: Stacked | None = None

    def of(self, i: int) -> Message | None:
        """The finished site of instance ``i``, if it is in this group."""
        if i not in self.members:
            return None
        return self.site if self.stacked is None else self.stacked.site_of(self.site, self.rows)(self.members.index(i))


@attrs.frozen(eq=False)
class Batch(Generic[T]):
    """What n instances of a program returned, and the log density of each.

    log_densities:  [n], nats, double precision: what ``score`` says of the instance's sites, summed; gradients pass.
    groups:         the finished messages, in order, if the batch was to keep them.
    """

    values: tuple[T, ...]
    log_densities: torch.Tensor
    groups: tuple[Group, ...] | None = None

    def trace(self, i: int) -> Trace:
        """The sites of instance ``i``, in order, as in a trace of a single run. Raises ``ValueError`` if no groups were kept."""
        if self.groups is None:
            raise ValueError("this batch kept no messages: run lockstep with keep=True")
        trace = Trace()
        for group in self.groups:
            site = group.of(i)
            if site is not None:
                trace.record(site)
        return trace


class Scores:
    """Adds up the terms of each instance."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._last: tuple[Sequence[int], np.ndarray[Any, Any]] = (), np.empty(0, np.int64)
        self._members: list[np.ndarray[Any, Any]] = []
        self._terms: list[torch.Tensor] = []
        self._owed: defaultdict[ClosedForm, list[tuple[np.ndarray[Any, Any], Owed]]] = defaultdict(list)

    def add(self, members: Sequence[int], term: torch.Tensor | Owed | None) -> None:
        """A term of shape [len(members), ...], or of any shape for a single one; None counts nothing."""
        if term is None:
            return
        k = len(members)
        if members != self._last[0]:  # most go from one group to the next
            self._last = members, np.fromiter(members, np.int64, k)
        if isinstance(term, Owed):
            if len(term.values) == k:
                self._owed[term.form].append((self._last[1], term))
                return
            term = term.paid()  # a single one's own batch
        self._members.append(self._last[1])
        self._terms.append((term if term.shape == (k,) else term.reshape(k, -1).sum(1)).double())

    def sums(self) -> torch.Tensor:
        """[n]: one addition at the end, which gradients pass."""
        sums = torch.from_numpy(self._settled())
        return sums.index_add(0, torch.from_numpy(np.concatenate(self._members)), torch.cat(self._terms)) if self._terms else sums

    def _settled(self) -> np.ndarray[Any, Any]:
        """[n]: the sums of what is owed."""
        sums = np.zeros(self._number)
        for form, owed in self._owed.items():
            members = np.concatenate([members for members, _ in owed])
            values = np.concatenate([term.values for _, term in owed])
            table = np.concatenate([term.table for _, term in owed], axis=1)
            sums += np.bincount(members, form.log_prob(values, *table), self._number)
        return sums
