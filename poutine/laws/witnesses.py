"""The pairs of handlers that do not commute, each with a witness: options for which the order makes a difference to ``model``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import torch
from torch.distributions import Normal

from poutine.handlers.indep import IndepPoutine
from poutine.laws.handlers import AtSite, link
from poutine.laws.links import Link
from poutine.messages import Observe, Param, Sample
from poutine.program import Coroutine
from poutine.trace_graph import Trace


def model() -> Coroutine[Any]:
    """A sample ``z``, a param ``w``, an observation ``y`` of both; and a param ``v`` in a plate that nothing broadcasts yet."""
    z = yield Sample("z", Normal(0.0, 1.0))
    w = yield Param("w", torch.tensor(0.5))
    yield Observe("y", Normal(z + w, 1.0), torch.tensor(1.0))

    def rows() -> Coroutine[Any]:
        return (yield Param("v", torch.tensor(0.0)))

    v = yield from IndepPoutine(rows, "p", True, -1, 2)()
    return z, w, v


def _value(kind: str, number: float, name: str = "z") -> Link:
    return link(kind, data={name: torch.tensor(number)}, strict=False)


def _guide(number: float) -> Trace:
    trace = Trace()
    for name in ("z", "w"):
        trace.add_node(name, Sample(name, Normal(0.0, 1.0)).evolve(value=torch.tensor(number)))
    return trace


_HIDE_Z: Final = link("block", hide=["z"])
_SCOPE: Final = link("scope", prefix="a")
_LIFT_W: Final = link("lift", prior={"w": Normal(0.0, 1.0)})
_REPLAY: Final = link("replay", guide_trace=_guide(3.0))
_AT_Z: Final = link("escape", escape_fn=AtSite("z"))
_UNCONDITION: Final = link("uncondition")

DO_NOT_COMMUTE: Final[Mapping[tuple[str, str], tuple[Link, Link]]] = MappingProxyType(
    {
        (one.name, other.name): (one, other)
        for one, other in (
            # Over the same name, the outer value wins, or the inner one.
            (_value("condition", 1.0), _value("condition", 2.0)),
            (_value("condition", 1.0), _value("substitute", 2.0)),
            (_value("substitute", 1.0), _value("substitute", 2.0)),
            (_value("substitute", 1.0), _REPLAY),
            (_REPLAY, link("replay", guide_trace=_guide(4.0))),
            (_value("do", 1.0), _value("do", 2.0)),
            (link("infer_config", config={"z": {"step": 1}}), link("infer_config", config={"z": {"step": 2}})),
            (link("seed", seed=1), link("seed", seed=2)),
            (_LIFT_W, link("lift", prior={"w": Normal(5.0, 1.0)})),
            # What is hidden is out of reach from outside.
            (_value("condition", 1.0), _HIDE_Z),
            (_value("substitute", 1.0), _HIDE_Z),
            (_REPLAY, _HIDE_Z),
            (_value("do", 1.0), _HIDE_Z),
            (_HIDE_Z, _AT_Z),
            (link("block", hide=["w"]), _LIFT_W),
            (link("block", hide_types=["observe"]), _UNCONDITION),
            # What an inner handler observes, an outer uncondition undoes.
            (_value("condition", 1.0), _UNCONDITION),
            # Outside of a scope, names are others.
            (_value("condition", 1.0), _SCOPE),
            (_value("substitute", 1.0), _SCOPE),
            (_value("do", 1.0), _SCOPE),
            (_REPLAY, _SCOPE),
            (_HIDE_Z, _SCOPE),
            (_LIFT_W, _SCOPE),
            (_SCOPE, link("infer_config", config={"z": {"step": 1}})),
            (_SCOPE, link("seed", seed=1)),
            (_SCOPE, _AT_Z),
            (_SCOPE, link("scope", prefix="b")),
            # A lifted param is a sample only outside of lift.
            (_value("condition", 1.0, "w"), _LIFT_W),
            (_value("do", 1.0, "w"), _LIFT_W),
            (_REPLAY, _LIFT_W),
            (_LIFT_W, link("seed", seed=1)),
            (_LIFT_W, link("escape", escape_fn=AtSite("w"))),
            # What passes it as a param is one value for all elements.
            (link("lift", prior={"v": Normal(0.0, 1.0)}), link("broadcast")),
            # Frames are listed outermost first.
            (link("indep", name="m", vectorized=True), link("indep", name="n", vectorized=True)),
            # A plate in a scope has another name outside.
            (link("indep", name="n", vectorized=True), _SCOPE),
        )
    }
)
