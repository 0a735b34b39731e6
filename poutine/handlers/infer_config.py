"""InferConfigPoutine: notes for inference algorithms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from poutine.frozen import Frozen
from poutine.messages import Message, Site
from poutine.named import check_used
from poutine.poutine import Poutine
from poutine.program import Coroutine, Handling, Program, Rule

Notes = Mapping[str, Any]


def _checked(config: Any) -> Mapping[str, Notes] | Callable[[Site], Notes]:
    """``config``, of which a mapping is copied. Raises ``TypeError`` for what is none, and no function."""
    if callable(config):
        return config  # type: ignore[no-any-return]  # what it returns is looked at where it does
    if not isinstance(config, Mapping):
        raise TypeError(f"infer_config: expected a mapping from names to dictionaries, or a function from a site to one, got {config!r}")
    for name, notes in config.items():
        if not isinstance(notes, Mapping):
            raise TypeError(f"infer_config: expected a dictionary for {name!r}, like {{'step': 0.1}}, got {notes!r}")
    return Frozen(config)


@attrs.frozen(slots=False, eq=False, repr=False)
class InferConfigPoutine(Poutine):
    """Merges configuration into the ``infer`` of sites: ``config`` maps names to dictionaries, or a site to one.

    ::

        marked = infer_config(model, config={"z": {"enumerate": "parallel"}})
        marked = infer_config(model, config=lambda site: {"step": 0.1} if site.type == "sample" else {})

    **Laws**: ``infer_config({})`` is the identity; values and log densities stay as they are; the outer one wins a key.
    **Obeys**: H4, I.neutral, I.idempotent, I.infer_config, I.strict, B.isolates, D.keeps, D.draws, R.reply; C.scale, C.mask,
    C.condition, C.substitute, C.block, C.trace, C.replay, C.do, C.lift, C.uncondition, C.seed, C.escape, C.indep, C.broadcast.
    Raises ``UnusedNames`` at the end of a run that never reached a name of a mapping (``strict=False`` allows it), and ``TypeError``
    for what is no dictionary.
    """

    config: Mapping[str, Notes] | Callable[[Site], Notes] = attrs.field(converter=_checked)
    strict: bool = True

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        config = self.config
        # A plain dictionary is looked into in half of the time.
        added_to = _told(config) if callable(config) else _named(dict(config))
        seen: dict[str, None] = {}

        def merge(site: Site) -> Message:
            seen[site.name] = None
            added, infer = added_to(site), site.infer
            return site.replaced("infer", {**infer, **added} if infer else added) if added else site

        result = yield Handling(program, {Site: Rule(up=merge)})
        if self.strict and not callable(config):
            check_used(self, config, seen)
        return result


def _named(config: Mapping[str, Notes]) -> Callable[[Site], Notes | None]:
    return lambda site: config.get(site.name)


def _told(config: Callable[[Site], Any]) -> Callable[[Site], Notes | None]:
    def told(site: Site) -> Notes | None:
        notes = config(site)
        if notes and type(notes) is not dict and not isinstance(notes, Mapping):
            raise TypeError(f"infer_config: expected a dictionary for site {site.name!r}, got {notes!r} from {config!r}")
        return notes  # type: ignore[no-any-return]  # it is a mapping

    return told
