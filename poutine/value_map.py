"""ValueMap: the base of the poutines that give sites values by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs

from poutine.frozen import Frozen
from poutine.messages import Message, Param, Sample, Site
from poutine.named import check_used
from poutine.poutine import Poutine
from poutine.program import Coroutine, Handling, Program, Rule
from poutine.trace_graph import Trace, is_subsample


def _values(data: Mapping[str, Any] | Trace) -> Mapping[str, Any]:
    """A trace stands for the values of its samples, the indices of subsampled plates included."""
    if isinstance(data, Trace):
        return Frozen((name, site.value) for name, site in data.nodes.items() if isinstance(site, Sample) or is_subsample(site))
    if not isinstance(data, Mapping):
        raise TypeError(f"expected a mapping from names to values, or a trace, got {data!r}")
    return Frozen(data)


@attrs.frozen(slots=False, eq=False, repr=False)
class ValueMap(Poutine):
    """Acts on the sites of the types ``kinds`` that ``data`` (a mapping, or a trace for its samples) names.

    At the end of a run, names that no site of these types had raise ``UnusedNames``, unless ``strict`` is false.
    """

    kinds: ClassVar[tuple[type[Site], ...]] = ()

    data: Mapping[str, Any] = attrs.field(converter=_values)
    strict: bool = True

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        data, give = dict(self.data), self.give  # a plain dictionary is looked into in half of the time
        seen: dict[str, None] = {}

        def act(site: Any) -> Message:
            name = site.name
            seen[name] = None
            return give(site, data[name]) if name in data else site

        result = yield Handling(program, dict.fromkeys(self.kinds, self.rule(act)))
        if self.strict:
            check_used(self, data, seen, "sample, an observation or a param" if Param in self.kinds else "sample or an observation")
        return result

    def rule(self, act: Callable[[Any], Message]) -> Rule:
        """Whether it acts on the way up, on requests, or on the way down, on finished sites."""
        return Rule(up=act)

    def give(self, site: Any, value: Any) -> Message:
        """What becomes of a site that ``data`` names."""
        raise NotImplementedError  # pragma: no cover  # each subclass says it
