"""DoPoutine: interventions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
from torch.distributions import Distribution

from poutine.expansion import Entered, check_value, sized, spread
from poutine.messages import Choice, Message, Site
from poutine.program import Rule
from poutine.value_map import ValueMap


@attrs.frozen(slots=False, eq=False, repr=False)
class DoPoutine(ValueMap):
    """The program gets the intervened value of each site that ``data`` names; the world outside sees the natural site.

    This is the single-world intervention graph: the natural sample stays in the trace, with its density, and what depends
    on it inside depends on the intervened value instead.

    ::

        treated = do(model, data={"dose": torch.tensor(1.0)})

    **Laws**: ``do({})`` is the identity; ``condition(d)(do(e)(p)) ≈ do(e)(condition(d)(p))``: the trace has d, the model gets e.
    **Obeys**: H4, I.neutral, I.idempotent, I.do, B.isolates, C.scoped-names, C.intervened, I.strict, D.do,
    R.draws, R.given, R.shared; C.scale, C.mask, C.condition, C.substitute, C.trace, C.replay, C.uncondition, C.infer_config,
    C.seed, C.escape, C.indep, C.broadcast.
    The older reading, in which the site is gone: ``block(condition(model, data=e), hide=e)``.
    In a vectorised plate, a value that all elements share is expanded to the shape of a draw, as the model expects it.
    Raises ``UnusedNames`` as condition does, ``PlateError`` where the value does not fit the plates.

    Source: Richardson and Robins (2013), "Single World Intervention Graphs (SWIGs)".
    """

    kinds: ClassVar[tuple[type[Site], ...]] = (Choice,)

    def rule(self, act: Callable[[Choice], Message]) -> Rule:
        return Rule(down=act)

    def give(self, site: Choice, value: Any) -> Message:
        given = site.replaced("value", value)
        if not site.cond_indep_stack or not isinstance(site.fn, Distribution):
            return given
        given, frames = spread(given), sized(site.cond_indep_stack)
        if frames:  # a plate further out has seen the natural one
            check_value(given, site.fn, frames, Entered(wide=True))
        return given
