"""Particles of a guide and a model in lockstep: first all runs of the guide, then all of the model, each at the draws of its own.

Both are batches, so that the draws of many particles are one operation, and so are their densities.
**Law**: a particle weighs what it weighs alone (``weighing``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import attrs
import torch

from interpreters.batches.batch import Group, Scores
from interpreters.batches.batching import Batching, Given
from interpreters.batches.stacking import copies
from interpreters.errors import GuideMismatch
from interpreters.numeric import is_numeric
from interpreters.replies import as_index
from interpreters.weighted.particles import Particles
from interpreters.weighted.proposed import counted, log_proposal
from interpreters.weighted.scores import check_not_subsampled, score
from interpreters.weighted.varying import Collected, of_rows, prior_weight, with_draws
from interpreters.weighted.weighing import check_guided, computed_by_guide, in_range, not_in_model
from poutine import BlockPoutine, Choice, Coroutine, Deterministic, Fleet, Message, Observe, Program, Sample
from poutine.plate_sizes import check_elements, replayed
from poutine.trace_graph import duplicate, is_subsample

_LEAST: Final = 3  # as many are drawn and scored at once


def guided_in_lockstep(program: Program[Any], size: int, guide: Program[Any]) -> Coroutine[Particles]:
    """``size`` weighted particles. From further out only the draws and the parameters are visible. Raises ``GuideMismatch``, ``SubsampledWeight``."""
    particles: Particles = yield from BlockPoutine(_guided, hide_types=["observe", "deterministic"])(program, size, guide)
    return particles


def _guided(program: Program[Any], size: int, guide: Program[Any]) -> Coroutine[Particles]:
    proposals, named = Proposals(), Counter[str]()
    yield from _batch(guide, size, proposals, None, named)
    model = _Model(proposals, size)
    yield from _batch(program, size, model, model, named)
    return model.particles()


def _batch(program: Program[Any], size: int, noting: Proposals | _Model, given: Given | None, named: Counter[str]) -> Coroutine[None]:
    fleet: Fleet[Any] = Fleet(program, size)
    yield from Batching(fleet, size, False, _LEAST, _nothing, noting.note, False, given, named).coroutine()


def _nothing(request: Choice, site: Choice) -> None:
    """Groups are scored when they are noted: by then it is known whose they are."""


@attrs.frozen(eq=False)
class Proposal:
    """Draws of many particles that a guide made together.

    group:    they, finished.
    drawn:    their values, [number, *shape], as they were drawn; None if these are no numbers.
    values:   each one's, which the model may change in place.
    log_q:    their log densities in nats, [number, *batch_shape]; None if they were decided and not drawn.
    """

    group: Group
    drawn: torch.Tensor | None
    values: Sequence[Any]
    log_q: torch.Tensor | None

    def site(self, j: int) -> Any:
        """The finished site of the j-th."""
        group = self.group
        return group.site if group.stacked is None else group.stacked.site_of(group.site, self.values)(j)


class Proposals:
    """What the runs of a guide draw.

    computed:  the names of computed values, and the particles that have them.
    """

    def __init__(self) -> None:
        self.computed: dict[str, set[int]] = {}
        self._made: dict[str, dict[int, tuple[Proposal, int]]] = {}

    def note(self, group: Group) -> None:
        """Takes in a finished group. Raises ``GuideMismatch``, ``SubsampledWeight``, ``DuplicateSite``."""
        group = with_draws(group)
        site = group.site
        if isinstance(site, Observe):
            raise GuideMismatch(f"the guide observes {group.name!r}; a guide only draws")
        if isinstance(site, Deterministic):
            self.computed.setdefault(group.name, set()).update(group.members)
        if not isinstance(site, Sample):
            return
        log_q = None
        if not group.request.is_decided:
            check_not_subsampled(site)
            log_q = log_proposal(site)
            log_q = log_q if group.stacked is not None else log_q.unsqueeze(0)
        numbers = of_rows(site.value, group.rows).clone() if is_numeric(group.rows[0]) else None
        are_tensors = isinstance(group.rows[0], torch.Tensor)
        values: Sequence[Any] = copies(numbers) if numbers is not None and are_tensors else group.rows
        proposal = Proposal(group, numbers, values, log_q)
        known = self._made.setdefault(group.name, {})
        for j, i in enumerate(group.members):
            if i in known:
                before, k = known[i]
                raise duplicate(group.of(i) or site, before.site(k))
            known[i] = proposal, j

    def knows(self, name: str) -> bool:
        """Whether a guide has drawn there."""
        return name in self._made

    def of(self, name: str, i: int) -> tuple[Proposal, int] | None:
        """What particle ``i`` has at ``name``, and which of those it is."""
        return self._made.get(name, {}).get(i)

    def check_replayed(self, replayed: dict[str, set[int]]) -> None:
        """Raises ``GuideMismatch`` unless the model has all draws, by name and particle."""
        for name, made in self._made.items():
            for i in made.keys() - replayed.get(name, set()):
                if not is_subsample(made[i][0].group.site):
                    raise not_in_model(name, None)


class _Model:
    """The runs of a model at the draws of the guide's, weighed as they go."""

    def __init__(self, proposals: Proposals, size: int) -> None:
        self._proposals, self._size = proposals, size
        self._collected, self._scores = Collected(), Scores(size)
        self._replayed: dict[str, set[int]] = {}

    def particles(self) -> Particles:
        """Raises ``GuideMismatch``, ``DuplicateSite``, ``ValueError``."""
        self._proposals.check_replayed(self._replayed)
        return Particles(self._collected.draws(self._size), self._scores.sums().detach(), self._collected.trace)

    def knows(self, name: str) -> bool:
        return self._proposals.knows(name)

    def decide(self, i: int, request: Message) -> tuple[Message, Proposal] | None:
        """``request`` at the guide's draw, if there is one."""
        found = self._proposals.of(request.name, i)
        if found is None or not isinstance(request, Sample):
            return None
        proposal, j = found
        self._replayed.setdefault(request.name, set()).add(i)
        value, is_index = proposal.values[j], is_subsample(proposal.group.site)
        if not (is_index or request.cond_indep_stack):
            return request.replaced("value", value), proposal
        guide = proposal.site(j)
        given = replayed(request, guide, is_index)
        if given.value is guide.value:
            check_elements(given, guide)
        return given, proposal

    def settle(self, first: Any, members: Sequence[int], message: Any) -> Message:
        """Checks what a group was given. A draw outside of the range of its prior makes the weight zero, and another one stands in for it."""
        found = self._proposals.of(first.name, members[0])
        assert found is not None
        proposal, j = found
        if is_subsample(first):
            return message  # type: ignore[no-any-return]  # a Sample
        check_guided(first, proposal.site(j))
        inside, impossible = in_range(message)
        self._scores.add(members, impossible)
        return as_index(inside)

    def note(self, group: Group) -> None:
        """Weighs a finished group. Raises ``GuideMismatch``, and what its density raises."""
        group = with_draws(group)
        site: Any = group.site
        found = self._proposals.of(group.name, group.members[0])
        if isinstance(site, Sample):
            if not self._proposals.computed.get(group.name, set()).isdisjoint(group.members):
                raise computed_by_guide(group.name)
        elif isinstance(site, (Observe, Deterministic)):
            for i in group.members:
                if self._proposals.of(group.name, i) is not None:
                    raise not_in_model(group.name, group.of(i))
        if isinstance(site, Sample) and found is not None:
            group = self._weighed(group, site, found[0])
        elif isinstance(site, Choice):
            self._scores.add(group.members, prior_weight(group.request, site))
        self._collected.note(group)

    def _weighed(self, group: Group, site: Sample, proposal: Proposal) -> Group:
        """The group with its values as the guide drew them, whatever stood in for those."""
        self._scores.add(group.members, score(site))
        rows = [self._row(group.name, i) for i in group.members]
        every = rows == [*range(len(proposal.values))]
        if proposal.log_q is not None and not is_subsample(site):
            log_q = proposal.log_q if every else proposal.log_q[rows]
            self._scores.add(group.members, -_counted(group, site, log_q, proposal.group.site))
        if proposal.drawn is None:
            return group
        drawn = proposal.drawn if every else proposal.drawn[rows]
        return attrs.evolve(group, site=site.replaced("value", drawn[0] if group.stacked is None else drawn))

    def _row(self, name: str, i: int) -> int:
        found = self._proposals.of(name, i)
        assert found is not None
        return found[1]


def _counted(group: Group, site: Sample, log_q: torch.Tensor, theirs: Any) -> torch.Tensor:
    """What counts of the log densities of a group's draws."""
    dist: Any = site.dist
    if group.stacked is None:
        return counted(log_q[0], site, theirs.dist, getattr(dist, "batch_shape", log_q.shape[1:]))
    own = torch.as_tensor(group.rows[0]).shape
    return counted(log_q, site, theirs.dist, torch.Size((len(group.rows), *own[: len(own) - len(dist.event_shape)])))
