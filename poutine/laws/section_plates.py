"""I, R, D and K, continued: plates, loops and the entries of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from hypothesis import strategies as st
from torch.distributions import Normal

from poutine.errors import PlateError
from poutine.laws.families import LOCATED, REALS
from poutine.laws.handlers import link
from poutine.laws.law import Case, Law, law
from poutine.laws.links import written
from poutine.laws.outcome import Failure, outcome
from poutine.laws.probes import NotingPoutine
from poutine.laws.traces import trace_of
from poutine.markov import markov
from poutine.messages import Choice, Deterministic, EnterMarkov, EnterPlate, Message, Sample, Site
from poutine.plates import plate
from poutine.program import Coroutine

SIZES: Final = st.integers(2, 4)
Names = tuple[str, tuple[str, ...]]  # of a message, and of the plates around it


@law(
    "I.names",
    "scope(a)∘p asks for a/x, a/q and a/m where p asks for a site x, a plate q and a loop m; all come back under their own names, and so do "
    "the plates around them",
    ("scope",),
)
def all_names_are_scoped(case: Case) -> None:
    program, seed = case.program(), case.seed()
    handler = case.handler(program)
    prefix = "".join(f"{part}/" for part in filter(None, (case.options(handler)["prefix"],)))

    def rows(i: Any) -> Coroutine[Any]:
        return (yield Sample("our_z", Normal(0.0, 1.0)))

    def step(t: int, x: Any) -> Coroutine[Any]:
        return (yield Sample("our_x", Normal(0.0, 1.0)))

    def whole() -> Coroutine[Any]:
        yield from plate("our_plate", 2)(rows)()
        yield from markov("our_loop", 2)(step)()
        return (yield from program())

    asked, left, came = (list[Names]() for _ in range(3))
    inside = NotingPoutine(whole, up=_noting(asked), down=_noting(came))
    outcome(NotingPoutine(handler(inside), up=_noting(left)), seed=seed)
    source = f"{written(handler, 'whole')}, where whole() has a plate and a markov loop, and then runs model"
    expected = [(prefix + name, tuple(prefix + frame for frame in frames)) for name, frames in asked]
    case.same("the names that leave", left, expected, source, "those that whole asks for, in the scope")
    case.same("the names that come back", sorted(came), sorted(asked), source, "those that whole asks for")


def _noting(names: list[Names]) -> Callable[[Any], Message]:
    def note(message: Message) -> Message:
        if isinstance(message, (Site, EnterPlate, EnterMarkov)):
            names.append((message.name, tuple(frame.name for frame in message.cond_indep_stack)))
        return message

    return note


@law(
    "R.shared",
    "what p is sent in a plate of n for a value that all elements share has one for each, as a draw has",
    ("do", "substitute"),
)
def shared_by_all(case: Case) -> None:
    size, kind, value = case.draw(st.integers(1, 4)), case.subject.kind, torch.tensor(case.draw(REALS))
    dist: Any = case.draw(case.draw(st.sampled_from(LOCATED)).terms).value({})
    value = value.reshape(case.draw(st.sampled_from(((), (1,)))))

    def rows(i: Any) -> Coroutine[Any]:
        return (yield Sample("z", dist))

    handler = case.link(str(kind), data={"z": value}, strict=False)
    source = f'{handler!r} around plate("p", {size}), in which z is sampled from {dist!r}'
    case.same("site 'z': what the model is sent", outcome(handler(plate("p", size)(rows))).value, value.expand(size), source, "its value")


@law("R.index", "an index is replayed as it is; in a plate of another size it is refused, before anything is drawn", ("replay",))
def indices_fit(case: Case) -> None:
    here, there = case.draw(SIZES), case.draw(SIZES)

    def model(size: int) -> Callable[..., Any]:
        return plate("p", size, 1)(lambda i: (yield Deterministic("i", i)))

    guide = trace_of(model(there), 4)
    handler = case.link("replay", guide_trace=guide)
    found, source = outcome(handler(model(here))), f"a replayed plate of {here}, whose index was drawn from {there}"
    if here != there:
        refused = found.failure == Failure(PlateError, "p") and not found.sites
        case.expect(refused, f"site 'p': it {found.failure or 'is taken'}, after {found.sites}", source)
        return
    case.same("the sites", [site.value for site in found.sites], [guide["p"].value, guide["i"].value], source, "those of the trace")


@law("D.index", "the index of a plate that is a subsample is the same for all elements of a plate around it", ("broadcast",))
def indices_are_shared(case: Case) -> None:
    size, few, around = case.draw(SIZES), case.draw(st.integers(1, 2)), case.draw(SIZES)

    def rows(i: torch.Tensor) -> Coroutine[Any]:
        yield Sample("z", Normal(0.0, 1.0))

    handled = case.link("broadcast")(link("indep", name="around", vectorized=True, size=around)(plate("p", size + 1, few)(rows)))
    found = outcome(handled)
    shapes = {site.name: tuple(site.value.shape) for site in found.sites if isinstance(site, Choice)}
    source = f'broadcast in a plate of {around}, around plate("p", {size + 1}, {few})'
    ends = f"the end of the run: it {found.failure or 'returns'}"
    case.expect(shapes == {"p": (few,), "z": (few, around)}, f"{ends}; the index p and the site z are of shapes {shapes}", source)


@law("K.entries", "the entries of each plate in a traced program are numbered from 1, whatever was entered before", ("trace",))
def traced_entries(case: Case) -> None:
    before, times = case.draw(st.integers(0, 2)), case.draw(st.integers(1, 3))
    tracer: Any = case.link("trace")
    entry = link("indep", name="p", vectorized=False)

    def entries(number: int) -> Coroutine[None]:
        for i in range(number):
            yield from entry(lambda i=i: (yield Sample(f"z_{i}", Normal(0.0, 1.0))))()

    def whole() -> Coroutine[list[int]]:
        yield from link("scope", prefix="a")(entries)(before)
        yield from entries(before)
        traced = yield from tracer(lambda: entries(times)).traced()
        return [frame.counter for site in traced.nodes.values() for frame in getattr(site, "cond_indep_stack", ())]

    # Not under another trace, which would have two sites of one name.
    found = outcome(link("block")(whole))
    numbers = [*range(1, times + 1)]
    case.same("the numbers of its entries", found.value, numbers, f"trace(model).traced, after {before} entries", "those of the entries")


I_PLATES: Final[tuple[Law, ...]] = (all_names_are_scoped,)
R_PLATES: Final[tuple[Law, ...]] = (shared_by_all, indices_fit)
D_PLATES: Final[tuple[Law, ...]] = (indices_are_shared,)
K_PLATES: Final[tuple[Law, ...]] = (traced_entries,)
