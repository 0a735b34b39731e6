"""IndepPoutine: marks the inside of a plate."""

from __future__ import annotations

from itertools import count
from typing import Any

import attrs
import torch

from poutine.errors import PlateError
from poutine.messages import CondIndepStackFrame, EnterMarkov, EnterPlate, Message, PlateEntry, Site
from poutine.options import check_number, of_type, whole
from poutine.poutine import Poutine
from poutine.program import Coroutine, Handling, Program, Rule


@attrs.frozen(slots=False, eq=False, repr=False)
class IndepPoutine(Poutine):
    """Each run is one entry of plate ``name``: adds its frame, numbered by entry, to every site's ``cond_indep_stack``.

    A vectorised plate with a ``size`` has a batch dimension: ``dim`` (negative, counted from the right) or, without it, the
    first from the right that no plate around uses. Entries with the same ``loop`` (an object) are branches of one loop,
    independent of one another; without it, a dense trace takes each entry to depend on those before. ``index``: the elements of a
    subsample, by which ``replay`` knows whether a value is theirs. ``weight``: how many elements each of them stands for; that sites are
    scaled by it, a ``scale`` sees to.
    ``plate`` is built on this.

    ::

        def model():
            for i in range(3):
                yield from indep(flip, name="flips", vectorized=False)(i)    # frames ("flips", 1), ("flips", 2), ("flips", 3)

    **Laws**: frames are listed outermost first; values and log densities stay as they are; commutes with scale, mask,
    trace, condition, replay, uncondition and lift.
    **Obeys**: I.indep, I.entries, B.isolates, D.keeps, D.draws, R.reply; C.scale, C.mask, C.condition, C.substitute, C.block, C.trace,
    C.replay, C.do, C.lift, C.uncondition, C.infer_config, C.seed, C.escape, C.broadcast, C.trace.inside,
    C.condition.inside, C.replay.inside, C.uncondition.inside.
    Raises ``PlateError`` if the plate is entered inside itself, its dimension is taken by a plate around it, or ``size`` or ``dim`` is none;
    ``TypeError`` at a name or a flag that is none.
    """

    name: str = attrs.field(validator=of_type(str))
    vectorized: bool = attrs.field(validator=of_type(bool))
    dim: int | None = attrs.field(default=None, converter=whole)
    size: int | None = attrs.field(default=None, converter=whole)
    loop: object = attrs.field(default=None, eq=False, repr=False)
    index: torch.Tensor | None = attrs.field(default=None, repr=False)
    weight: float = attrs.field(default=1.0, repr=False)

    def __attrs_post_init__(self) -> None:
        check_number(self.name, "size", self.size)
        check_number(self.name, "dim", self.dim, -1)

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        entry = yield EnterPlate(self.name)
        frame = CondIndepStackFrame(
            self.name, entry.counter, self.vectorized, self._dimension(entry), self.size, self.loop, self.index, self.weight
        )
        alone = (frame,)

        def mark(message: Any) -> Message:
            inside: tuple[CondIndepStackFrame, ...] = message.cond_indep_stack
            return message.replaced("cond_indep_stack", alone + inside if inside else alone)  # type: ignore[no-any-return]  # a Site, EnterPlate or EnterMarkov

        def enter(inner: EnterPlate) -> Message:
            if inner.name == self.name:  # as it is called out here: in a scope, it has another name
                raise PlateError(self.name, "this plate is entered inside itself; give the inner plate another name, or wrap it in scope")
            return mark(inner)

        rule = Rule(up=mark)
        return (yield Handling(program, {Site: rule, EnterPlate: Rule(up=enter), EnterMarkov: rule}))

    def _dimension(self, entry: PlateEntry) -> int | None:
        taken = {frame.dim: frame.name for frame in entry.around if frame.dim is not None}
        if self.dim in taken:
            raise PlateError(
                self.name, f"its dimension {self.dim} is that of plate {taken[self.dim]!r} around it; leave dim out, or use another"
            )
        if self.dim is None and self.vectorized and self.size is not None:
            return next(dim for dim in count(-1, -1) if dim not in taken)
        return self.dim
