"""LiftPoutine: parameters become samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from poutine.messages import Message, Param, Sample
from poutine.poutine import Poutine
from poutine.program import Coroutine, Rule, Rules


@attrs.frozen(slots=False, eq=False, repr=False)
class LiftPoutine(Poutine):
    """Turns each ``Param`` into a ``Sample`` from ``prior``: a distribution, a callable, or a mapping of names to either.

    A mapping lifts only the names in it. The sample keeps the scale, mask and frames of the param; a second read of the
    same param gets the same value.

    ::

        bayesian = lift(network, prior={"w": Independent(Normal(torch.zeros(3), 1.0), 1)})

    **Laws**: ``lp(lift(prior)(p) at w) = log prior(w) + lp(substitute(w)(p))``; ``lift({})`` is the identity; the inner one of
    two wins; condition outside sees the lifted sites, inside it cannot.
    In ``poutine.laws``: I.neutral, I.idempotent, I.lift, B.isolates, C.lifted-names, D.lift; C.scale, C.mask, C.substitute,
    C.trace, C.uncondition, C.infer_config, C.indep.
    """

    prior: Any

    def rules(self) -> Rules:
        lifted: dict[str, Message] = {}

        def lift(param: Param) -> Coroutine[Any]:
            prior = self._prior_of(param.name)
            if prior is None:
                return (yield param)
            if param.name not in lifted:
                sample = Sample(param.name, prior, infer=param.infer)
                lifted[param.name] = yield sample.evolve(
                    value=param.value, scale=param.scale, mask=param.mask, cond_indep_stack=param.cond_indep_stack
                )
            return lifted[param.name]

        return {Param: Rule(around=lift)}

    def _prior_of(self, name: str) -> Callable[..., Any] | Any:
        return self.prior.get(name) if isinstance(self.prior, Mapping) else self.prior
