"""SubstitutePoutine: samples and parameters take given values."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from poutine.errors import AlreadyObserved
from poutine.expansion import spread
from poutine.messages import Choice, Message, Observe, Param, Sample, Site
from poutine.value_map import ValueMap


@attrs.frozen(slots=False, eq=False, repr=False)
class SubstitutePoutine(ValueMap):
    """Decides the samples and params that ``data`` (a mapping, or a ``Trace`` for its samples) names; they stay what they are.

    ::

        run(trace(substitute(model, data={"w": w, "z": z})).traced())    # its log_pdf is the model's at (w, z)

    **Laws**: ``substitute({})`` is the identity; of two, the outer one wins; associative.
    **Obeys**: H4, I.neutral, I.idempotent, I.outer-wins, B.isolates, C.scoped-names, C.observed, I.strict,
    R.given, R.shared, R.partial, R.substitute, R.reply; C.scale, C.mask, C.trace, C.do, C.lift, C.uncondition, C.infer_config,
    C.seed, C.escape, C.indep, C.broadcast.
    In a vectorised plate, a value that all elements share is expanded to the shape of a draw, as the model expects it.
    Raises ``AlreadyObserved`` at a site that the model itself observes, ``UnusedNames`` as condition does.
    """

    kinds: ClassVar[tuple[type[Site], ...]] = (Choice, Param)

    def give(self, site: Site, value: Any) -> Message:
        if isinstance(site, Observe) and not site.conditioned:
            raise AlreadyObserved(site.name, f"it cannot be substituted with {value!r}: the model observes it; uncondition first")
        given = site.replaced("value", value)
        return spread(given) if isinstance(given, Sample) and given.cond_indep_stack else given
