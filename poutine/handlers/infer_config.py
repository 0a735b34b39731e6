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


def _fixed(config: Any) -> Any:
    if not callable(config) and not isinstance(config, Mapping):
        raise TypeError(
            f"infer_config: expected a mapping from names to dictionaries, or a function of the site, as config, got {config!r}"
        )
    return config if callable(config) else Frozen(config)


@attrs.frozen(slots=False, eq=False, repr=False)
class InferConfigPoutine(Poutine):
    """Merges configuration into the ``infer`` of sites: ``config`` maps names to dictionaries, or a site to one.

    ::

        marked = infer_config(model, config={"z": {"enumerate": "parallel"}})
        marked = infer_config(model, config=lambda site: {"step": 0.1} if site.type == "sample" else {})

    **Laws**: ``infer_config({})`` is the identity; values and log densities stay as they are; the outer one wins a key.
    **Obeys**: H4, I.neutral, I.idempotent, I.infer_config, B.isolates, D.keeps, D.draws; C.scale, C.mask, C.condition,
    C.substitute, C.block, C.trace, C.replay, C.do, C.lift, C.uncondition, C.seed, C.escape, C.indep, C.broadcast.
    Raises ``UnusedNames`` at the end of a run that never reached a name of a mapping (``strict=False`` allows it).
    """

    config: Mapping[str, Mapping[str, Any]] | Callable[[Site], Mapping[str, Any]] = attrs.field(converter=_fixed)
    strict: bool = True

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        config = self.config
        added_to = config if callable(config) else _named(config)
        seen: dict[str, None] = {}

        def merge(site: Site) -> Message:
            seen[site.name] = None
            added, infer = added_to(site), site.infer
            return site.replaced("infer", {**infer, **added} if infer else added) if added else site

        result = yield Handling(program, {Site: Rule(up=merge)})
        if self.strict and not callable(config):
            check_used(self, config, seen)
        return result


def _named(config: Mapping[str, Mapping[str, Any]]) -> Callable[[Site], Mapping[str, Any] | None]:
    return lambda site: config.get(site.name)
