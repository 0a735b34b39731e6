"""A param inside of vectorised plates, whose elements share it: its value is one for all, whatever it becomes further out."""

from __future__ import annotations

from torch.distributions import Distribution

from poutine.errors import PlateError
from poutine.expansion import Frames, misfits, sized
from poutine.messages import Message, Param
from poutine.program import Rule


def sharing() -> Rule:
    """What each run of a plate's broadcasting does with the params inside."""
    plates: Frames = ()  # of the param that is on its way; what it comes back as may be in none of their dimensions

    def ask(param: Param) -> Message:
        nonlocal plates
        plates = sized(param.cond_indep_stack)
        return param.shared() if plates else param

    def share(site: Message) -> Message:
        return _checked(site, plates)

    return Rule(up=ask, down=share)


def _checked(site: Message, plates: Frames) -> Message:
    """``site``, which has gone up as a param in ``plates``: if it was lifted further out, its one value is that of all elements of the plates.

    Raises ``PlateError`` if it has more elements in their dimensions than its distribution: each would count.
    """
    dist = site.get("fn")
    if not plates or not isinstance(dist, Distribution):
        return site
    given = tuple(getattr(site.value, "shape", ()))
    if misfits(given, (*dist.batch_shape, *dist.event_shape), len(dist.event_shape) - min(frame.dim or 0 for frame in plates)):
        raise PlateError(
            site.name,
            f"the elements of plate {plates[0].name!r} share its value: expected shape {tuple(dist.batch_shape + dist.event_shape)}, got {given}; "
            "lift it inside of the plate to have one for each",
        )
    return site
