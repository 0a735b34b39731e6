"""What a dense trace tells: which site may depend on which, and which plates a Rao-Blackwellised estimator may exploit."""

from __future__ import annotations

import attrs
import torch

from poutine.messages import Choice, CondIndepStackFrame, Site, param_of
from poutine.trace_graph import Trace, has_distribution, is_subsample


def identify_dense_edges(trace: Trace) -> None:
    """Adds an edge to each sample or observe site from each earlier one, unless a sequential plate separates the two.

    Two branches of one loop over a sequential plate (frames of one name and ``loop``, and different counters) are independent given
    what is outside. Entries of a bare ``indep`` without a ``loop`` may each depend on the one before, and are joined.
    Indices of subsampled plates have no edges.

    **Law**: edges go forward in trace order, so there is no cycle; every true dependency is among them.
    """
    sites = [(site.name, _branches(site)) for site in trace.nodes.values() if isinstance(site, Choice) and not is_subsample(site)]
    for i, (child, mine) in enumerate(sites):
        for parent, others in sites[:i]:
            if not (mine and others and any(others.get(loop, counter) != counter for loop, counter in mine.items())):
                trace.add_edge(parent, child)


def _branches(site: Site) -> dict[tuple[str, int], int]:
    """Which branch of each loop over a sequential plate the site is in."""
    return {
        (frame.name, id(frame.loop)): frame.counter for frame in site.cond_indep_stack if not frame.vectorized and frame.loop is not None
    }


@attrs.frozen
class PlateUse:
    """One vectorised plate of a trace. ``problem`` is why an estimator must not exploit it, or None if it may."""

    name: str
    dim: int | None
    size: int | None
    sites: tuple[str, ...]
    problem: str | None

    @property
    def exploitable(self) -> bool:
        """True if an estimator may use that its elements are independent: there is no ``problem``."""
        return self.problem is None


def vectorized_plates(trace: Trace) -> dict[str, PlateUse]:
    """The vectorised plates of a trace, by name, and whether their independence may reduce the variance of an ELBO gradient.

    A plate may be exploited if each cost term inside it stands in its own element along the plate's dimension: the plate
    has a dimension and a size, every site in it has a log density of that size there, and no element is entered twice.
    Then the score of an element needs only the costs of the same element (Schulman et al. 2015, "Gradient estimation
    using stochastic computation graphs", section 3.2).
    """
    inside: dict[str, list[tuple[CondIndepStackFrame, Choice]]] = {}
    for site in trace.nodes.values():
        if isinstance(site, Choice) and not is_subsample(site):
            for frame in site.cond_indep_stack:
                if frame.vectorized and not (frame.dim is None and param_of(site)):  # a lifted param is one for all elements
                    inside.setdefault(frame.name, []).append((frame, site))
    densities = trace.compute_batch_log_pdf(lambda _, site: has_distribution(site))
    shapes = {name: density.shape for name, density in densities.items()}
    return {name: _use(name, entries, shapes) for name, entries in inside.items()}


def _use(name: str, entries: list[tuple[CondIndepStackFrame, Choice]], shapes: dict[str, torch.Size]) -> PlateUse:
    frame = entries[0][0]
    return PlateUse(name, frame.dim, frame.size, tuple(site.name for _, site in entries), _problem(frame, entries, shapes))


def _problem(frame: CondIndepStackFrame, entries: list[tuple[CondIndepStackFrame, Choice]], shapes: dict[str, torch.Size]) -> str | None:
    if frame.dim is None or frame.size is None:
        return "it has no dimension or size; use plate(name, size) instead of a bare indep"
    if {(other.dim, other.size) for other, _ in entries} != {(frame.dim, frame.size)}:
        return "it was entered with different dimensions or sizes, whose elements do not correspond"
    if len({other.counter for other, _ in entries}) > 1:
        return "it was entered more than once, and the elements of one entry need not be those of another"
    for _, site in entries:
        shape = shapes.get(site.name)
        if shape is None:
            return f"site {site.name!r} is a bare callable, which has no log density"
        if len(shape) < -frame.dim or shape[frame.dim] != frame.size:
            return f"the log density of site {site.name!r} has shape {tuple(shape)}, without size {frame.size} at dimension {frame.dim}"
    return None
