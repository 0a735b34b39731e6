"""H. What must hold of any handler, a user's own included."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, zip_longest
from typing import Any, Final

import attrs
import torch
from hypothesis import strategies as st
from torch.distributions import Normal

from poutine.equality import same
from poutine.laws.ambient import changed, state_of
from poutine.laws.ask import Ask, AskingRuntime
from poutine.laws.law import ANY, Case, Law, Side, law, side
from poutine.laws.links import Link, Wrap, written
from poutine.laws.outcome import Difference, outcome
from poutine.laws.probes import AskingPoutine, BoomingRuntime, Failing, KeepingRuntime, error_of
from poutine.laws.stepping import Stepper, interleaved
from poutine.laws.traces import Names, trace_of
from poutine.laws.watch import Watched, kinds_of_errors
from poutine.messages import Deterministic, Message, Observe, Param, Sample, Sealed
from poutine.poutine import Poutine
from poutine.program import Coroutine, Program

STEPS: Final = st.integers(0, 12)
NAMING: Final = ("condition", "do", "substitute", "block", "infer_config", "lift")
TURNS: Final = st.lists(st.integers(0, 2), max_size=30)


@law("H1", "h∘p ≈ p", ANY, "handlers that change nothing")
def identity(case: Case) -> None:
    program = case.program()
    case.agree(side(program, case.handler(program)), side(program))


@law("H2", "(h∘g)∘p ≈ h∘(g∘p)", ANY, "around any other")
def associativity(case: Case) -> None:
    program = case.program()
    inner, outer = case.other(program), case.handler(program)

    def inside() -> Coroutine[Any]:
        return (yield from inner(program)())

    whole = side(program, inner, outer)
    case.agree(Side(written(outer, f"(lambda: {written(inner, 'model')}())"), outer(lambda: inner(program)())), whole)
    case.agree(Side(f"{written(outer, 'inside')}, where inside() does yield from {written(inner, 'model')}()", outer(inside)), whole)


@law("H3", "h∘(return x) returns x", ANY)
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


@law("H4", "h∘(p then k) ≈ (h∘p) then (x ↦ h∘k(x))", ANY, "handlers that keep nothing between sites")
def sequencing(case: Case) -> None:
    own = ("message",) if case.messages is not None else ()
    first, second = case.program(first=own), case.program(first=own, prefix="k")
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


@law("H5", "an unknown message passes untouched, and so does its reply", ANY)
def unknown_messages(case: Case) -> None:
    program = case.program(asks=False)
    names = cycle(("unknown", *Names.of(trace_of(program)).all))
    _pass_untouched(case, program, lambda: Ask(next(names), 1.0), lambda message: isinstance(message, Ask))


@law("H6", "a program that is dropped is closed, and its finally runs once", ANY)
def closing(case: Case) -> None:
    program, steps = case.program(cleanup=False), case.draw(STEPS)
    watched = Watched(program)
    handler = case.handler(program)
    stepper = Stepper(handler(watched))
    for _ in range(steps):
        stepper.step()
    source = f"{written(handler, 'model')}, dropped after {steps} messages"
    try:
        stepper.close()
    except RuntimeError as error:
        case.broken(f"its closing: it raises {error!r}; let GeneratorExit pass, or raise it again", source)
    case.expect(not watched.still_open, "its end: it is still open", source)
    case.expect(
        watched.ended == watched.started, f"its end: its finally ran {watched.ended} times, and it began {watched.started} times", source
    )


@law("H7", "an error reaches the program at its yield, leaves it unchanged, and comes again if it is swallowed", ANY)
def errors(case: Case) -> None:
    program, steps, swallow = case.program(), case.draw(STEPS), case.draw(st.booleans())
    handler = case.handler(program)
    for error in kinds_of_errors():
        _from_outside(case, handler, program, steps, error, swallow)
    for error in kinds_of_errors():
        mine = Failing(program, steps, error)
        found = error_of(handler(mine), AskingRuntime(), error)
        source = f"{written(handler, 'model')}, where the model raises {error!r} at message {steps + 1}"
        case.expect(not mine.has_raised or found is error, f"the end of the run: what comes out is {found!r}", source)


def _from_outside(case: Case, handler: Wrap, program: Callable[..., Any], steps: int, error: BaseException, swallow: bool) -> None:
    watched = Watched(program, error if swallow else None)
    runtime = BoomingRuntime(steps, watched, error)
    found = error_of(handler(watched), runtime, error)
    if not runtime.reached:
        return
    source = f"{written(handler, 'model')}, where message {steps + 1} is answered with {error!r} from outside"
    case.expect(watched.thrown[:1] == [error], f"message {steps + 1}: the program was thrown {watched.thrown or 'nothing'}", source)
    case.expect(found is error, f"the end of the run: what comes out is {found!r}", source)
    case.expect(not watched.unnoticed, "the end of the run: the program swallowed the error, and the run went on", source)


@law("H8", "h is the same before and after, nested in itself, and in threads", ANY)
def reentrance(case: Case) -> None:
    program, seed = case.program(), case.seed()
    wrap = case.handler(program)
    handler, fresh = wrap(program), outcome(wrap(program), seed=seed)
    before, source = state_of(handler), written(wrap, "model")
    case.equal(outcome(handler, seed=seed), fresh, f"{source}, its first run", f"a fresh {source}")
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda _: outcome(handler, seed=seed), range(2)):
            case.equal(found, fresh, f"{source}, in a thread", f"a fresh {source}")
    where = changed(before, state_of(handler))
    case.expect(where is None, f"the handler itself: it has changed at {where}", source)
    own: list[Callable[..., Any]] = []
    own.append(wrap(_nested(program, lambda nest: own[0])))
    case.equal(
        outcome(own[0], 2, seed=seed),
        outcome(wrap(_nested(program, wrap)), 2, seed=seed),
        f"{source}, where model runs it again",
        "the same, each a fresh one",
    )


@law("H9", "whatever h wraps is affected, wherever it is iterated", ANY)
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


@law("H10", "h∘g∘p ≈ g∘h∘p, where h and g touch disjoint names", NAMING)
def disjoint(case: Case) -> None:
    program = case.program()
    left, right = case.handler(program), case.other(program, *NAMING)
    assert isinstance(left, Link)
    touched = _names_of(left)
    if touched is None or _names_of(right) is None:
        return
    right = _without(right, touched)
    case.agree(side(program, left, right), side(program, right, left))


@law("H12", "running again gives the same", ANY)
def repeatability(case: Case) -> None:
    program, seed = case.program(), case.seed()
    wrap = case.handler(program)
    handler = wrap(program)
    first, fresh = outcome(handler, seed=seed), outcome(wrap(program), seed=seed + 1)
    for number in range(1, 4):
        held = [Deterministic("held", None) for _ in range(number)]  # so that the run's own messages lie elsewhere in memory
        case.equal(outcome(handler, seed=seed), first, f"{written(wrap, 'model')}, again", "the first run")
        held.clear()
    case.equal(
        outcome(handler, seed=seed + 1), fresh, f"{written(wrap, 'model')}, again with another seed", f"a fresh {written(wrap, 'model')}"
    )


@law("H13", "any interleaving of runs gives what each gives alone", ANY)
def interleaving(case: Case) -> None:
    program, turns = case.program(), case.draw(TURNS)
    wrap = case.handler(program)
    handler = wrap(program)
    source = written(wrap, "model")
    alone = [outcome(wrap(program), seed=seed) for seed in range(2)] + [outcome(program, seed=0)]
    together = interleaved([Stepper(handler, 0), Stepper(handler, 1), Stepper(program, 0)], turns)
    for number, (found, expected) in enumerate(zip(together, alone, strict=True)):
        case.equal(found, expected, f"{source}: run {number} of three, in the order {turns}", f"{source}, alone")


def _pass_untouched(case: Case, program: Callable[..., Any], make: Callable[[], Message], is_ours: Callable[[Message], bool]) -> None:
    """Yields such a message before each of those of the program."""
    handler = case.handler(program)
    asking = AskingPoutine(program, make, [], [])
    runtime = KeepingRuntime(is_ours)
    error_of(handler(asking), runtime)
    source = f"{written(handler, 'model')}, where the model also yields {make()!r} before each of its messages"
    _arrive(case, "request", asking.asked, runtime.arrived, source)
    _arrive(case, "reply", runtime.replies, asking.replies, source)


def _arrive(case: Case, what: str, sent: list[Message], arrived: list[Message], source: str) -> None:
    for number, (mine, yours) in enumerate(zip_longest(sent, arrived), 1):
        if mine is not yours:
            equal = " (equal, but another object)" if same(mine, yours) else ""
            case.broken(Difference(f"{what} {number}", "sent, and arrived", mine, f"{yours}{equal}"), source)


@law("H14", "a hidden site passes untouched, and so does its reply", ANY)
def sealed_messages(case: Case) -> None:
    program = case.program(asks=False)
    names, dist = cycle(("hidden", *Names.of(trace_of(program)).all)), Normal(0.0, 1.0)
    kind = case.draw(st.sampled_from((Sample, lambda name, fn: Observe(name, fn, torch.tensor(0.5)))))
    # The program may have hidden sites of its own, and be under a block.
    _pass_untouched(
        case,
        program,
        lambda: Sealed(kind(next(names), dist)),
        lambda message: getattr(getattr(message, "message", None), "fn", None) is dist,
    )


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
        if link.options.keys() - {"strict"} == {option}:
            given = link.options[option]
            return frozenset(given) if isinstance(given, (dict, list)) else None
    return None


def _without(link: Link, names: frozenset[str]) -> Link:
    """The same handler, which leaves ``names`` alone."""
    (option,) = {"data", "config", "hide", "prior"} & link.options.keys()
    given = link.options[option]
    left = {name: given[name] for name in given if name not in names} if isinstance(given, dict) else [n for n in given if n not in names]
    return attrs.evolve(link, options={**link.options, option: left})


SECTION_H: Final[tuple[Law, ...]] = (
    identity, associativity, unit, sequencing, unknown_messages, closing, errors, reentrance, wrapping, disjoint,
    repeatability, interleaving, sealed_messages,
)  # fmt: skip
