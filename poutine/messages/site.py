"""Site and Deterministic: what all sites have, and the one that only names a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import torch

from poutine.messages.frames import CondIndepStackFrame
from poutine.messages.message import Message, checked_name


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Site(Message):
    """What all of the built-in sites have: ``scale``, ``mask``, ``cond_indep_stack`` and ``infer``.

    scale:  positive factor of the log density, a number or a tensor that broadcasts to the batch shape.
    mask:   where the log density counts, a bool or a bool tensor that broadcasts to the batch shape.
    cond_indep_stack:  the frames of the plates around the site, outermost first.
    infer:  free-form configuration for inference algorithms.
    """

    scale: float | torch.Tensor = attrs.field(init=False)
    mask: bool | torch.Tensor = attrs.field(init=False)
    cond_indep_stack: tuple[CondIndepStackFrame, ...] = attrs.field(init=False)
    infer: Mapping[str, Any] = attrs.field(init=False)


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Deterministic(Site):
    """``yield Deterministic("theta", mu + tau * z)``: names a computed value in the trace; has no density."""

    type: ClassVar[str] = "deterministic"

    def __init__(self, name: str, value: Any) -> None:
        fields = self.__dict__
        fields["name"] = name if type(name) is str else checked_name(self, name)
        fields["value"] = value
