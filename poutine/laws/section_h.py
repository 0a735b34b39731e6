"""H. What must hold of any handler, a user's own included."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import attrs
import torch
from hypothesis import strategies as st

from poutine.equality import same
from poutine.laws.ambient import ambient, changed, other_generators, state_of
from poutine.laws.ask import Ask, AskingRuntime
from poutine.laws.law import ANY, Case, Law, Side, law, side
from poutine.laws.links import Link, written
from poutine.laws.outcome import outcome
from poutine.laws.probes import AskingPoutine, BoomingRuntime, Failing, KeepingRuntime, answered, error_of
from poutine.laws.stepping import Stepper, interleaved
from poutine.laws.traces import Names, trace_of
from poutine.laws.watch import Watched
from poutine.messages import Deterministic, Param
from poutine.poutine import Poutine
from poutine.program import Coroutine, Program

STEPS: Final = st.integers(0, 12)
TURNS: Final = st.lists(st.integers(0, 2), max_size=30)


@law("H1", "Poutine∘p ≈ p", "the base of all poutines")
def identity(case: Case) -> None:
    program = case.program()
    case.agree(side(program, Poutine), side(program))


@law("H2", "(h∘g)∘p ≈ h∘(g∘p)", "any handler, around any other", put_to=ANY)
def associativity(case: Case) -> None:
    program = case.program()
    inner, outer = case.other(program), case.handler(program)

    def inside() -> Coroutine[Any]:
        return (yield from inner(program)())

    whole = side(program, inner, outer)
    case.agree(Side(written(outer, f"(lambda: {written(inner, 'model')}())"), outer(lambda: inner(program)())), whole)
    case.agree(Side(f"{written(outer, 'inside')}, where inside() does yield from {written(inner, 'model')}()", outer(inside)), whole)


@law("H3", "h∘(return x) returns x", "any handler", put_to=ANY)
def unit(case: Case) -> None:
    x = case.draw(st.none() | st.integers() | st.text(max_size=3) | st.just(torch.ones(2)) | st.just(Deterministic("x", 1.0)))
    handler = case.handler(case.program())

    def returns(*args: Any, **kwargs: Any) -> Coroutine[Any]:
        return args, kwargs
        yield

    found = outcome(handler(returns), x, key=x)
    source = f"{written(handler, 'returns')}({x!r}, key={x!r})"
    case.expect(
        found.failure is None and same(found.value, ((x,), {"key": x})), f"it gives {found.failure or found.value}", source, repr(x)
    )


@law("H4", "h∘(p then k) ≈ (h∘p) then (x ↦ h∘k(x))", "handlers that keep nothing between sites", put_to=ANY)
def sequencing(case: Case) -> None:
    first, second = case.program(), case.program(prefix="k")

    shared = Names.of(trace_of(first)).params

    def then(x: Any) -> Coroutine[Any]:
        yield Deterministic("x", x)
        for name in shared:
            yield Param(name, torch.tensor(0.0))
        return (yield from second())

    def both() -> Coroutine[Any]:
        return (yield from then((yield from first())))

    handler = case.handler(both)

    def apart() -> Coroutine[Any]:
        x = yield from handler(first)()
        return (yield from handler(then)(x))

    case.agree(
        side(both, handler, name="(first then second)"), Side(f"{written(handler, 'first')} then {written(handler, 'second')}", apart)
    )


@law("H5", "an unknown message passes untouched, and so does its reply", "any handler", put_to=ANY)
def unknown_messages(case: Case) -> None:
    program = case.program(asks=False)
    handler = case.handler(program)
    name = case.draw(st.sampled_from(("unknown", *Names.of(trace_of(program)).all)))
    asking = AskingPoutine(program, name, [], [])
    runtime = KeepingRuntime()
    answered(handler(asking), runtime)
    source = f"{written(handler, 'model')}, which also yields {Ask(name, 1.0)!r} before each of its messages"
    case.expect([*map(id, runtime.asked)] == [*map(id, asking.asked)], _unequal("asked", asking.asked, runtime.asked), source)
    case.expect([*map(id, runtime.replies)] == [*map(id, asking.replies)], _unequal("replied", runtime.replies, asking.replies), source)


@law("H6", "a program that is dropped is closed, and its finally runs once", "any handler", put_to=ANY)
def closing(case: Case) -> None:
    program, steps = case.program(cleanup=False), case.draw(STEPS)
    watched = Watched(program)
    handler = case.handler(program)
    stepper = Stepper(handler(watched))
    for _ in range(steps):
        stepper.step()
    stepper.close()
    source = f"{written(handler, 'model')}, dropped after {steps} messages"
    case.expect(not watched.still_open, "it is still open", source)
    case.expect(watched.ended == watched.started, f"its finally ran {watched.ended} times, and it began {watched.started} times", source)


@law("H7", "an error reaches the program at its yield, leaves it unchanged, and comes again if it is swallowed", "any handler", put_to=ANY)
def errors(case: Case) -> None:
    program, steps, swallow = case.program(), case.draw(STEPS), case.draw(st.booleans())
    handler = case.handler(program)
    watched = Watched(program, swallow)
    runtime = BoomingRuntime(steps, watched)
    found = error_of(handler(watched), runtime)
    source = f"{written(handler, 'model')}, with an error from outside at message {steps + 1}"
    if runtime.reached:
        case.expect(watched.thrown[:1] == [runtime.boom], f"the program was thrown {watched.thrown}", source)
        case.expect(found is runtime.boom, f"what comes out is {found!r}", source)
        case.expect(not watched.unnoticed, "the program swallowed it, and the run went on", source)
    mine = Failing(program, steps)
    found = error_of(handler(mine), AskingRuntime())
    source = f"{written(handler, 'model')}, with an error of its own at message {steps + 1}"
    case.expect(mine.error is None or found is mine.error, f"what comes out is {found!r}", source)


@law("H8", "h is the same before and after, nested in itself, and in threads", "any handler", put_to=ANY)
def reentrance(case: Case) -> None:
    program, seed = case.program(), case.seed()
    wrap = case.handler(program)
    handler, fresh = wrap(program), outcome(wrap(program), seed=seed)
    before = state_of(handler)
    case.equal(outcome(handler, seed=seed), fresh, "the first run of h", "a fresh h")
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda _: outcome(handler, seed=seed), range(2)):
            case.equal(found, fresh, "a run of h in a thread", "a fresh h")
    where = changed(before, state_of(handler))
    case.expect(where is None, f"the handler has changed at {where}", written(wrap, "model"))
    own: list[Callable[..., Any]] = []
    own.append(wrap(_nested(program, lambda nest: own[0])))
    case.equal(
        outcome(own[0], 2, seed=seed), outcome(wrap(_nested(program, wrap)), 2, seed=seed), "h around a program that runs h", "fresh ones"
    )


@law("H9", "whatever h wraps is affected, wherever it is iterated", "any handler", put_to=ANY)
def wrapping(case: Case) -> None:
    program, seed = case.program(), case.seed()
    handler = case.handler(program)
    expected = outcome(handler(program), seed=seed)

    def inside() -> Coroutine[Any]:
        return (yield from handler(program)())

    def generator_function() -> Coroutine[Any]:
        return (yield from program())

    forms: tuple[tuple[str, Callable[..., Any]], ...] = (
        ("yield from h(model)()", inside),
        ("h(generator function)", handler(generator_function)),
        ("h(functools.partial)", handler(partial(generator_function))),
        ("h(callable that returns a Program)", handler(lambda: Program(program))),
        ("h(Poutine(model))", handler(Poutine(program))),
        ("Program(h(model))", Program(handler(program)).fn),
    )
    for form, fn in forms:
        case.equal(outcome(fn, seed=seed), expected, form, written(handler, "model"))


@law("H10", "h∘g∘p ≈ g∘h∘p, where h and g touch disjoint names", "value maps, block, lift, infer_config")
def disjoint(case: Case) -> None:
    program = case.program()
    left, right = (case.other(program, "condition", "do", "substitute", "block", "infer_config", "lift") for _ in range(2))
    assert isinstance(left, Link) and isinstance(right, Link)
    touched = _names_of(left)
    if touched is None or _names_of(right) is None:
        return
    right = _without(right, touched)
    case.agree(side(program, left, right), side(program, right, left))


@law("H11", "nothing ambient is changed, or has an influence", "any handler", put_to=ANY)
def nothing_ambient(case: Case) -> None:
    program, seed = case.program(), case.seed()
    wrap = case.handler(program)
    handler, source = wrap(program), written(wrap, "model")
    before = ambient()
    stepper = Stepper(handler, seed)
    while stepper.step():
        found = changed(before, ambient())
        if found is not None:
            stepper.close()
        case.expect(found is None, f"a run changes {found}", source)
    found = changed(before, ambient())
    case.expect(found is None, f"a run changes {found}", source)
    with other_generators(123):
        under_another = outcome(handler, seed=seed)
    case.equal(outcome(handler, seed=seed), under_another, source, "the same under other global generators")


@law("H12", "running again gives the same", "any handler", put_to=ANY)
def repeatability(case: Case) -> None:
    program, seed = case.program(), case.seed()
    wrap = case.handler(program)
    handler = wrap(program)
    first, fresh = outcome(handler, seed=seed), outcome(wrap(program), seed=seed + 1)
    case.equal(outcome(handler, seed=seed), first, f"{written(wrap, 'model')}, again", "the first run")
    case.equal(outcome(handler, seed=seed + 1), fresh, f"{written(wrap, 'model')}, again with another seed", "a fresh one")


@law("H13", "any interleaving of runs gives what each gives alone", "any handler", put_to=ANY)
def interleaving(case: Case) -> None:
    program, turns = case.program(), case.draw(TURNS)
    wrap = case.handler(program)
    handler = wrap(program)
    alone = [outcome(wrap(program), seed=seed) for seed in range(2)] + [outcome(program, seed=0)]
    together = interleaved([Stepper(handler, 0), Stepper(handler, 1), Stepper(program, 0)], turns)
    for number, (found, expected) in enumerate(zip(together, alone, strict=True)):
        case.equal(found, expected, f"run {number} of three, in the order {turns}", "alone")


def _nested(program: Callable[..., Any], around: Callable[[Any], Callable[..., Any]]) -> Callable[..., Any]:
    """A program that runs itself again inside of a handler, and ``program`` in the innermost."""

    def nest(level: int) -> Coroutine[Any]:
        if level == 0:
            return (yield from program())
        yield Deterministic(f"level_{level}", float(level))
        return (yield from around(nest)(level - 1))

    return nest


def _names_of(link: Link) -> frozenset[str] | None:
    """The names that a handler touches; None for all."""
    for option in ("data", "config", "hide", "prior"):
        if option in link.options:
            given = link.options[option]
            return frozenset(given) if isinstance(given, (dict, list)) else None
    return None


def _without(link: Link, names: frozenset[str]) -> Link:
    """The same handler, which leaves ``names`` alone."""
    (option,) = {"data", "config", "hide", "prior"} & link.options.keys()
    given = link.options[option]
    left = {name: given[name] for name in given if name not in names} if isinstance(given, dict) else [n for n in given if n not in names]
    return attrs.evolve(link, options={**link.options, option: left})


def _unequal(what: str, expected: Any, got: Any) -> str:
    same_contents = " (equal, but not the same objects)" if same(expected, got) else ""
    return f"what was {what}{same_contents}\n    sent:    {expected}\n    arrived: {got}"


SECTION_H: Final[tuple[Law, ...]] = (
    identity, associativity, unit, sequencing, unknown_messages, closing, errors, reentrance, wrapping, disjoint,
    nothing_ambient, repeatability, interleaving,
)  # fmt: skip
