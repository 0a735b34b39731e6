"""The kinds of statements that random programs are written with, and where each may stand."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import poutine.laws.write_parts as write_parts
import poutine.laws.write_sites as write_sites
from poutine.laws.writer import Kinds

_DEEPEST: Final = 3

# In the order in which they shrink: towards the first. What most programs are made of is there more than once.
KINDS: Final[Kinds] = (
    *[(write_sites.sample, lambda allowed, scope, depth: True)] * 6,
    *[(write_sites.observe, lambda allowed, scope, depth: allowed.observations)] * 2,
    (write_sites.learn, lambda allowed, scope, depth: allowed.params),
    *[(write_sites.read, lambda allowed, scope, depth: bool(scope.params))] * 2,
    (write_sites.record, lambda allowed, scope, depth: True),
    (write_sites.weigh, lambda allowed, scope, depth: allowed.observations),
    (write_sites.ask, lambda allowed, scope, depth: allowed.asks),
    *[(write_sites.tell, lambda allowed, scope, depth: allowed.messages is not None)] * 4,
    *[(write_sites.again, lambda allowed, scope, depth: allowed.duplicates and bool(scope.names))] * 3,
    (write_parts.branch, lambda allowed, scope, depth: depth < _DEEPEST and not scope.rows),
    *[(write_parts.repeat, lambda allowed, scope, depth: depth < _DEEPEST)] * 2,
    *[(write_parts.guard, lambda allowed, scope, depth: depth < _DEEPEST)] * 2,
    (write_parts.rescue, lambda allowed, scope, depth: depth < _DEEPEST and not scope.rows),
    *[(write_parts.call, lambda allowed, scope, depth: allowed.submodels and depth < _DEEPEST)] * 2,
    *[(write_parts.handled, lambda allowed, scope, depth: allowed.submodels and allowed.handlers and depth < _DEEPEST)] * 3,
    *[(write_parts.handled, lambda allowed, scope, depth: bool(scope.rows) and allowed.submodels and allowed.handlers and depth < _DEEPEST)]
    * 5,
    (write_parts.recursion, lambda allowed, scope, depth: allowed.submodels and depth < _DEEPEST),
    *[(write_parts.rows, lambda allowed, scope, depth: allowed.plates and depth < _DEEPEST)] * 2,
    (write_parts.elements, lambda allowed, scope, depth: allowed.plates and depth < _DEEPEST),
    (write_parts.entry, lambda allowed, scope, depth: allowed.plates and depth < _DEEPEST),
    (write_parts.steps, lambda allowed, scope, depth: allowed.loops and allowed.submodels and depth < _DEEPEST),
)

FIRST: Final = MappingProxyType(
    {
        "sample": write_sites.sample,
        "observe": write_sites.observe,
        "param": write_sites.learn,
        "constrained": write_sites.learn_constrained,
        "computed": write_sites.record,
        "factor": write_sites.weigh,
        "ask": write_sites.ask,
        "message": write_sites.tell,
    }
)
