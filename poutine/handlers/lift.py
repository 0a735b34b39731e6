"""LiftPoutine: parameters become samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from poutine.messages import Choice, Deterministic, Message, Param, Sample, Sealed, blank, param_of
from poutine.named import check_used
from poutine.poutine import Poutine
from poutine.priors import as_prior, check_lifted, check_support
from poutine.program import Coroutine, Handling, Program, Rule


@attrs.frozen(slots=False, eq=False, repr=False)
class LiftPoutine(Poutine):
    """Turns each ``Param`` into a ``Sample`` from ``prior``: a distribution, a callable, or a mapping of names to either.

    A mapping lifts only the names in it. The sample keeps the scale, mask and frames of the param; a second read of the
    same param gets the same value, in another branch of a loop, too. Around a vectorised plate, what is read inside is one sample that the
    elements share, as they share the param (its prior counts once, whatever elements of a subsample stand for); inside of one, it is one for each.

    ::

        bayesian = lift(network, prior={"w": Independent(Normal(torch.zeros(3), 1.0), 1)})
        t = run(trace(network).traced(x))                           # one rule for params of different shapes
        bayesian = lift(network, prior={name: Normal(torch.zeros_like(t[name].value), 1.0) for name in t.param_nodes})

    **Laws**: ``lp(lift(prior)(p) at w) = log prior(w) + lp(substitute(w)(p))``; ``lift({})`` is the identity; the inner one of
    two wins; condition outside sees the lifted sites, inside it cannot.
    **Obeys**: I.neutral, I.idempotent, I.lift, I.read-again, I.strict, B.isolates, C.lifted-names, D.lift, D.prior, R.reply; C.scale,
    C.mask, C.substitute, C.trace, C.uncondition, C.infer_config, C.indep.
    Raises ``ParamError`` where the bounds of the prior's support are not inside those of the param's constraint (one that tells no
    support: where its draw is not), and where what is drawn, or read again, has not the shape of ``init`` (a callable is called for
    it, under the param's own key); ``UnusedNames`` at the end of a run that read no param of a name (``strict=False`` allows it).
    """

    prior: Any = attrs.field(converter=as_prior)
    strict: bool = True

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        prior, named = self.prior, isinstance(self.prior, Mapping)
        read: dict[str, None] = {}  # the params, where names are asked for
        sites: dict[str, Message] = {}  # what they have become
        name = ""  # of the param that is on its way
        is_again = False  # whether it has been read before

        def lift(param: Param) -> Message:
            nonlocal name, is_again
            mine = param.__dict__  # most have a name and an initial value, and looks at what they have not take time
            name, its = mine["name"], prior
            if named:
                read[name] = None
                if (its := prior.get(name)) is None:
                    return param
            if name in sites:  # which is no site of its own
                check_support(param, its)
                check_lifted(param, sites[name])
                is_again = True
                return Sealed(Deterministic(name, sites[name].value))
            if len(mine) > 2 or type(param) is not Param:
                check_support(param, its)
                return param.lifted(its)
            new = blank(Sample)  # as ``lifted`` makes it, whose call takes time
            fields = new.__dict__
            fields["name"], fields["fn"], fields["_init"] = name, its, mine["init"]
            return new

        def remember(site: Message) -> Message:
            nonlocal is_again
            if is_again:
                is_again = False
                return sites[name]
            sites[name] = site  # what is not lifted, too, for which nobody asks
            return site

        rules: dict[type[Message], Rule] = {Param: Rule(up=lift, down=remember)}
        if not (named and self.strict):
            return (yield Handling(program, rules))
        sampled: set[str] = set()

        def note(site: Choice) -> Message:
            if param_of(site) is not None:
                sampled.add(site.name)  # a lift further in was there before
            return site

        result = yield Handling(program, {**rules, Choice: Rule(up=note)})
        check_used(self, prior.keys() - sampled, read, "param")
        return result
