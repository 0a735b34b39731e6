"""ReplayPoutine: samples take their values from a trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from poutine.errors import AlreadyObserved
from poutine.frozen import Frozen
from poutine.messages import Choice, Message, Observe, Sample
from poutine.plate_sizes import check_elements, replayed
from poutine.poutine import Poutine
from poutine.program import Rule, Rules
from poutine.trace_graph import Trace, is_subsample


def _renaming(sites: Iterable[str] | Mapping[str, str] | None) -> Mapping[str, str] | None:
    if isinstance(sites, str):
        raise TypeError(f"expected names of sites, got the string {sites!r}; write [{sites!r}]")
    return None if sites is None else Frozen(sites if isinstance(sites, Mapping) else {name: name for name in sites})


def _copied(trace: Any) -> Trace:
    if not isinstance(trace, Trace):
        raise TypeError(f"expected a trace to replay, got {trace!r}; to give sites values from a mapping, use substitute")
    return trace.copy()


@attrs.frozen(slots=False, eq=False, repr=False)
class ReplayPoutine(Poutine):
    """Decides each sample whose name is in ``guide_trace`` with the value there; it stays a sample.

    ``sites`` are the names to replay, or a mapping from names in the model to names in the trace; without it, every sample
    of the trace is replayed, the indices of subsampled plates included.

    ::

        guide_trace = trace(guide).get_trace(x)
        model_trace = trace(replay(model, guide_trace)).get_trace(x)

    **Laws**: ``trace(replay(p, t)) ≈ t`` for a trace ``t`` of ``p``; a sample that is not in the trace keeps its draw; of two,
    the outer one wins; a condition wins over it in both orders. Raises ``AlreadyObserved`` at a site that is named in
    ``sites`` and that the model observes, ``ValueError`` if the trace lacks a name or does not sample it, ``PlateError`` (with both
    numbers) where a plate has another size here than the value has there, or other elements (a subsample's). The trace is copied.
    **Obeys**: H4, I.neutral, I.idempotent, I.replay, I.sites, B.isolates, C.data-wins, C.observed, R.given, R.index,
    R.replay, R.partial, R.prefix, R.reply; C.scale, C.mask, C.condition, C.trace, C.do, C.uncondition, C.infer_config,
    C.seed, C.escape, C.indep, C.broadcast.
    """

    guide_trace: Trace = attrs.field(converter=_copied)
    sites: Mapping[str, str] | None = attrs.field(default=None, converter=_renaming)

    def __attrs_post_init__(self) -> None:
        samples = self._samples()
        for name, source in (self.sites or {}).items():
            if source not in samples:
                raise ValueError(f"replay: site {name!r} is to be replayed from {source!r}, which is no sample of {self.guide_trace!r}")

    def rules(self) -> Rules:
        guides = self._samples()
        if self.sites is not None:
            guides = {name: guides[source] for name, source in self.sites.items()}
        indices = {name for name, guide in guides.items() if guide.infer and is_subsample(guide)}

        def decide(site: Sample) -> Message:
            guide = guides.get(site.name)
            if guide is None:
                return site
            return replayed(site, guide, site.name in indices)

        def fit(site: Choice) -> Message:
            guide = guides.get(site.name)
            if guide is not None and site.cond_indep_stack and site.value is guide.value:  # nobody further out has decided it
                check_elements(site, guide)
            return site

        def stand(site: Observe) -> Message:
            if self.sites is not None and site.name in self.sites and not site.conditioned:
                raise AlreadyObserved(
                    site.name, "it is named in replay's sites, but the model observes it; leave it out, or uncondition first"
                )
            return site

        in_plates = any(guide.cond_indep_stack for guide in guides.values())
        return {Sample: Rule(up=decide, down=fit if in_plates else None), Observe: Rule(up=stand)}

    def _samples(self) -> dict[str, Choice]:
        """The sites of the trace that are replayed, by name."""
        return {name: site for name, site in self.guide_trace.nodes.items() if isinstance(site, Sample) or is_subsample(site)}
