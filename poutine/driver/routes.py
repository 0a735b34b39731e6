"""The way of each type of message outwards, through the poutines around the program that yielded it, found once in a run.

The driver takes messages along it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from poutine.errors import BadRules
from poutine.messages import Message
from poutine.program import Coroutine, Rule, Rules, name_of


class Scope(dict[type, "Step"]):
    """The part of a run that is under one poutine's rules: from a message's type to its way outwards, found once.

    ``base`` is the index of the frame in which it begins. Scopes and steps refer outwards only: a cycle would keep all that
    a run made until the garbage collector comes.
    """

    __slots__ = ("base", "parent", "rules")

    def __init__(self, rules: Rules, parent: Scope | None, base: int) -> None:
        super().__init__()
        self.rules, self.parent, self.base = rules, parent, base

    def __missing__(self, kind: type) -> Step:
        if not issubclass(kind, Message):
            return FOREIGN
        unknown: list[Scope] = []
        scope: Scope | None = self
        while scope is not None and kind not in scope:  # a loop: scopes may be tens of thousands deep
            unknown.append(scope)
            scope = scope.parent
        step = OUT if scope is None else scope[kind]
        for scope in reversed(unknown):
            rule = next((scope.rules[cls] for cls in kind.__mro__ if cls in scope.rules), None)
            if rule is not None:
                step = Step(rule, scope.base, cast(Scope, scope.parent), step)  # the outermost scope has no rules
            scope[kind] = step
        return step


class Step:
    """One poutine's rule on the way of one type of message, and the step after it.

    ``base`` is that of the poutine's scope, and ``outside`` where its own messages begin.

    ``acts``: whether ``deed`` is for the program, too, and not only for poutines further in.

    ``quiet``: from here outwards nobody acts on the way up, and at most one, ``pending``, on the way down. That is the way
    of most messages (nobody, or one trace), and ``drive`` takes it without a detour.
    """

    __slots__ = ("acts", "around", "base", "deed", "outer", "outside", "pending", "quiet", "up")

    def __init__(self, rule: Rule, base: int, outside: Scope, outer: Step | None) -> None:
        self.up, self.around = rule.up, rule.around
        down = rule.down or rule.undo
        self.deed: Deed | None = None if down is None else (down, base)
        self.acts: bool = rule.undo is None
        self.base = base
        self.outside = outside
        self.outer: Step | None = outer
        self.pending: Pending = None if outer is None else outer.pending
        self.quiet: bool = self.up is None and self.around is None and (outer is None or outer.quiet)
        if self.deed is not None:
            self.quiet = self.quiet and self.pending is None
            self.pending = (self.deed, self.pending)


def check_rules(rules: Rules, coroutine: Coroutine[Any]) -> None:
    """Raises ``BadRules`` unless ``rules``, under which ``coroutine`` runs a program, are such: a rule that nobody finds would be silent."""
    if type(rules) is not dict and not isinstance(rules, Mapping):
        raise _bad_rules(coroutine, f"a mapping from message types to rules, got {rules!r}; a poutine without any returns {{}}")
    for kind, rule in rules.items():
        if not (isinstance(kind, type) and issubclass(kind, Message)):
            raise _bad_rules(coroutine, f"a message type, such as Sample, as a key, got {kind!r}")
        if type(rule) is not Rule and not isinstance(rule, Rule):
            raise _bad_rules(coroutine, f"a Rule for {kind.__name__}, got {rule!r}; write Rule(up=...), Rule(down=...) or Rule(around=...)")


def _bad_rules(coroutine: Coroutine[Any], expected: str) -> BadRules:
    frame = getattr(coroutine, "gi_frame", None)
    owner = None if frame is None else frame.f_locals.get("self")
    return BadRules(f"the rules of {name_of(coroutine) if owner is None else type(owner).__name__}: expected {expected}")


Deed = tuple[Callable[[Any], Message], int]  # what a poutine does on the way down, and the base of its scope
Pending = tuple[Deed, Any] | None  # who acts on the way down, outermost first
OUT: Final = Step(Rule(), 0, cast(Any, None), None)  # the way of a message that no poutine, or no further one, knows
FOREIGN: Final = Step(Rule(up=lambda yielded: yielded), 0, cast(Any, None), None)  # the way of what is no message
