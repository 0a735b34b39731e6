"""SeedPoutine: fixes the randomness of a part of a program."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import attrs

from poutine.messages import Choice, Message, Param, Sealed
from poutine.options import of_type, whole
from poutine.poutine import Poutine
from poutine.program import Rule, Rules


@attrs.frozen(slots=False, eq=False, repr=False)
class SeedPoutine(Poutine):
    """Every draw of the program is keyed by ``seed``, its site's name and the number of the visit inside this poutine.

    So is what the initial value of a parameter draws, the first time that it is read.
    It reaches hidden sites, too.

    ::

        frozen = seed(simulator, seed=7)       # the same draws under every run(frozen(), seed=...)

    **Laws**: the innermost seed wins; commutes with condition, replay, uncondition, substitute, scale, mask, block and trace.
    **Obeys**: H4, I.idempotent, I.seed, R.seed, D.keeps, R.reply; C.scale, C.mask, C.condition, C.substitute, C.block, C.trace, C.replay,
    C.do, C.uncondition, C.infer_config, C.escape, C.indep, C.broadcast.
    **Breaks**: H14, because what a hidden draw is keyed by is no part of what a block hides.
    """

    seed: int = attrs.field(converter=whole, validator=of_type(int))

    def rules(self) -> Rules:
        visits: defaultdict[str, int] = defaultdict(int)

        def key(site: Choice) -> Choice:
            visits[site.name] += 1  # for an observation, too: observing one visit moves no other draw
            return site if site.key is not None else site.replaced("key", (self.seed, site.name, visits[site.name]))

        def begin(param: Param) -> Param:
            return param if param.key is not None else param.evolve(key=(self.seed, param.name, 0))

        acts = {Choice: key, Param: begin}

        def reach(sealed: Sealed) -> Message:
            act: Any = next((acts[kind] for kind in acts if isinstance(sealed.message, kind)), None)
            return sealed if act is None else Sealed(act(sealed.message))

        return {Choice: Rule(up=key), Param: Rule(up=begin), Sealed: Rule(up=reach)}
