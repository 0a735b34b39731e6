"""ScopePoutine: puts names into a name space."""

from __future__ import annotations

import attrs

from poutine.messages import CondIndepStackFrame, EnterMarkov, EnterPlate, Message, Site
from poutine.options import of_type
from poutine.poutine import Poutine
from poutine.program import Rule, Rules


@attrs.frozen(slots=False, eq=False, repr=False)
class ScopePoutine(Poutine):
    """Renames every site, plate and markov loop to ``f"{prefix}/{name}"`` for what is further out; inside, the names stay.

    ::

        def twice():
            x = yield from scope(sub, prefix="a")()       # "a/x"
            y = yield from scope(sub, prefix="b")()       # "b/x"

    So a submodel that has a plate may be run in a plate of the same name, and twice: its plates are two.

    **Laws**: ``scope("")`` is the identity; ``scope(a)(scope(b)(p)) ≈ scope("a/b")(p)``;
    ``scope(a)(condition(d)(p)) ≈ condition({a/k: v})(scope(a)(p))``; log densities stay as they are.
    **Obeys**: H4, I.neutral, I.scope, I.names, B.isolates, C.scoped-names, D.keeps; C.scale, C.mask, C.trace, C.uncondition,
    C.broadcast.
    """

    prefix: str = attrs.field(validator=of_type(str))

    def rules(self) -> Rules:
        prefix = f"{self.prefix}/"

        # By identity: a frame further out may have any name. Each is kept beside its other name, so that the identity stays its own.
        outside: dict[int, tuple[CondIndepStackFrame, CondIndepStackFrame]] = {}
        inside: dict[int, CondIndepStackFrame] = {}

        def renamed(frame: CondIndepStackFrame) -> CondIndepStackFrame:
            if id(frame) not in outside:
                new = attrs.evolve(frame, name=prefix + frame.name)
                outside[id(frame)], inside[id(new)] = (frame, new), frame
            return outside[id(frame)][1]

        def enter(message: Message) -> Message:
            fields = message.__dict__  # which hold no frames at most sites; the class is asked more slowly
            if "cond_indep_stack" in fields:
                message = message.replaced("cond_indep_stack", tuple(map(renamed, message.cond_indep_stack)))
            return message.replaced("name", prefix + fields["name"])

        def leave(message: Message) -> Message:
            if inside and message.cond_indep_stack:
                message = message.replaced("cond_indep_stack", tuple(inside.get(id(frame), frame) for frame in message.cond_indep_stack))
            return message.replaced("name", message.name.removeprefix(prefix))

        rule = Rule(up=enter, undo=leave)
        return {Site: rule, EnterPlate: rule, EnterMarkov: rule} if self.prefix else {}
