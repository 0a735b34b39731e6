"""ScopePoutine: puts names into a name space."""

from __future__ import annotations

import attrs

from poutine.messages import Message, Site
from poutine.options import of_type
from poutine.poutine import Poutine
from poutine.program import Rule, Rules


@attrs.frozen(slots=False, eq=False, repr=False)
class ScopePoutine(Poutine):
    """Renames every site to ``f"{prefix}/{name}"`` for what is further out; inside, the names stay.

    ::

        def twice():
            x = yield from scope(sub, prefix="a")()       # "a/x"
            y = yield from scope(sub, prefix="b")()       # "b/x"

    **Laws**: ``scope("")`` is the identity; ``scope(a)(scope(b)(p)) ≈ scope("a/b")(p)``;
    ``scope(a)(condition(d)(p)) ≈ condition({a/k: v})(scope(a)(p))``; log densities stay as they are.
    **Obeys**: H4, I.neutral, I.scope, B.isolates, C.scoped-names, D.keeps; C.scale, C.mask, C.trace, C.uncondition,
    C.indep, C.broadcast.
    """

    prefix: str = attrs.field(validator=of_type(str))

    def rules(self) -> Rules:
        prefix = f"{self.prefix}/"

        def enter(site: Site) -> Message:
            return site.replaced("name", prefix + site.name)

        def leave(site: Message) -> Message:
            return site.replaced("name", site.name.removeprefix(prefix))

        return {Site: Rule(up=enter, undo=leave)} if self.prefix else {}
