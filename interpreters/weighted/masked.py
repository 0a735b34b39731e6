"""Latent sites under a mask: what importance sampling makes of them, and whether that can be felt.

A mask that is off takes the density of a site away. Whoever works with densities takes each of its values as likely as another then: NUTS,
elimination, enumeration. Importance sampling has to draw it from something, and weights by the density of that would have no variance, most
often: so it leaves the site the distribution that it is drawn from. Where nothing that counts depends on the value, as in the padding of
a sequence whose observations are masked, too, this is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from interpreters.finite import number_of_values, values_of
from interpreters.weighted.scores import score
from interpreters.weighted.weighing import Weighted
from poutine import Choice, ParamStore, Program, Sample, Trace, TracePoutine, run, same, substitute

_FEW: Final = 100  # values, or sites, each of which is looked at
_TRIES: Final = 3  # with other values each, of which by chance one may say the same of what depends on it


def masked_complaint(program: Program[Any], particle: Weighted, *, seed: int = 0, params: ParamStore | None = None) -> str | None:
    """A sentence on the latent sites of ``program`` that are masked off somewhere, if what counts depends on them; else None.

    It is found out by other values where the mask is off, in runs of their own: all that counts in ``particle`` is to stay as it is.
    Where that cannot be done, it is taken to matter.
    """
    off = {name: site for name, site in particle.trace.nodes.items() if name in particle.latent and _is_off(site)}
    if not off:
        return None
    matters = _judged(program, particle, seed, params)
    if not matters(off):
        return None
    felt = [name for name, site in off.items() if matters({name: site})] if 1 < len(off) < _FEW else []
    names = felt or [*off]
    shown = ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    subject, its = (f"sites {shown} are", "their values") if len(names) > 1 else (f"site {shown} is", "its value")
    return (
        f"{subject} masked off, and what counts depends on {its}: importance sampling keeps the distribution that a value is drawn from, as without the "
        "mask, while NUTS, elimination and enumeration take all values as equally likely; mask the observations alone, or sample from what is "
        "flat (ImproperUniform, with a guide)"
    )


def _is_off(site: Any) -> bool:
    return isinstance(site, Sample) and site.mask is not True and not bool(torch.as_tensor(site.mask).all())


def _judged(program: Program[Any], particle: Weighted, seed: int, params: ParamStore | None) -> Callable[[Mapping[str, Any]], bool]:
    """Tells of sites whether what counts depends on their values."""

    def counted(values: Mapping[str, Any]) -> dict[str, Any]:
        """The log densities of a run at ``values``."""
        given = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in values.items()}
        trace: Trace = run(TracePoutine(substitute(program.fn, data=given)).traced(*program.args, **program.kwargs), seed, params)
        return {name: score(site) for name, site in trace.nodes.items() if isinstance(site, Choice)}

    drawn = {name: site.value for name, site in particle.trace.nodes.items() if name in particle.latent and isinstance(site, Sample)}
    try:
        here = counted(drawn)
    except Exception:  # whatever a program says of values that it has not drawn
        return lambda off: True

    def matters(off: Mapping[str, Any]) -> bool:
        others = ({name: _other(site, turn) for name, site in off.items()} for turn in range(1, _TRIES + 1))
        try:
            return not all(same(counted({**drawn, **values}), here) for values in others)
        except Exception:
            return True

    return matters


def _other(site: Any, turn: int) -> torch.Tensor:
    """The value of ``site``, but another one where its mask is off: the next of a few, or a draw."""
    dist, value = site.dist, torch.as_tensor(site.value)
    event = getattr(dist, "event_shape", torch.Size())  # a user's may not tell
    batch = value.shape[: value.dim() - len(event)]
    off = ~torch.as_tensor(site.mask).expand(batch)
    number = number_of_values(dist)
    if number is None or number > _FEW:
        other: torch.Tensor = run(lambda: (yield Sample(f"{site.name}, again", dist)), turn)
    else:
        values = values_of(dist).to(value.dtype)
        is_it = value.unsqueeze(0) == values.reshape(number, *(1,) * len(batch), *event)
        places = is_it.reshape(number, *batch, -1).all(-1).to(torch.int8).argmax(0)
        other = values[(places + turn) % number]
    return torch.where(off.reshape(off.shape + (1,) * len(event)), other, value)
