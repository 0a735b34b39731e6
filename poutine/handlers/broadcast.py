"""BroadcastPoutine: expands distributions to the sizes of the plates around them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from poutine.elementwise import Elementwise, check_bare
from poutine.expansion import Shapes, check_value, expanded, expanded_shape, plate_shape, spread
from poutine.messages import Choice, CondIndepStackFrame, EnterPlate, Message, Sample, is_distribution
from poutine.poutine import Poutine
from poutine.program import Rule, Rules


@attrs.frozen(slots=False, eq=False, repr=False)
class BroadcastPoutine(Poutine):
    """Expands the distribution of each site to the size of every vectorised plate in its ``cond_indep_stack``.

    ``plate`` puts it around ``indep``. A distribution without ``batch_shape`` is drawn and scored for each element (``Elementwise``);
    a bare callable draws for all elements at once. So is the value of a sample that a poutine further in has given. The index of a
    subsampled plate stays as it is.

    **Laws**: idempotent; the identity outside of vectorised plates with a size.
    **Obeys**: H4, I.neutral, I.idempotent, B.isolates, D.keeps, D.draws, R.reply, D.broadcast; C.scale, C.mask, C.condition, C.substitute,
    C.block, C.trace, C.replay, C.do, C.uncondition, C.scope, C.infer_config, C.seed, C.escape, C.indep, C.broadcast.
    Raises ``PlateError``, with a table of the sites of this entry so far, if a batch shape, or the shape of a value that is
    given, has another size than the plate in its dimension, or a value has batch dimensions to the left of all plates that are
    neither its distribution's nor a runtime's (``PlateEntry.wide``); and if a distribution cannot be expanded.
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
                inside = site.fn.site if isinstance(site.fn, _Broadcast) else site  # a plate further in has come first
                return site.evolve(fn=_Broadcast(inside, frames, table, wide))
            dist: Any = site.dist
            new = _broadcast(site, dist, frames, table, wide)
            made = site if new is dist else site.evolve(fn=new, args=(), kwargs={})
            return spread(made) if site.is_decided and isinstance(site, Sample) else made

        def fit(site: Choice) -> Message:
            if hasattr(site.value, "shape") and (is_distribution(site.fn) or isinstance(site.fn, type)):
                dist: Any = site.dist  # a callable's checks its own, when it is made
                if isinstance(dist, Elementwise):
                    dist.check(site.value)
                elif getattr(dist, "batch_shape", None) is not None and not site.infer.get("is_subsample"):
                    check_value(site, dist, _sized(site), table, wide)
            return site

        return {Choice: Rule(up=expand, down=fit), EnterPlate: Rule(down=enter)}


def _sized(site: Choice) -> tuple[CondIndepStackFrame, ...]:
    """The frames of the vectorised plates around a site that have a size."""
    return tuple(frame for frame in site.cond_indep_stack if frame.dim is not None and frame.size is not None)


def _broadcast(site: Choice, dist: Any, frames: Iterable[CondIndepStackFrame], table: Shapes, wide: bool) -> Any:
    if getattr(dist, "batch_shape", None) is None:
        base, dims = dist.base if isinstance(dist, Elementwise) else dist, frozenset(frame.dim for frame in frames if frame.dim is not None)
        return Elementwise(site.name, base, plate_shape(frames), dims, wide)
    return expanded(site, dist, expanded_shape(site, dist, frames, table))


@attrs.frozen(repr=False)
class _Broadcast:
    """A callable whose distribution, once it is made, is expanded to the plates' sizes; the value of a bare one must have them.

    When it is called is not for a poutine to say: it may draw.
    """

    site: Choice
    frames: tuple[CondIndepStackFrame, ...]
    table: Shapes = attrs.field(eq=False)
    wide: bool

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        made = self.site.fn(*args, **kwargs)
        if is_distribution(made):
            return _broadcast(self.site, made, self.frames, self.table, self.wide)
        check_bare(self.site.name, self, made, plate_shape(self.frames), self.wide)
        return made

    def __repr__(self) -> str:
        return repr(self.site.fn)
