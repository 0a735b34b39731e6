"""Param: a site that is learnt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, ClassVar, Final

import attrs
import torch
from torch.distributions import constraints

from poutine.messages.frames import of_all, without_dim
from poutine.messages.message import Message, blank, checked_name
from poutine.messages.sample_observe import Sample
from poutine.messages.site import Site
from poutine.randomness import Key


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Param(Site):
    """``w = yield Param("w", torch.zeros(3), constraint=constraints.real)``: a learnable, constrained value.

    ``init`` is the constrained value that it starts from, or a callable that returns it; None if it must exist already.
    ``key`` is that of a choice: what a callable draws by.
    """

    type: ClassVar[str] = "param"
    init: Any = attrs.field(init=False)
    constraint: constraints.Constraint = attrs.field(init=False)
    key: Key | None = attrs.field(init=False, eq=False)

    def __init__(
        self,
        name: str,
        init: torch.Tensor | float | Callable[[], torch.Tensor] | None = None,
        constraint: constraints.Constraint = constraints.real,
        infer: Mapping[str, Any] | None = None,
    ) -> None:
        fields = self.__dict__
        fields["name"] = name if type(name) is str else checked_name(self, name)
        fields["init"] = init
        if constraint is not _REAL:
            fields["constraint"] = constraint
        if infer:
            fields["infer"] = infer

    def shared(self) -> Param:
        """This site, whose value is one for all elements of the vectorised plates around it so far, whatever it becomes further out."""
        return self.replaced("_shared", len(self.cond_indep_stack))

    def of_all_steps(self) -> Param:
        """This site, whose value is one for all steps of the markov loop around it, whatever it becomes further out."""
        return self.replaced("_of_all_steps", True)

    def lifted(self, prior: Any) -> Sample:
        """This site as a ``Sample`` from ``prior``, of which ``param_of`` tells what it was.

        Whoever lifts it gives later reads the same value, in other branches of a loop and for other elements of a plate, too: its frames are
        those of no branch and of no subsample, and its prior counts once, and not once for each element that those of a subsample stand for.
        In the dimension of a plate it lies only where it was lifted inside.
        """
        new = blank(Sample)
        fields = new.__dict__
        fields |= {field: value for field, value in self.__dict__.items() if field in _A_SITES}  # nothing that is a param's own
        fields["fn"], fields["_init"], fields["_constraint"] = prior, self.init, self.constraint
        if "_of_all_steps" in self.__dict__:
            fields["_of_all_steps"] = True
        if "cond_indep_stack" in fields:
            frames = fields["cond_indep_stack"]
            alone = len(frames) - self.__dict__.get("_shared", 0)
            fields["cond_indep_stack"] = (*map(of_all, frames[:alone]), *map(without_dim, frames[alone:]))
            if "scale" in fields:
                fields["scale"] = fields["scale"] / prod(frame.weight for frame in frames)
        return new


def param_of(site: Message) -> Param | None:
    """What a sample was before ``lifted``: of the same name, with its initial value and constraint. None of what was no param."""
    its = site.__dict__
    return Param(site.name, its["_init"], its.get("_constraint", _REAL)) if "_init" in its else None


def is_of_all_steps(site: Message) -> bool:
    """Whether a sample was a param where a markov loop was around it, and so is no site of one of the steps."""
    return "_of_all_steps" in site.__dict__


_A_SITES: Final = frozenset(field.name for field in attrs.fields(Site))
_REAL: Final = constraints.real
