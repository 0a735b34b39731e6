"""LiftPoutine: parameters become samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from torch.distributions import constraints

from poutine.bounds import check_lifted, check_support, shape_of
from poutine.frozen import Frozen
from poutine.messages import Choice, Deterministic, Message, Param, Sealed, is_distribution
from poutine.named import check_used
from poutine.poutine import Poutine
from poutine.program import Coroutine, Handling, Program, Rule


def _checked(prior: Any) -> Any:
    """``prior``, of which a mapping is copied. Raises ``TypeError`` for what is no prior."""
    named = Frozen(prior) if isinstance(prior, Mapping) else None
    for each in [prior] if named is None else named.values():
        if not (is_distribution(each) or callable(each)):
            raise TypeError(f"lift: expected a distribution, a callable that returns one, or a mapping from names to these, got {prior!r}")
    return prior if named is None else named


@attrs.frozen(slots=False, eq=False, repr=False)
class LiftPoutine(Poutine):
    """Turns each ``Param`` into a ``Sample`` from ``prior``: a distribution, a callable, or a mapping of names to either.

    A mapping lifts only the names in it. The sample keeps the scale, mask and frames of the param; a second read of the
    same param gets the same value, in another branch of a loop, too. Around a vectorised plate, what is read inside is one sample that the
    elements share, as they share the param; inside of one, it is one for each.

    ::

        bayesian = lift(network, prior={"w": Independent(Normal(torch.zeros(3), 1.0), 1)})

    **Laws**: ``lp(lift(prior)(p) at w) = log prior(w) + lp(substitute(w)(p))``; ``lift({})`` is the identity; the inner one of
    two wins; condition outside sees the lifted sites, inside it cannot.
    **Obeys**: I.neutral, I.idempotent, I.lift, I.read-again, I.strict, B.isolates, C.lifted-names, D.lift, D.prior, R.reply; C.scale,
    C.mask, C.substitute, C.trace, C.uncondition, C.infer_config, C.indep.
    Raises ``ParamError`` where the bounds of the prior's support are not inside those of the param's constraint (one that tells no
    support: where its value is not), or its draws have not the shape of ``init`` (a callable is called for it, under the param's own
    key); ``UnusedNames`` at the end of a run that read no param of a name (``strict=False`` allows it).
    """

    prior: Any = attrs.field(converter=_checked)
    strict: bool = True

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        prior, named = self.prior, isinstance(self.prior, Mapping)
        shape, real = shape_of(prior), constraints.real
        read: dict[str, None] = {}  # the params, where names are asked for
        sites: dict[str, Message] = {}  # what those that are lifted have become
        way: Param | bool = False  # the one on its way: True if its prior fits it, itself if that is to be seen, False if it is not lifted

        def lift(param: Param) -> Message:
            nonlocal way
            name = param.name
            if name in sites:  # read again, which is no site of its own
                way = False
                return Sealed(Deterministic(name, sites[name].value))
            its = prior
            if named:
                read[name] = None
                if (its := prior.get(name)) is None:
                    way = False
                    return param
            if param.constraint is not real:
                check_support(param, its)
            try:
                way = param.init.shape == shape or param
            except AttributeError:  # a callable, or no tensor
                way = param
            return param.lifted(its)

        def remember(site: Message) -> Message:
            if way is False:
                return sites[site.message.name] if isinstance(site, Sealed) else site
            if way is not True:
                check_lifted(way, site)
            sites[site.name] = site
            return site

        rules: dict[type[Message], Rule] = {Param: Rule(up=lift, down=remember)}
        if not (named and self.strict):
            return (yield Handling(program, rules))
        sampled: set[str] = set()

        def note(site: Choice) -> Message:
            if site.name in prior:
                sampled.add(site.name)  # a lift further in was there before
            return site

        result = yield Handling(program, {**rules, Choice: Rule(up=note)})
        check_used(self, prior.keys() - sampled, read, "param")
        return result
