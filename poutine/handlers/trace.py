"""TracePoutine: records what a program did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from poutine.dense import identify_dense_edges
from poutine.errors import NonlocalExit
from poutine.messages import EnterPlate, Message, Sample, Site
from poutine.options import one_of
from poutine.poutine import Poutine
from poutine.program import Coroutine, Handling, Program, Rule
from poutine.runtime import run
from poutine.trace_graph import GraphType, Input, Return, Trace, duplicate


@attrs.frozen(slots=False, eq=False, repr=False)
class TracePoutine(Poutine):
    """Records each finished site, as what is further out left it, in a ``Trace``; changes nothing.

    ::

        t = trace(model).get_trace(data)               # runs it, with seed 0: wrap the model in seed for another
        t = run(trace(model).traced(data), seed=3)     # the program whose value is the trace
        t = yield from trace(model).traced(data)       # so that a program can trace a program

    **Laws**: idempotent; a trace inside a block sees all. Raises ``DuplicateSite`` at the second yield of a name, before
    anything is drawn. A ``NonlocalExit`` that passes gets the partial trace.
    **Obeys**: H1, I.neutral, I.idempotent, B.isolates, B.inner, D.additive, D.memo, D.keeps, D.draws, R.reply, K.records, K.entries,
    K.duplicates, K.copy, K.remove, K.forward, K.branches, K.provenance; C.scale, C.mask, C.condition, C.substitute,
    C.block, C.trace, C.replay, C.do, C.lift, C.uncondition, C.scope, C.infer_config, C.seed, C.escape, C.indep,
    C.broadcast.
    """

    graph_type: GraphType | None = attrs.field(default=None, validator=one_of(None, "flat", "dense"))

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        return (yield from self._record(program, self._new()))

    def get_trace(self, *args: Any, **kwargs: Any) -> Trace:
        """Runs the program in the default runtime and returns its trace."""
        return run(self.traced(*args, **kwargs))

    def traced(self, *args: Any, **kwargs: Any) -> Program[Trace]:
        """The program whose value is the trace; what the program returned is ``trace["_RETURN"].value``."""
        return Program(self._traced, Program(self.fn, *args, **kwargs))

    def _traced(self, program: Program[Any]) -> Coroutine[Trace]:
        trace = self._new()
        yield from self._record(program, trace, _counting_plates())
        return trace

    def _new(self) -> Trace:
        return Trace(self.graph_type or "flat")

    def _record(self, program: Program[Any], trace: Trace, further: dict[type[Message], Rule] | None = None) -> Coroutine[Any]:
        trace.record(Input("_INPUT", program.args, program.kwargs, value=(program.args, program.kwargs)))
        new = _refuse_known(trace)
        try:
            value = yield Handling(program, {Site: Rule(down=trace.record), Sample: Rule(up=new, down=trace.record), **(further or {})})
            trace.record(Return("_RETURN", value=value))
        except NonlocalExit as exit:
            exit.trace = trace
            raise
        finally:
            if trace.graph_type == "dense":
                identify_dense_edges(trace)
        return value


def _refuse_known(trace: Trace) -> Callable[[Sample], Message]:
    def new(site: Sample) -> Message:
        if site.name in trace:
            raise duplicate(site, trace[site.name])
        return site

    return new


def _counting_plates() -> dict[type[Message], Rule]:
    """A traced program is a run of its own: its plates are counted from 1."""
    entries: dict[str, int] = {}

    def enter(entry: EnterPlate) -> Coroutine[Any]:
        outer = yield entry  # for the frames around it
        entries[entry.name] = entries.get(entry.name, 0) + 1
        return outer.evolve(value=attrs.evolve(outer.value, counter=entries[entry.name]))

    return {EnterPlate: Rule(around=enter)}
