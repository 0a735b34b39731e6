"""BroadcastPoutine: expands distributions to the sizes of the plates around them."""

from __future__ import annotations

from typing import Any

import attrs

from poutine.expansion import Shapes, check_value, expanded_shape
from poutine.messages import Choice, CondIndepStackFrame, EnterPlate, Message, is_distribution
from poutine.poutine import Poutine
from poutine.program import Rule, Rules


@attrs.frozen(slots=False, eq=False, repr=False)
class BroadcastPoutine(Poutine):
    """Expands the distribution of each site to the size of every vectorised plate in its ``cond_indep_stack``.

    ``plate`` puts it around ``indep``. A distribution without ``batch_shape`` (the index of a subsampled plate, say) and the value
    of a bare callable stay as they are.

    **Laws**: idempotent; the identity outside of vectorised plates with a size.
    **Obeys**: H4, I.neutral, I.idempotent, B.isolates, D.keeps, D.draws, R.reply, D.broadcast; C.scale, C.mask, C.condition, C.substitute,
    C.block, C.trace, C.replay, C.do, C.uncondition, C.scope, C.infer_config, C.seed, C.escape, C.indep, C.broadcast.
    Raises ``PlateError``, with a table of the sites of this entry so far, if a batch shape, or the shape of a value that is
    given, has another size than the plate in its dimension, or a value has batch dimensions to the left of all plates that are
    neither its distribution's nor a runtime's (``PlateEntry.wide``).
    """

    def rules(self) -> Rules:
        table: Shapes = []
        wide = False

        def enter(entry: EnterPlate) -> Message:
            nonlocal wide
            wide = entry.value.wide
            return entry

        def expand(site: Choice) -> Message:
            frames = _sized(site)
            if not frames or site.infer.get("is_subsample"):
                return site
            if site.is_deferred and not isinstance(site.fn, type):
                return site.evolve(fn=_Broadcast(site, frames, table))
            dist: Any = site.dist
            if getattr(dist, "batch_shape", None) is None:
                return site
            shape = expanded_shape(site, dist, frames, table)
            return site if shape == dist.batch_shape else site.evolve(fn=dist.expand(shape), args=(), kwargs={})

        def fit(site: Choice) -> Message:
            if hasattr(site.value, "shape") and (is_distribution(site.fn) or isinstance(site.fn, type)):
                dist: Any = site.dist  # a callable's checks its own, when it is made
                if getattr(dist, "batch_shape", None) is not None and not site.infer.get("is_subsample"):
                    check_value(site, dist, _sized(site), table, wide)
            return site

        return {Choice: Rule(up=expand, down=fit), EnterPlate: Rule(down=enter)}


def _sized(site: Choice) -> tuple[CondIndepStackFrame, ...]:
    """The frames of the vectorised plates around a site that have a size."""
    return tuple(frame for frame in site.cond_indep_stack if frame.dim is not None and frame.size is not None)


@attrs.frozen(repr=False)
class _Broadcast:
    """A callable whose distribution, once it is made, is expanded to the plates' sizes; the value of a bare one stays as it is.

    When it is called is not for a poutine to say: it may draw.
    """

    site: Choice
    frames: tuple[CondIndepStackFrame, ...]
    table: Shapes = attrs.field(eq=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        made = self.site.fn(*args, **kwargs)
        if not is_distribution(made) or getattr(made, "batch_shape", None) is None:
            return made
        shape = expanded_shape(self.site, made, self.frames, self.table)
        return made if shape == made.batch_shape else made.expand(shape)

    def __repr__(self) -> str:
        return repr(self.site.fn)
