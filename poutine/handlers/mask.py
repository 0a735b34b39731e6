"""MaskPoutine: switches log densities off."""

from __future__ import annotations

from typing import Any

import attrs
import numpy
import torch

from poutine.factoring import misfit
from poutine.messages import Choice, Message, Param, Site
from poutine.poutine import Poutine
from poutine.program import Rule, Rules


def _plain(mask: Any) -> Any:
    return bool(mask) if isinstance(mask, numpy.bool_) else mask


@attrs.frozen(slots=False, eq=False, repr=False)
class MaskPoutine(Poutine):
    """The log density of every site counts only where ``mask`` (a bool, or a bool tensor that broadcasts to the batch shape) is True.

    ::

        def series(y, seen):
            mu = yield Sample("mu", Normal(0.0, 1.0))
            yield from mask(observations, mask=seen)(mu, y)     # y may be nan where seen is False

    Mask the observations alone, as here. A latent site that is masked has no density: to what works with densities (NUTS, elimination, enumeration)
    all of its values are equally likely, which is improper for a continuous one unless something else bounds it, while importance sampling
    keeps the distribution that it is drawn from. In padded sequences, where nothing that counts depends on it, the posterior of all else is the same.

    **Laws**: ``lp(mask(m)(p)) = sum(where(m, lp, 0))``, with a gradient of exactly zero where ``m`` is off, even where the
    density is infinite or nan there; ``mask(m)(mask(n)(p)) ≈ mask(m & n)(p)``; ``mask(True)`` is the identity; draws stay
    as they are; commutes with scale, indep, trace, condition, replay, uncondition and lift.
    **Obeys**: H4, I.neutral, I.idempotent, I.mask, B.isolates, D.mask, D.mask-gradient, D.draws, R.reply; C.scale, C.mask,
    C.condition, C.substitute, C.block, C.trace, C.replay, C.do, C.lift, C.uncondition, C.scope, C.infer_config, C.seed,
    C.escape, C.indep, C.broadcast, C.indep.inside, C.trace.inside, C.condition.inside, C.replay.inside,
    C.uncondition.inside.
    Raises ``TypeError`` if ``mask`` is not boolean. A log density raises ``DistributionError`` if ``mask`` has more elements than a site.
    """

    mask: bool | torch.Tensor = attrs.field(converter=_plain, validator=lambda self, _, value: _check_boolean(value))

    def rules(self) -> Rules:
        mask = self.mask

        def narrow(site: Site) -> Message:
            inner = site.mask
            try:
                return site.replaced("mask", mask if inner is True else _both(inner, mask))
            except RuntimeError as error:
                raise misfit(site, "mask", inner, mask) from error

        rule = Rule(up=narrow)
        return {Choice: rule, Param: rule}


def _both(a: bool | torch.Tensor, b: bool | torch.Tensor) -> bool | torch.Tensor:
    if isinstance(a, bool):
        return b if a else False
    if isinstance(b, bool):
        return a if b else False
    return a & b


def _check_boolean(mask: Any) -> None:
    if not isinstance(mask, bool) and not (isinstance(mask, torch.Tensor) and mask.dtype == torch.bool):
        raise TypeError(f"expected a bool or a bool tensor as mask, got {mask!r}")
