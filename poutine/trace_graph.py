"""Trace: the ordered graph of what a program did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

import attrs
import torch

from poutine.equality import same
from poutine.errors import DuplicateSite, NoDensity
from poutine.messages import UNDECIDED, Choice, Deterministic, Message, Observe, Param, Sample, Site
from poutine.randomness import is_reparameterized

GraphType = Literal["flat", "dense"]
SiteFilter = Callable[[str, Any], bool]


@attrs.frozen(slots=False, eq=False, repr=False)
class Input(Message):
    """The node ``_INPUT``: the arguments that the program was run with."""

    type: ClassVar[str] = "args"
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(slots=False, eq=False, repr=False)
class Return(Message):
    """The node ``_RETURN``: ``value`` is what the program returned."""

    type: ClassVar[str] = "return"


class Trace:
    """An ordered, dict-backed graph of sites by name; ``_INPUT`` is first and ``_RETURN`` last.

    ``trace["x"].value`` and, as in the seed, ``trace.nodes["x"]["value"]``. Edges go from parent to child; ``graph_type`` is
    ``"flat"`` (no edges of its own) or ``"dense"``. Every list is in execution order. Log densities are computed at each call, and
    none is kept: it would go stale with what no trace sees, like a parameter that is changed in place, or the grad mode. So a program
    that changes in place what it has drawn, or what its distributions are made of, is scored at what has become of that.

    **Laws**: ``log_pdf`` is the sum of ``compute_batch_log_pdf`` and of ``batch_log_pdf``; editing a ``copy`` never changes
    the original; a node that is removed leaves the induced subgraph.
    """

    node_dict_factory: ClassVar[type[dict[str, Message]]] = dict

    def __init__(self, graph_type: GraphType = "flat") -> None:
        if graph_type not in ("flat", "dense"):
            raise ValueError(f'expected graph_type "flat" or "dense", got {graph_type!r}')
        self.graph_type: GraphType = graph_type
        self._nodes = self.node_dict_factory()
        self._children: dict[str, dict[str, None]] = {}
        self._parents: dict[str, dict[str, None]] = {}

    # The graph

    @property
    def nodes(self) -> Mapping[str, Any]:
        """The sites by name, in execution order (a read-only view)."""
        return MappingProxyType(self._nodes)

    @property
    def edges(self) -> list[tuple[str, str]]:
        """All edges, as pairs (parent, child) of names, by parent in execution order."""
        return [(parent, child) for parent in self._nodes for child in self._children.get(parent, ())]

    def successors(self, name: str) -> list[str]:
        """The children of ``name``, in the order in which their edges were added. Raises ``KeyError`` where there is no such node."""
        return list(self._children.get(self[name].name, ()))

    def predecessors(self, name: str) -> list[str]:
        """The parents of ``name``, in the order in which their edges were added. Raises ``KeyError`` where there is no such node."""
        return list(self._parents.get(self[name].name, ()))

    def add_node(self, name: str, site: Message | None = None, /, **attributes: Any) -> None:
        """Adds ``site``, or, as in the seed, a site of the given ``type`` ("sample", "observe", "param", ...) and attributes.

        Raises ``DuplicateSite`` if the name is taken by anything but a parameter that is read again.
        """
        self.record(_site(name, attributes) if site is None else site if site.name == name else site.evolve(name=name))

    def record(self, site: Message) -> Message:
        """Adds a finished site under its own name, and returns it."""
        known = self._nodes.setdefault(site.name, site)
        if known is site or (isinstance(known, Param) and isinstance(site, Param)):
            return site
        raise duplicate(site, known)

    def add_edge(self, parent: str, child: str) -> None:
        """Adds an edge, once however often it is added. Raises ``KeyError`` unless both are nodes."""
        self._children.setdefault(self[parent].name, {})[self[child].name] = None
        self._parents.setdefault(child, {})[parent] = None

    def remove_node(self, name: str) -> None:
        """Removes a node, with its edges."""
        for child in self.successors(name):
            del self._parents[child][name]
        for parent in self.predecessors(name):
            del self._children[parent][name]
        self._children.pop(name, None)
        self._parents.pop(name, None)
        del self._nodes[name]

    def set_value(self, name: str, value: Any) -> None:
        """Replaces the value of a node, which stays in its place."""
        self._nodes[name] = self[name].evolve(value=value)

    def copy(self) -> Self:
        """A trace of its own with the same sites."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._nodes = self.node_dict_factory()
        new._nodes.update(self._nodes)
        new._children = {parent: dict(children) for parent, children in self._children.items()}
        new._parents = {child: dict(parents) for child, parents in self._parents.items()}
        return new

    def to_networkx(self) -> Any:
        """A ``networkx.DiGraph`` with the sites as node attribute ``site``. Needs the extra ``graphs``."""
        try:
            import networkx  # an optional dependency
        except ImportError as error:
            raise ImportError("to_networkx needs networkx: pip install 'poutine[graphs]'") from error
        graph = networkx.DiGraph()
        graph.add_nodes_from((name, {"site": site}) for name, site in self._nodes.items())
        graph.add_edges_from(self.edges)
        return graph

    def __getitem__(self, name: str) -> Any:
        try:
            return self._nodes[name]
        except KeyError:
            raise KeyError(f"no site {name!r} in this trace; it has {', '.join(self._nodes) or '(none)'}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Trace)
            and self.graph_type == other.graph_type
            and list(self) == list(other)
            and same(self._nodes, other._nodes)
            and set(self.edges) == set(other.edges)
        )

    __hash__ = None  # type: ignore[assignment]  # it can be edited

    def __repr__(self) -> str:
        return f"<Trace, {self.graph_type}: {', '.join(self._nodes) or 'empty'}>"

    # Log densities, in nats

    def log_pdf(self, site_filter: SiteFilter | None = None) -> torch.Tensor:
        """The log density of the sample and observe sites (for which ``site_filter(name, site)`` is true): a scalar."""
        densities = self.compute_batch_log_pdf(site_filter).values()
        return sum((density.sum() for density in densities), start=torch.zeros(()))

    def batch_log_pdf(self, site_filter: SiteFilter | None = None) -> torch.Tensor:
        """The log density over the batch dimensions that all of the sites share; the other dimensions are summed.

        A dimension, counted from the right, is shared if every site has it in the same size.
        """
        batch = self.compute_batch_log_pdf(site_filter)
        densities = [
            density for name, density in batch.items() if not is_subsample(self._nodes[name])
        ]  # an index is in no batch: its zero is a scalar
        if not densities:
            return torch.zeros(())
        rank = min(density.dim() for density in densities)
        shared = [d for d in range(-rank, 0) if len({density.shape[d] for density in densities}) == 1]
        return sum((_sum_all_but(density, shared) for density in densities[1:]), start=_sum_all_but(densities[0], shared))

    def compute_batch_log_pdf(self, site_filter: SiteFilter | None = None) -> dict[str, torch.Tensor]:
        """The log density of each sample and observe site, scaled and masked, of the site's batch shape."""
        return {
            name: site.batch_log_pdf
            for name, site in self._nodes.items()
            if isinstance(site, Choice) and (site_filter is None or site_filter(name, site))
        }

    # Names of sites by kind, in execution order

    @property
    def stochastic_nodes(self) -> list[str]:
        """The sample sites, without the indices of subsampled plates."""
        return self._names(lambda site: isinstance(site, Sample) and not is_subsample(site))

    @property
    def observation_nodes(self) -> list[str]:
        """The observe sites, conditioned ones among them, without the indices of subsampled plates."""
        return self._names(lambda site: isinstance(site, Observe) and not is_subsample(site))

    @property
    def param_nodes(self) -> list[str]:
        """The param sites, each once."""
        return self._names(lambda site: isinstance(site, Param))

    @property
    def reparameterized_nodes(self) -> list[str]:
        """The sample sites whose distribution has ``rsample``."""
        return [name for name in self.stochastic_nodes if _is_reparameterized(self._nodes[name])]

    @property
    def nonreparam_stochastic_nodes(self) -> list[str]:
        """The sample sites whose distribution has no ``rsample``, bare callables among them."""
        return [name for name in self.stochastic_nodes if not _is_reparameterized(self._nodes[name])]

    def _names(self, wanted: Callable[[Message], bool]) -> list[str]:
        return [name for name, site in self._nodes.items() if wanted(site)]


