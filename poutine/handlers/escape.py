"""EscapePoutine: leaves the program at a site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from poutine.errors import NonlocalExit
from poutine.messages import Choice, Message
from poutine.poutine import Poutine
from poutine.program import Rule, Rules


@attrs.frozen(slots=False, eq=False, repr=False)
class EscapePoutine(Poutine):
    """Raises ``NonlocalExit`` at the first sample or observation for which ``escape_fn(site)`` is true.

    The site is not answered: nothing is drawn. ``exit.site`` is the request; a ``TracePoutine`` outside leaves its partial
    trace in ``exit.trace``.

    ::

        try:
            run(trace(escape(model, escape_fn=lambda site: site.name == "z"))())
        except NonlocalExit as exit:
            prefix = exit.trace

    **Laws**: ``escape(never)`` is the identity; never fires at a site that a block inside hides.
    **Obeys**: I.neutral, I.idempotent, B.isolates, B.escape, R.prefix; C.scale, C.mask, C.condition, C.substitute, C.trace,
    C.replay, C.do, C.uncondition, C.infer_config, C.seed, C.escape, C.indep, C.broadcast.
    Raises ``TypeError`` if ``escape_fn`` cannot be called.
    """

    escape_fn: Callable[[Choice], bool] = attrs.field(validator=lambda self, _, value: _check_callable(value))

    def rules(self) -> Rules:
        def leave(site: Choice) -> Message:
            if self.escape_fn(site):
                raise NonlocalExit(site)
            return site

        return {Choice: Rule(up=leave)}


def _check_callable(escape_fn: Any) -> None:
    if not callable(escape_fn):
        name = escape_fn if isinstance(escape_fn, str) else "z"
        raise TypeError(
            f"expected a function of a site as escape_fn, got {escape_fn!r}; write escape_fn=lambda site: site.name == {name!r}"
        )
