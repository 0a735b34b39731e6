"""BroadcastPoutine: expands distributions to the sizes of the plates around them."""

from __future__ import annotations

from typing import Any

import attrs

from poutine.elementwise import Elementwise, check_bare
from poutine.expansion import Entered, Frames, check_value, expanded, expanded_shape, gaps, plate_shape, sized, spread
from poutine.messages import Choice, EnterPlate, Message, Param, Sample, is_distribution
from poutine.poutine import Poutine
from poutine.program import Rule, Rules
from poutine.sharing import sharing


@attrs.frozen(slots=False, eq=False, repr=False)
class BroadcastPoutine(Poutine):
    """Expands the distribution of each site to the size of every vectorised plate in its ``cond_indep_stack``.

    ``plate`` puts it around ``indep``. A distribution without ``batch_shape`` is drawn and scored for each element (``Elementwise``);
    a bare callable draws for all elements at once. So is a value that a poutine further in has given. The index of a subsampled plate
    stays as it is.

    **Laws**: idempotent; the identity outside of vectorised plates with a size.
    **Obeys**: H4, I.neutral, I.idempotent, B.isolates, D.keeps, D.draws, R.reply, D.broadcast, D.index; C.scale, C.mask, C.condition, C.substitute,
    C.block, C.trace, C.replay, C.do, C.uncondition, C.scope, C.infer_config, C.seed, C.escape, C.indep, C.broadcast.
    Raises ``PlateError``, with a table of the sites of this entry so far, if a batch shape, or the shape of a value that is
    given, has another size than the plate in its dimension, or more than one element in a dimension between plates, or to the right of
    them, that belongs to none; if a value has batch dimensions to the left of all plates that are neither its distribution's nor a
    runtime's (``PlateEntry.wide``); if a distribution cannot be expanded; and if a param that was lifted further out has a value for each
    element.
    """

    def rules(self) -> Rules:
        entered = Entered()

        def enter(entry: EnterPlate) -> Message:
            entered.begin(entry.value)
            return entry

        def expand(site: Choice) -> Message:
            frames = sized(site.cond_indep_stack)
            if not frames or site.infer.get("is_subsample"):
                return site
            if site.is_deferred and not isinstance(site.fn, type):
                inside = site.fn.site if isinstance(site.fn, _Broadcast) else site  # a plate further in has come first
                return site.recast(fn=_Broadcast(inside, frames, entered))
            dist: Any = site.dist
            new = _broadcast(site, dist, frames, entered)
            made = site if new is dist else site.recast(fn=new, args=(), kwargs={})
            return spread(made) if site.is_decided and (isinstance(site, Sample) or site.conditioned) else made

        def fit(site: Choice) -> Message:
            fn, frames = site.fn, sized(site.cond_indep_stack)
            if not frames or not hasattr(site.value, "shape") or site.infer.get("is_subsample"):
                return site
            if isinstance(fn, _Broadcast):
                fn.given.append(site.value)  # which it checks when it is made
            elif is_distribution(fn) or isinstance(fn, type):
                dist: Any = site.dist
                if isinstance(dist, Elementwise):
                    dist.check(site.value)
                elif getattr(dist, "batch_shape", None) is not None:
                    check_value(site, dist, frames, entered)
            return site

        return {Choice: Rule(up=expand, down=fit), Param: sharing(), EnterPlate: Rule(down=enter)}


def _broadcast(site: Choice, dist: Any, frames: Frames, entered: Entered) -> Any:
    if getattr(dist, "batch_shape", None) is None:
        base = dist.base if isinstance(dist, Elementwise) else dist
        fixed = {frame.dim or 0 for frame in frames} | gaps(frames, entered.around).keys()
        return Elementwise(site.name, base, plate_shape(frames), frozenset(fixed), entered.wide)
    return expanded(site, dist, expanded_shape(site, dist, frames, entered))


@attrs.frozen(repr=False)
class _Broadcast:
    """A callable whose distribution, once it is made, is expanded to the plates' sizes; the value of a bare one must have them.

    When it is called is not for a poutine to say: it may draw. ``given`` is noted as the site comes down: it must fit, too.
    """

    site: Choice
    frames: Frames
    entered: Entered = attrs.field(eq=False)
    given: list[Any] = attrs.field(factory=list, eq=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        made = self.site.fn(*args, **kwargs)
        if is_distribution(made):
            site = self.site.replaced("value", self.given[0]) if self.given else self.site
            return _broadcast(site, made, self.frames, self.entered)
        check_bare(self.site.name, self, made, plate_shape(self.frames), self.entered.wide)
        return made

    def __repr__(self) -> str:
        return repr(self.site.fn)
