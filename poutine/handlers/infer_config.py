"""InferConfigPoutine: notes for inference algorithms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from poutine.messages import Message, Site
from poutine.poutine import Poutine
from poutine.program import Rule, Rules


@attrs.frozen(slots=False, eq=False, repr=False)
class InferConfigPoutine(Poutine):
    """Merges configuration into the ``infer`` of sites: ``config`` maps names to dictionaries, or a site to one.

    ::

        marked = infer_config(model, config={"z": {"enumerate": "parallel"}})
        marked = infer_config(model, config=lambda site: {"step": 0.1} if site.type == "sample" else {})

    **Laws**: ``infer_config({})`` is the identity; values and log densities stay as they are; the outer one wins a key.
    In ``poutine.laws``: H4, I.neutral, I.idempotent, I.infer_config, B.isolates, D.keeps, D.draws; C.scale, C.mask,
    C.condition, C.substitute, C.block, C.trace, C.replay, C.do, C.lift, C.uncondition, C.seed, C.escape, C.indep, C.broadcast.
    """

    config: Mapping[str, Mapping[str, Any]] | Callable[[Site], Mapping[str, Any]]

    def rules(self) -> Rules:
        config = self.config

        def merge(site: Site) -> Message:
            added = config(site) if callable(config) else config.get(site.name)
            return site.evolve(infer={**site.infer, **added} if site.infer else added) if added else site

        return {Site: Rule(up=merge)}
