"""ConditionPoutine: samples become observations."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from poutine.errors import AlreadyObserved
from poutine.expansion import spread
from poutine.messages import Choice, Message, Observe, Sample, Site
from poutine.value_map import ValueMap


@attrs.frozen(slots=False, eq=False, repr=False)
class ConditionPoutine(ValueMap):
    """Observes the samples that ``data`` names: a mapping from names to values, or a ``Trace`` for the values of its samples.

    ::

        posterior_target = condition(model, data={"y": y})

    The model gets each value as it is given: a Python number stays one, exact to double precision, so give a tensor where the model calls
    a tensor's methods. In a vectorised plate, a value that all elements share is expanded to the shape of a draw, as the model expects it.

    **Laws**: ``lp(condition(d)(p) at z) = lp(p at (z, d))``; ``condition({})`` is the identity; of two, the outer one wins.
    **Obeys**: H4, I.neutral, I.idempotent, I.outer-wins, B.isolates, C.scoped-names, C.lifted-names, C.intervened,
    C.data-wins, C.observed, D.condition, D.do, I.strict, R.condition, R.draws, R.given, R.reply; C.scale,
    C.mask, C.trace, C.replay, C.do, C.infer_config, C.seed, C.escape, C.indep, C.broadcast.
    Raises ``AlreadyObserved`` at a site that the model itself observes (uncondition first), ``UnusedNames`` at the end of
    a run that never reached a name (``strict=False`` allows it).
    """

    kinds: ClassVar[tuple[type[Site], ...]] = (Choice,)

    def give(self, site: Choice, value: Any) -> Message:
        if isinstance(site, Sample):
            given = site.observed(value)
        elif isinstance(site, Observe) and site.conditioned:
            given = site.replaced("value", value)
        else:
            raise AlreadyObserved(site.name, f"it cannot be conditioned on {value!r}: the model observes it already; uncondition first")
        return spread(given) if given.cond_indep_stack else given
