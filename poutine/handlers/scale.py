"""ScalePoutine: multiplies log densities."""

from __future__ import annotations

from math import inf
from numbers import Real
from typing import Any

import attrs
import numpy
import torch

from poutine.factoring import misfit
from poutine.messages import Choice, Message, Param, Site
from poutine.poutine import Poutine
from poutine.program import Rule, Rules


def _plain(scale: Any) -> Any:
    return float(scale) if isinstance(scale, numpy.floating) else scale


@attrs.frozen(slots=False, eq=False, repr=False)
class ScalePoutine(Poutine):
    """Multiplies the scale of every site by ``scale``, a positive number or tensor (which broadcasts to the batch shape).

    ::

        def coin(data):
            p = yield Sample("p", Beta(2.0, 2.0))
            yield Observe("y", Bernoulli(p).expand([10]), data)

        half = scale(coin, scale=0.5)          # a tempered model: its log density is half of the model's

    **Laws**: ``lp(scale(a)(p)) = a * lp(p)``; ``scale(a)(scale(b)(p)) ≈ scale(a * b)(p)``; ``scale(1.0)`` is the identity;
    commutes with mask, indep, trace, condition, replay, uncondition and lift.
    **Obeys**: H4, I.neutral, I.scale, B.isolates, D.scale, D.draws, R.reply; C.scale, C.mask, C.condition,
    C.substitute, C.block, C.trace, C.replay, C.do, C.lift, C.uncondition, C.scope, C.infer_config, C.seed, C.escape, C.indep, C.broadcast,
    C.scale.inside, C.mask.inside, C.indep.inside, C.trace.inside, C.condition.inside, C.replay.inside,
    C.uncondition.inside.
    Raises ``ValueError`` if ``scale`` is not positive everywhere; to switch a site off, there is mask. A log density raises
    ``DistributionError`` if ``scale`` has more elements than a site.
    """

    scale: float | torch.Tensor = attrs.field(converter=_plain, validator=lambda self, _, value: _check_positive(value))

    def rules(self) -> Rules:
        factor = self.scale

        def multiply(site: Site) -> Message:
            try:
                return site.replaced("scale", site.scale * factor)
            except RuntimeError as error:
                raise misfit(site, "scale", site.scale, factor) from error

        rule = Rule(up=multiply)
        return {Choice: rule, Param: rule}


def _check_positive(scale: Any) -> None:
    if isinstance(scale, bool) or not isinstance(scale, (Real, torch.Tensor)):
        raise TypeError(f"expected a positive number or tensor as scale, got {scale!r}")
    tensor = torch.as_tensor(scale)
    if not torch._is_all_true(
        (tensor > 0) & (tensor < inf)
    ):  # as torch's own validation asks, which vmap and tracers can be made to answer
        raise ValueError(
            f"expected a positive scale that is finite, got {scale!r}; to switch sites off use mask, whose gradient is exactly zero"
        )
