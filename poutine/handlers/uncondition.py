"""UnconditionPoutine: observations become samples."""

from __future__ import annotations

import attrs

from poutine.messages import Observe
from poutine.poutine import Poutine
from poutine.program import Rule, Rules


@attrs.frozen(slots=False, eq=False, repr=False)
class UnconditionPoutine(Poutine):
    """Turns every observation of the program, its own and the conditioned ones, into an undecided sample.

    ::

        predict = uncondition(model)           # run(predict(data)) draws new data

    **Laws**: idempotent; ``uncondition(condition(p, data))`` is in distribution ``p``, if ``p`` has no observations;
    does not commute with condition: the outer one wins.
    **Obeys**: H4, I.idempotent, B.isolates, R.uncondition, R.predict, R.reply; C.scale, C.mask, C.substitute, C.trace, C.replay,
    C.do, C.lift, C.uncondition, C.scope, C.infer_config, C.seed, C.escape, C.indep, C.broadcast.
    """

    def rules(self) -> Rules:
        return {Observe: Rule(up=Observe.unobserved)}
