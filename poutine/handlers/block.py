"""BlockPoutine: hides sites from everything further out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from poutine.messages import Message, Sealed, Site
from poutine.options import as_names, of_type
from poutine.poutine import Poutine
from poutine.program import Rule, Rules


def _names(names: Iterable[str] | None) -> frozenset[str] | None:
    return as_names("block", names)


def _types(names: Iterable[str] | None) -> frozenset[str] | None:
    types = _names(names)
    known = {cls.type for cls in _subclasses(Site)} - {Site.type}
    for name in sorted((types or frozenset()) - known):
        cls = next((cls.__name__ for cls in _subclasses(Message) if cls.type == name), None)
        hint = f"; {cls} is no site, and passes: derive it from Site to hide it" if cls and name != Message.type else ""
        raise ValueError(f"block: {name!r} is the type of no site; the types are {', '.join(sorted(known))}{hint}")
    return types


def _subclasses(cls: type[Message]) -> Iterator[type[Message]]:
    for each in cls.__subclasses__():
        yield each
        yield from _subclasses(each)


@attrs.frozen(slots=False, eq=False, repr=False)
class BlockPoutine(Poutine):
    """Re-yields hidden sites sealed: no poutine further out sees or changes them; only the runtime opens them.

    No option at all hides everything. A site is hidden if its name is in ``hide``, or its type in ``hide_types``, or some
    expose option is given and neither ``expose`` nor ``expose_types`` names it. ``expose_all=True`` (or ``hide_all=False``)
    exposes all but what ``hide`` and ``hide_types`` name. Types are "sample", "observe", "param", "deterministic", and those of sites of
    your own. A name that no site has is no error: a block further in may have hidden it.

    Only sites are hidden. A message of any other type passes, whatever its name (H5): it asks somebody further out, and hidden it would get
    no answer. A message type of your own that is to be hidden is a subclass of ``Site``.

    A plate around it does not see what is hidden, either: inside of a vectorised plate, a hidden site that does not have the plate's size
    by itself is drawn once, for all elements. Put the block around the plate to hide what is drawn for each.

    ::

        inner = trace(model)
        outer = trace(block(inner, hide=["a"]))       # "a" is in the trace of inner, and not in that of outer

    **Laws**: ``block()`` isolates, ``h(block()(p)) ≈ block()(p)`` for an ``h`` that acts on sites; ``block(hide=A)(block(hide=B)(p)) ≈ block(hide=A | B)(p)``;
    ``block(hide=[])`` is the identity. Raises ``ValueError`` if one name or type is both hidden and exposed, or no site has such a type.
    **Obeys**: H4, I.neutral, I.idempotent, I.block, B.isolates, B.hides, B.types, B.exposes, B.inner, B.escape, B.outside; C.scale,
    C.mask, C.block, C.trace, C.infer_config, C.seed, C.indep, C.broadcast.
    """

    hide_all: bool = attrs.field(default=True, validator=of_type(bool))
    expose_all: bool = attrs.field(default=False, validator=of_type(bool))
    hide: frozenset[str] | None = attrs.field(default=None, converter=_names)
    expose: frozenset[str] | None = attrs.field(default=None, converter=_names)
    hide_types: frozenset[str] | None = attrs.field(default=None, converter=_types)
    expose_types: frozenset[str] | None = attrs.field(default=None, converter=_types)

    def __attrs_post_init__(self) -> None:
        for what, hidden, exposed in (("name", self.hide, self.expose), ("type", self.hide_types, self.expose_types)):
            both = (hidden or frozenset()) & (exposed or frozenset())
            if both:
                raise ValueError(f"block: the same {what} is hidden and exposed: {', '.join(sorted(both))}")

    def hides(self, site: Message) -> bool:
        """Whether ``site`` is hidden."""
        if site.name in (self.hide or ()) or site.type in (self.hide_types or ()):
            return True
        if self.expose_all or not self.hide_all:
            return False
        if self.expose is not None or self.expose_types is not None:
            return site.name not in (self.expose or ()) and site.type not in (self.expose_types or ())
        return self.hide is None and self.hide_types is None

    def rules(self) -> Rules:
        def seal(site: Site) -> Message:
            return Sealed(site) if self.hides(site) else site

        def unseal(site: Message) -> Message:
            return site.message if isinstance(site, Sealed) else site

        return {Site: Rule(up=seal, undo=unseal)}
