"""K. The graph of a trace."""

from __future__ import annotations

import pickle
from itertools import combinations
from typing import Any, Final

from hypothesis import strategies as st

from poutine.equality import same
from poutine.errors import DuplicateSite
from poutine.laws.branching import apart, branching
from poutine.laws.handlers import link
from poutine.laws.law import Case, Law, law
from poutine.laws.outcome import Outcome, outcome
from poutine.laws.probes import KeepingRuntime, error_of
from poutine.laws.traces import trace_of, values
from poutine.messages import Choice, Sample, Site
from poutine.program import Coroutine
from poutine.trace_graph import Trace, is_subsample

EDITS: Final = st.lists(st.tuples(st.sampled_from(("remove", "value", "edge", "add")), st.integers(0, 20), st.integers(0, 20)), max_size=5)


@law("K.forward", "dense edges go forward in the order of the trace, so there is no cycle", ("trace",), "dense traces")
def forward(case: Case) -> None:
    trace = _dense(case, case.chain_to_the_end(case.program()).fn, case.seed())
    order = {name: i for i, name in enumerate(trace)}
    for parent, child in trace.edges:
        case.expect(order[parent] < order[child], f"the edge from {parent!r} to {child!r} goes back")
        case.expect(child in trace.successors(parent) and parent in trace.predecessors(child), f"only one end knows the edge to {child!r}")


@law("K.provenance", "dense edges contain every true dependency", ("trace",), "dense traces")
def provenance(case: Case) -> None:
    bare, seed = case.program(first=("sample",) * 4), case.seed()
    whole = case.chain_to_the_end(bare)
    program, trace = whole.fn, _dense(case, whole.fn, seed)
    for name, value in case.draw(values(program)).items():
        if name not in trace or is_subsample(trace[name]):
            continue  # pragma: no cover  # which of the two random programs have is the dice's
        changed = _moved(outcome(program, seed=seed), outcome(link("do", data={name: value})(program), seed=seed))
        for child in changed & {other for other, site in trace.nodes.items() if isinstance(site, Choice) and not is_subsample(site)}:
            case.expect((name, child) in trace.edges, f"{child!r} depends on {name!r}, without an edge", whole.source)


@law(
    "K.branches",
    "each site is joined to all before it, but to those in other branches of a loop that both are in",
    ("trace",),
    "dense traces",
)
def branches(case: Case) -> None:
    program = case.draw(branching())
    trace = _dense(case, program, case.seed())
    places = trace["_RETURN"].value  # the program itself says where its sites are
    expected = {(parent, child) for parent, child in combinations(places, 2) if not apart(places[parent], places[child])}
    wrong = expected ^ set(trace.edges)
    case.expect(
        not wrong, f"of the edges from parent to child, {sorted(wrong)} are missing or too many; the sites are in {places}", repr(program)
    )


@law("K.copy", "editing a copy never changes the original", ("trace",))
def copies(case: Case) -> None:
    trace = case.trace(case.chain_to_the_end(case.program()).fn)
    trace.compute_batch_log_pdf()
    before = pickle.loads(pickle.dumps(trace))
    densities = dict(trace.compute_batch_log_pdf())
    copy = trace.copy()
    case.expect(copy == trace, f"the copy {copy} is not equal to {trace}")
    for edit, i, j in case.draw(EDITS):
        _edit(copy, edit, i, j)
    copy.compute_batch_log_pdf(lambda name, site: "edited" not in name and site.value is not _NOTHING)
    case.expect(trace == before, f"after the edits of its copy, the trace is {trace} instead of {before}")
    case.expect(same(trace.compute_batch_log_pdf(), densities), "after the edits of its copy, its densities are others")


@law("K.remove", "a node that is removed leaves the induced subgraph", ("trace",))
def removal(case: Case) -> None:
    trace = case.trace(case.chain_to_the_end(case.program()).fn)
    edges, names = trace.edges, list(trace)
    for name in [name for name in names if case.draw(st.booleans())]:
        trace.remove_node(name)
    left = [edge for edge in edges if edge[0] in trace and edge[1] in trace]
    case.expect(trace.edges == left, f"the edges left are {trace.edges} instead of {left}")
    case.expect(list(trace) == [name for name in names if name in trace], "the order has changed")
    for name in trace:
        ends = [*trace.successors(name), *trace.predecessors(name)]
        case.expect(all(end in trace for end in ends), f"{name!r} is still joined to one of {ends}")


@law("K.records", "a trace has each site of the program once, in order, as the outside left it", ("trace",))
def records(case: Case) -> None:
    program, seed = case.chain_to_the_end(case.program()).fn, case.seed()
    found, expected = case.trace(program, seed), trace_of(program, seed)
    names = ([name for name in trace if name not in ("_INPUT", "_RETURN")] for trace in (found, expected))
    left, right = names
    case.expect(left == right, f"it has {left} instead of {right}")
    for name in left:
        case.expect(same(found[name], expected[name]), f"site {name!r} is {found[name]} instead of {expected[name]}")
    case.expect(same(found["_RETURN"].value, expected["_RETURN"].value), f"it has {found['_RETURN']} instead of {expected['_RETURN']}")


@law("K.duplicates", "two sites of one name are an error at the second, before anything is drawn", ("trace",))
def duplicates(case: Case) -> None:
    program = case.program(asks=False)
    tracer: Any = case.handler(program)
    names = [site.name for site in outcome(program).sites if site.type != "param"]

    def twice() -> Coroutine[Any]:
        yield from program()
        return (yield from program())

    runtime = KeepingRuntime(lambda message: isinstance(message, Sample))
    error = error_of(tracer(twice).traced, runtime)  # without another trace around, which would refuse it, too
    found, expected = (type(error), getattr(error, "name", None)), (DuplicateSite, names[0]) if names else (type(None), None)
    source = "trace(model, and model again)"
    case.expect(found == expected, f"the end of the run: it raises {error!r}, and should {expected}", source)
    drawn = [message.name for message in runtime.arrived if message.name in names]  # and not what a block hides from the trace
    case.expect(len(drawn) == len({*drawn}), f"the second site of a name: {drawn} were drawn", source)


_NOTHING: Final = object()


def _edit(trace: Trace, edit: str, i: int, j: int) -> None:
    names = [name for name, site in trace.nodes.items() if isinstance(site, Site)]
    if not names:
        return  # pragma: no cover  # which random programs have no site is the dice's
    first, second = names[i % len(names)], names[j % len(names)]
    if edit == "remove":
        trace.remove_node(first)
    elif edit == "value":
        trace.set_value(first, _NOTHING)
    elif edit == "edge":
        trace.add_edge(first, second)
    elif f"edited_{first}" not in trace:  # pragma: no branch  # no edit, if the same one is drawn twice
        trace.add_node(f"edited_{first}", trace[first])


def _dense(case: Case, program: Any, seed: int) -> Trace:
    """The dense trace of a program: what a trace returns from inside."""
    tracer: Any = case.link("trace", graph_type="dense")(program)
    traced: Trace = outcome(tracer.traced, seed=seed).value
    return traced


def _moved(before: Outcome, after: Outcome) -> set[str]:
    """The sites that are different, or are there only once."""
    left, right = ({site.name: site for site in each.sites} for each in (before, after))
    return {name for name in {**left, **right} if name not in left or name not in right or not same(left[name], right[name])}


SECTION_K: Final[tuple[Law, ...]] = (forward, provenance, branches, copies, removal, records, duplicates)