def is_subsample(site: Message) -> bool:
    """True at the site in which a plate draws which of its elements take part."""
    return isinstance(site, Site) and bool(site.infer.get("is_subsample"))


def has_distribution(site: Choice) -> bool:
    """False at a site whose value comes from a bare callable, which has no density."""
    try:
        return site.dist is not None
    except NoDensity:
        return False


def duplicate(site: Message, known: Message) -> DuplicateSite:
    if is_subsample(site) and is_subsample(known):
        return DuplicateSite(
            site.name,
            "the plate of this name is entered a second time, and would draw another index; draw one before, and give both entries "
            "subsample=index, give each plate a name of its own, or wrap the submodel in scope",
        )
    return DuplicateSite(
        site.name,
        f"this name is taken in the trace by {known!r}; give every site of a run its own name, for example f'{site.name}_{{i}}' in a loop, "
        "or wrap the submodel in scope",
    )


def _is_reparameterized(site: Any) -> bool:
    return has_distribution(site) and is_reparameterized(site.dist)


def _sum_all_but(density: torch.Tensor, kept: list[int]) -> torch.Tensor:
    summed = [d for d in range(-density.dim(), 0) if d not in kept]
    return density.sum(dim=summed) if summed else density


def _site(name: str, attributes: dict[str, Any]) -> Message:
    kind, value = attributes.pop("type", "sample"), attributes.pop("value", UNDECIDED)
    fn, args, kwargs = attributes.pop("fn", None), attributes.pop("args", ()), attributes.pop("kwargs", {})
    attributes.pop("name", None)
    if attributes.pop("is_observed", False) and kind == "sample":
        kind = "observe"
    if kind == "args":
        return Input(name, args=args, kwargs=kwargs)
    if kind == "return":
        return Return(name, value=value)
    made: Site
    if kind == "sample":
        made = Sample(name, fn, *args, **kwargs).evolve(value=value)
    elif kind == "observe":
        made = Observe(name, fn, value, *args, **kwargs)
    elif kind == "param":
        made = Param(name, *args, **kwargs).evolve(value=value)
    elif kind == "deterministic":
        made = Deterministic(name, value)
    else:
        raise ValueError(f"node {name!r}: unknown type {kind!r}; pass a message of your own as add_node(name, message)")
    return made.evolve(**attributes) if attributes else made
