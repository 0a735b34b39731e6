"""The two scans of a recurrence, forward and back, from its operations; and their places in a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch

from interpreters.kernels.batching import Recurrence
from interpreters.kernels.graphs import Table, mapped
from interpreters.kernels.repetition import Each, Inside, Same
from interpreters.kernels.scans import Past, Pullback, Scan
from interpreters.kernels.tracing import trace


@attrs.frozen(eq=False)
class Traced:
    """``recurrence`` with what its histories are at the example."""

    recurrence: Recurrence
    histories: tuple[torch.Tensor, ...]

    @property
    def pasts(self) -> list[tuple[int, int]]:
        """The results of steps before that are read: which operation's, and how many steps before."""
        loop, members = self.recurrence.loop, self.recurrence.members
        leaves = (leaf for at in members for leaf in loop.body[at].operands)
        return list(dict.fromkeys((leaf.at, leaf.lag) for leaf in leaves if isinstance(leaf, Inside) and leaf.at in members and leaf.lag))

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        """What the scan reads from outside: what is ahead, what varies, what does not."""
        firsts = tuple(first for first in self.recurrence.firsts if first is not None)
        return (*firsts, *self.recurrence.each.values(), *self.recurrence.same.values())

    def scan(self, table: Table) -> Scan:
        r = self.recurrence
        pasts = tuple(Past(r.kept.index(at), lag) for at, lag in self.pasts)
        return Scan(len(r.loop.steps), r.ahead, pasts, trace(self._body, self._example(), (), table))

    def pullback(self, scan: Scan, wanted: Sequence[bool], table: Table) -> Pullback:
        """``wanted`` says of each of the inputs whether its gradient is."""
        r = self.recurrence
        rest = [i for i, is_wanted in enumerate(wanted[len(wanted) - len(r.each) - len(r.same) :]) if is_wanted]
        example, before = self._example(), len(scan.pasts)
        chosen = [*range(before), *(before + i for i in rest)]

        def pull(*args: torch.Tensor) -> Any:
            given = list(args[: len(example)])

            def results(*varying: torch.Tensor) -> Any:
                for i, value in zip(chosen, varying, strict=True):
                    given[i] = value
                return self._body(*given)

            pulled: Any = torch.func.vjp(results, *(args[i] for i in chosen))
            return pulled[1](tuple(args[len(example) :]))

        body = trace(pull, [*example, *(history[-1] for history in self.histories)], (), table)
        each = tuple(i for i in rest if i < len(r.each))
        return Pullback(scan, each, tuple(i - len(r.each) for i in rest if i >= len(r.each)), body)

    def _example(self) -> list[torch.Tensor]:
        """The arguments of the body in the last step."""
        r = self.recurrence
        pasts = [self.histories[r.kept.index(at)][-1 - lag] for at, lag in self.pasts]
        return [*pasts, *(value[-1] for value in r.each.values()), *r.same.values()]

    def _body(self, *args: torch.Tensor) -> tuple[torch.Tensor, ...]:
        r = self.recurrence
        given: dict[Any, Any] = dict(zip([*self.pasts, *r.each, *r.same], args, strict=True))
        for at in r.members:
            operation = r.loop.body[at]

            def read(leaf: Any) -> Any:
                if isinstance(leaf, Inside) and leaf.at in r.members:
                    return given[leaf.at, leaf.lag]
                return given[leaf] if isinstance(leaf, Inside | Same | Each) else leaf

            values, options = mapped((operation.args, operation.kwargs), read)
            given[at, 0] = operation.target(*values, **options)
        return tuple(given[at, 0] for at in r.kept)
