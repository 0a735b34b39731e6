"""ReplayPoutine: samples take their values from a trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from poutine.errors import AlreadyObserved, PlateError
from poutine.messages import Choice, Message, Observe, Sample
from poutine.poutine import Poutine
from poutine.program import Rule, Rules
from poutine.trace_graph import Trace, is_subsample


def _renaming(sites: Iterable[str] | Mapping[str, str] | None) -> Mapping[str, str] | None:
    if isinstance(sites, str):
        raise TypeError(f"expected names of sites, got the string {sites!r}; write [{sites!r}]")
    return sites if sites is None or isinstance(sites, Mapping) else {name: name for name in sites}


def _check_trace(trace: Any) -> None:
    if not isinstance(trace, Trace):
        raise TypeError(f"expected a trace to replay, got {trace!r}; to give sites values from a mapping, use substitute")


def _check_size(site: Sample, guide: Choice) -> None:
    """Indices into a plate of another size may lie inside of this one by chance."""
    here, there = (getattr(fn, "size", None) for fn in (site.fn, guide.fn))
    if here != there:
        raise PlateError(site.name, f"the plate has size {here} here, and {there} in the trace that is replayed; give both one size")


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
    ``sites`` and that the model observes, ``ValueError`` if the trace lacks a name or does not sample it.
    **Obeys**: H4, I.neutral, I.idempotent, I.replay, B.isolates, R.replay, R.partial, R.prefix; C.scale, C.mask,
    C.condition, C.trace, C.do, C.uncondition, C.infer_config, C.seed, C.escape, C.indep, C.broadcast.
    """

    guide_trace: Trace = attrs.field(validator=lambda self, _, trace: _check_trace(trace))
    sites: Mapping[str, str] | None = attrs.field(default=None, converter=_renaming)

    def __attrs_post_init__(self) -> None:
        samples = self._samples()
        for name, source in (self.sites or {}).items():
            if source not in samples:
                raise ValueError(f"replay: site {name!r} is to be replayed from {source!r}, which is no sample of {self.guide_trace!r}")

    def rules(self) -> Rules:
        samples = self._samples()
        nodes = self.guide_trace.nodes
        sources = {name: name for name in samples} if self.sites is None else self.sites

        indices = {name for name, site in nodes.items() if is_subsample(site)}

        def decide(site: Sample) -> Message:
            source = sources.get(site.name)
            if source in indices:
                _check_size(site, nodes[source])
            return site if source is None else site.replaced("value", nodes[source].value)

        def stand(site: Observe) -> Message:
            if self.sites is not None and site.name in self.sites and not site.conditioned:
                raise AlreadyObserved(
                    site.name, "it is named in replay's sites, but the model observes it; leave it out, or uncondition first"
                )
            return site

        return {Sample: Rule(up=decide), Observe: Rule(up=stand)}

    def _samples(self) -> set[str]:
        trace = self.guide_trace
        return {name for name, site in trace.nodes.items() if isinstance(site, Sample) or is_subsample(site)}
