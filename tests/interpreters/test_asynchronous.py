"""asyncio: a program that awaits is what it is without; many are in flight; all are closed, whatever happens."""

from __future__ import annotations

import asyncio
import gc
import re
import sys
from types import CoroutineType, GeneratorType
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Categorical, Normal

from interpreters.asynchronous import Await, run_all, run_async
from interpreters.elimination import eliminate
from interpreters.enumeration import exact
from interpreters.errors import WrongAnswer
from interpreters.lockstep import lockstep
from interpreters.stepping import begin
from poutine import (
    AlreadyObserved,
    Deterministic,
    Keyed,
    Message,
    Observe,
    Param,
    ParamStore,
    Program,
    Sample,
    TracePoutine,
    UnhandledMessage,
    UnusedNames,
    block,
    condition,
    plate,
    run,
    same,
    scope,
    seed,
    substitute,
    trace,
)
from poutine.laws import Ask, chains, difference, outcome, programs
from poutine.laws.outcome import Outcome, failed, finished
from poutine.laws.watch import Watched
from tests.interpreters.held import hold

D = Normal(0.0, 1.0)


async def outcome_async(fn: Any, number: int) -> Outcome:
    """As ``poutine.laws.outcome`` has it; an ``Ask`` is answered by an awaitable that lets others go first."""
    asked: list[Ask] = []

    async def twice(ask: Ask) -> Any:
        asked.append(ask)
        await asyncio.sleep(0)
        return 2 * ask.question

    try:
        return finished(await run_async(TracePoutine(fn).traced(), number, answers={Ask: twice}), asked)
    except Exception as error:
        return failed(error, asked)


@st.composite
def wrapped(draw: Any) -> Any:
    program = draw(programs())
    return draw(chains(program))(program)


@given(wrapped(), st.integers(0, 3))
def test_async_is_run(fn, number):
    assert difference(asyncio.run(outcome_async(fn, number)), outcome(fn, seed=number)) is None


@pytest.mark.slow
@given(st.lists(wrapped(), min_size=2, max_size=4))
def test_programs_in_flight_do_not_see_one_another(fns):
    async def together() -> list[Outcome]:
        return await asyncio.gather(*(outcome_async(fn, number) for number, fn in enumerate(fns)))

    for number, (fn, found) in enumerate(zip(fns, asyncio.run(together()), strict=True)):
        assert difference(found, outcome(fn, seed=number)) is None


@given(programs(asks=False), st.integers(0, 3), st.data())
def test_a_visit_that_is_awaited_moves_no_other_draw(fn, number, data):
    whole = run(trace(fn).traced(), number)
    if not whole.stochastic_nodes:
        return
    name = data.draw(st.sampled_from(whole.stochastic_nodes))

    async def known(site: Sample) -> Any:
        await asyncio.sleep(0)
        return whole[name].value

    found = asyncio.run(run_async(trace(fn).traced(), number, answers={name: known}))
    assert same(dict(found.nodes), dict(whole.nodes))


def model():
    z = yield Sample("z", D)
    reply = yield Await("reply", simulate, z, twice=True)
    yield Observe("y", Normal(reply, 1.0), torch.tensor(1.0))
    return reply


async def simulate(z: torch.Tensor, twice: bool) -> torch.Tensor:
    await asyncio.sleep(0)
    return 2 * z if twice else z


def test_a_program_awaits_by_itself():
    t = asyncio.run(run_async(trace(scope(model, prefix="a")).traced(), seed=3))
    assert list(t) == ["_INPUT", "a/z", "a/reply", "a/y", "_RETURN"]
    assert t["a/reply"].value == t["_RETURN"].value == 2 * t["a/z"].value
    assert t.log_pdf() == run(trace(scope(computed, prefix="a")).traced(), seed=3).log_pdf()


def computed():
    z = yield Sample("z", D)
    reply = yield Deterministic("reply", 2 * z)
    yield Observe("y", Normal(reply, 1.0), torch.tensor(1.0))


@pytest.mark.parametrize("answered", [
    run,
    exact,
    eliminate,
    lambda program: run(Program(lockstep, program, 3)),
    lambda program: begin(program).finish().value,
])  # fmt: skip
def test_who_does_not_await_says_who_does(answered):
    def waiting():
        return (yield Await("reply", simulate, torch.zeros(()), twice=True))

    with pytest.raises(UnhandledMessage, match="nobody answers Await.*; run the program with run_async of interpreters.asynchronous"):
        answered(Program(waiting))


def test_answers_are_chosen_by_name_then_by_type():
    async def one(site):
        return torch.tensor(1.0)

    async def two(site):
        return torch.tensor(2.0)

    def several():
        x = yield Sample("x", D)
        y = yield Sample("y", D)
        w = yield Param("w", torch.tensor(0.0))
        seen = yield Observe("seen", D, torch.tensor(5.0))
        return [float(each) for each in (x, y, w, seen)]

    answers = {"x": one, Sample: two, "w": one}
    assert asyncio.run(run_async(several, answers=answers)) == [1.0, 2.0, 1.0, 5.0], "what is decided is not asked for"
    given = condition(several, data={"y": torch.tensor(7.0)})()
    assert asyncio.run(run_async(given, answers=answers)) == [1.0, 7.0, 1.0, 5.0], "a type means what is not decided"
    assert asyncio.run(run_async(block(several)(), answers=answers)) == [1.0, 2.0, 1.0, 5.0], "what is hidden is answered, too"


@pytest.mark.parametrize("handled", [
    lambda: ((yield Observe("x", D, torch.tensor(5.0)))),
    lambda: ((yield Deterministic("x", 5.0))),
    condition(lambda: ((yield Sample("x", D))), data={"x": torch.tensor(5.0)}),
    block(substitute(lambda: ((yield Sample("x", D))), data={"x": torch.tensor(5.0)})),
    lambda: ((yield Await("x", simulate, 1).evolve(value=5.0))),
])  # fmt: skip
def test_an_answer_for_what_is_decided_is_told(handled):
    async def never(site):
        raise AssertionError

    with pytest.raises(
        AlreadyObserved, match=r"site 'x'.* its answer is not asked for: .* has decided that the value is .*5.*strict=False"
    ):
        asyncio.run(run_async(Program(handled), answers={"x": never}))
    assert asyncio.run(run_async(Program(handled), answers={"x": never}, strict=False)) == 5.0


@pytest.mark.parametrize(("answers", "problem"), [
    ({"x": torch.tensor(1.0)}, r"answers: expected for 'x' an async function of the message, got tensor\(1.\)"),
    ({Observe: simulate}, "answers: Observe sites carry their values"),
    ({Deterministic: simulate}, "answers: Deterministic sites carry their values"),
])  # fmt: skip
def test_answers_that_cannot_be_are_told(answers, problem):
    with pytest.raises(TypeError, match=problem):
        asyncio.run(run_async(lambda: (yield Sample("x", D)), answers=answers))


def test_a_name_that_no_site_has_is_told():
    answers = {"x": lambda site: giving(1.0), "why": lambda site: giving(1.0)}
    with pytest.raises(UnusedNames, match="answers names what the program never reached as a site: why; it reached: x"):
        asyncio.run(run_async(block(coin)(), answers=answers))
    assert asyncio.run(run_async(coin, answers=answers, strict=False)) == 1.0
    with pytest.raises(UnusedNames, match="why") as caught:
        asyncio.run(run_all([coin], answers=answers))
    assert caught.value.__notes__ == ["in program 0 of run_all"]
    assert asyncio.run(run_all([coin] * 2, answers=answers, strict=False)) == [1.0, 1.0]


def test_a_sample_comes_with_the_key_of_its_draw():
    async def drawn(site: Sample) -> torch.Tensor:
        await asyncio.sleep(0)
        with Keyed(site.key):
            return site.dist.sample()

    def twice():
        return (yield Sample("x", D)), (yield Sample("x", D))

    for program in (Program(twice), seed(twice, seed=3)()):
        assert same(asyncio.run(run_async(program, 7, answers={"x": drawn})), run(program, 7))


def test_params_live_in_the_store():
    def learning():
        return (yield Param("w", torch.tensor(2.0)))

    store = ParamStore()
    asyncio.run(run_async(learning, params=store))
    assert list(store) == ["w"]


async def never(site: Any) -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize(("answer", "problem"), [
    (lambda site: 1.0, "which cannot be awaited: write it with `async def`"),
    (lambda site: giving(site), "expected a value from .*, got Sample"),
    (lambda site: giving(never(site)), "expected a value from .*, got <coroutine"),
    (lambda site: giving("high"), r"expected numbers of shape \(\), got 'high'"),
    (lambda site: giving(torch.ones(3)), r"expected a value of shape \(\), got shape \(3,\)"),
    (lambda site: giving([1.0]), r"expected a value of shape \(\), got shape \(1,\)"),
    (lambda site: giving(torch.tensor(0.5)), "cannot score"),
    (lambda site: giving(torch.tensor(float("nan"))), "cannot score"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:coroutine 'never' was never awaited:RuntimeWarning")
def test_an_answer_of_the_wrong_kind(monkeypatch, answer, problem):
    held, watched = hold(monkeypatch), Watched(coin)
    with pytest.raises(WrongAnswer, match=f"site 'x': .*{problem}"):
        asyncio.run(run_async(Program(watched), answers={"x": answer}))
    assert len(held) == watched.started == watched.ended == 1 and not watched.still_open


async def giving(value: Any) -> Any:
    return value


class Undrawn(torch.distributions.Distribution):
    """Two numbers that somebody has to be asked for."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__(torch.Size((2,)))

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        return -value


@pytest.mark.parametrize(("site", "answer", "expected"), [
    (Sample("x", Normal, 0.0, 1.0), 2, torch.tensor(2.0)),
    (Sample("x", Normal(torch.zeros(2), 1.0)), [1, 2.0], torch.tensor([1.0, 2.0])),
    (Sample("x", Normal(torch.zeros((), dtype=torch.float64), 1.0)), 0.1, torch.tensor(0.1, dtype=torch.float64)),
    (Sample("x", Categorical(torch.ones(3))), 2.0, torch.tensor(2)),
    (Sample("x", Undrawn()), torch.tensor([1, 2]), torch.tensor([1, 2])),
    (Sample("x", lambda: 1), [1, "any"], [1, "any"]),
    (Param("w", torch.zeros(2), constraint=torch.distributions.constraints.positive), [1, 2], torch.tensor([1.0, 2.0])),
    (Param("w"), [1, 2], torch.tensor([1.0, 2.0])),
    (Await("a", lambda: giving([1, "any"])), None, [1, "any"]),
])  # fmt: skip
def test_an_answer_is_of_the_shape_and_type_that_a_run_gives(site, answer, expected):
    def asking():
        return (yield site)

    answers = {} if answer is None else {site.name: lambda _: giving(answer)}
    assert same(asyncio.run(run_async(asking, answers=answers)), expected)


@pytest.mark.parametrize(("site", "answer", "problem"), [
    (Sample("x", Normal(torch.zeros(3), 1.0)), torch.tensor(1.0), r"expected a value of shape \(3,\), got shape \(\)"),
    (Sample("x", Categorical(torch.ones(3))), 0.5, "expected values of type torch.int64, got 0.5"),
    (Sample("x", Undrawn()), torch.zeros(3), r"expected a value of shape \(2,\), got shape \(3,\)"),
    (Param("w", torch.tensor(0.0)), "a", r"expected numbers of shape \(\), got 'a'"),
    (Param("w", torch.tensor(0.0)), torch.zeros(2), r"expected a value of shape \(\), got shape \(2,\)"),
    (Param("w"), "a", r"expected numbers of shape \(\), got 'a'"),
    (Param("w", torch.tensor(1.0), constraint=torch.distributions.constraints.positive), -1.0, r"tensor\(-1.\) does not satisfy"),
])  # fmt: skip
def test_an_answer_of_another_shape_or_type_is_refused(site, answer, problem):
    def asking():
        return (yield site)

    with pytest.raises(WrongAnswer, match=f"site '{site.name}': {problem}"):
        asyncio.run(run_async(asking, answers={site.name: lambda _: giving(answer)}))


@pytest.mark.parametrize(("answer", "problem"), [
    ([1, 1], r"expected different numbers, .* got .*1, 1"),
    (torch.tensor([1, 7]), r"expected 2 numbers from 0 to 2, got .*1, 7"),
    ([0], r"expected 2 numbers from 0 to 2, got \[0\]"),
    ([0.5, 1.0], r"expected 2 numbers from 0 to 2, got \[0.5, 1.0\]"),
])  # fmt: skip
def test_an_index_that_no_plate_draws_is_refused(answer, problem):
    def model():
        @plate("p", 3, subsample_size=2)
        def each(i):
            yield Sample("x", D)

        yield from each()

    with pytest.raises(WrongAnswer, match=f"site 'p': {problem}"):
        asyncio.run(run_async(model, answers={"p": lambda site: giving(answer)}))


def test_a_plate_is_not_asked_for_by_its_name():
    def plated():
        return (yield from each())

    @plate("p", 3)
    def each(i):
        return (yield Sample("x", Normal(0.0, 1.0)))

    asked: list[Any] = []

    async def note(site: Any) -> torch.Tensor:
        asked.append(site)
        return torch.zeros(3)

    asyncio.run(run_async(plated, answers={"p": note}, strict=False))
    assert asked == []
    with pytest.raises(UnusedNames, match="answers names what the program never reached as a site: p; it reached: x"):
        asyncio.run(run_async(plated, answers={"p": note}))
    asyncio.run(run_async(plated, answers={Message: note}))
    assert [site.name for site in asked] == ["x"]


def coin():
    return (yield Sample("x", Bernoulli(0.5)))


def test_an_error_of_an_awaitable_is_thrown_in_at_the_yield():
    async def failing(site):
        raise ConnectionError("gone")

    def careful():
        try:
            yield Sample("x", D)
        except ConnectionError as error:
            caught.append(error)
            raise

    caught: list[ConnectionError] = []
    with pytest.raises(ConnectionError, match="gone"):
        asyncio.run(run_async(careful, answers={"x": failing}))
    assert len(caught) == 1


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_program_that_catches_an_error_of_an_awaitable_is_told_where_to_catch_it(goes_on):
    """An error from outside is none of the program's (H7)."""

    async def failing():
        raise TimeoutError("late")

    def catching():
        try:
            return (yield Await("x", failing))
        except TimeoutError:
            return (yield Sample("y", D)) if goes_on else None

    with pytest.raises(TimeoutError, match="late") as caught:
        asyncio.run(run_async(catching))
    (note,) = caught.value.__notes__
    assert re.match(".*catching.* caught this at its yield and went on; .*an awaitable, say, catch it and return another value.$", note)


@pytest.mark.parametrize("swallows", [False, True])
def test_a_task_that_is_cancelled_closes_its_program(monkeypatch, swallows):
    thrown: list[type] = []

    def body():
        for i in range(3):
            try:
                yield Sample(f"x{i}", D)
            except BaseException as error:
                thrown.append(type(error))
                if not swallows:
                    raise

    async def cancelled() -> None:
        task = asyncio.create_task(run_async(block(watched)(), answers={Sample: never}))
        await asyncio.sleep(0)
        assert watched.running
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    held, watched = hold(monkeypatch), Watched(body)
    asyncio.run(cancelled())
    assert len(held) == watched.started == watched.ended == 1 and not watched.still_open
    again = [asyncio.CancelledError, GeneratorExit] if swallows else []
    assert thrown == [asyncio.CancelledError, *again], "thrown in at the yield, and to who swallows it, again at the next one"


def test_a_timeout_is_a_cancellation(monkeypatch):
    async def in_time() -> None:
        async with asyncio.timeout(0.01):
            await run_async(Program(watched), answers={Sample: never})

    held, watched = hold(monkeypatch), Watched(model)
    with pytest.raises(TimeoutError):
        asyncio.run(in_time())
    assert len(held) == watched.started == watched.ended == 1 and not watched.still_open


def test_a_program_that_awaits_nothing_lets_others_go_on_and_is_cancelled(monkeypatch):
    def endless():
        while True:
            yield Sample("x", D)

    async def in_time() -> None:
        async with asyncio.timeout(0.01):
            await run_all([watched] * 3)

    held, watched = hold(monkeypatch), Watched(endless)
    with pytest.raises(TimeoutError):
        asyncio.run(in_time())
    assert len(held) == watched.started == watched.ended == 3 and not watched.still_open


def test_a_coroutine_that_is_dropped_closes_its_program(monkeypatch):
    held, watched = hold(monkeypatch), Watched(model)
    coroutine = run_async(Program(watched), answers={Sample: lambda site: asyncio.sleep(0)})
    coroutine.send(None)  # to where it awaits
    assert watched.running
    coroutine.close()
    assert len(held) == watched.started == watched.ended == 1 and not watched.still_open


# Many


def test_values_come_in_order_whoever_is_first():
    def numbered(n):
        yield Await("wait", asyncio.sleep, 0.002 * (5 - n))
        return n, (yield Sample("x", D))

    found = asyncio.run(run_all([Program(numbered, n) for n in range(5)], seed=10, limit=5))
    assert [n for n, _ in found] == [0, 1, 2, 3, 4]
    assert [float(x) for _, x in found] == [float(run(normal, seed=10 + n)) for n in range(5)]


@pytest.mark.parametrize("seed", ["a", 1.5, None])
def test_what_is_no_seed_is_refused_before_anything_is_run(seed):
    def never():
        raise AssertionError
        yield

    with pytest.raises(TypeError, match=f"expected an int as the seed, got {seed!r}"):
        asyncio.run(run_all([never], seed=seed))
    with pytest.raises(TypeError, match=f"expected an int as the seed, got {seed!r}"):
        asyncio.run(run_async(never, seed=seed))


def normal():
    return (yield Sample("x", D))


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_so_many_are_in_flight_and_no_more(limit):
    in_flight, most, taken = 0, 0, 0

    def counted():
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        try:
            for i in range(3):
                yield Await(f"w{i}", asyncio.sleep, 0)
        finally:
            in_flight -= 1

    def lazily():
        nonlocal taken
        for _ in range(20):
            taken += 1
            assert taken - 20 <= limit and in_flight <= limit
            yield counted

    assert asyncio.run(run_all(lazily(), limit=limit)) == [None] * 20
    assert most == min(limit, 20) and in_flight == 0


def test_the_first_error_cancels_the_others_and_says_which(monkeypatch):
    def failing(n):
        yield Await("w", asyncio.sleep, 0)
        if n == 3:
            raise ArithmeticError("of mine")
        yield Await("never", never, None)

    held, watched = hold(monkeypatch), Watched(failing)
    with pytest.raises(ArithmeticError, match="of mine") as caught:
        asyncio.run(run_all([Program(watched, n) for n in range(100)], limit=10))
    assert caught.value.__notes__ == ["in program 3 of run_all"]
    assert len(held) == watched.started == watched.ended == 10 and not watched.still_open


def test_what_a_program_awaits_is_cancelled_and_with_it_the_others(monkeypatch):
    def waiting(n):
        yield Await("w", cancelled if n == 1 else never, None)

    async def cancelled(site):
        raise asyncio.CancelledError("within")

    held, watched = hold(monkeypatch), Watched(waiting)
    with pytest.raises(asyncio.CancelledError, match="within") as caught:
        asyncio.run(run_all([Program(watched, n) for n in range(3)]))
    assert caught.value.__notes__ == ["in program 1 of run_all"]
    assert len(held) == watched.started == watched.ended == 3 and not watched.still_open


def test_errors_in_place_of_values(monkeypatch):
    """As of asyncio.gather: a cancellation of what a program awaits, too, but not that of all of them."""

    def failing(n):
        yield Await("w", cancelled if n == 5 else asyncio.sleep, 0)
        if n % 3 == 0:
            raise ArithmeticError(f"of {n}")
        return n

    async def cancelled(site):
        raise asyncio.CancelledError("within")

    held, watched = hold(monkeypatch), Watched(failing)
    found = asyncio.run(run_all((Program(watched, n) for n in range(20)), limit=4, return_exceptions=True))
    assert [n for n, value in enumerate(found) if value == n] == [n for n in range(20) if n % 3 and n != 5]
    errors = [(n, value) for n, value in enumerate(found) if isinstance(value, BaseException)]
    assert [(n, str(error)) for n, error in errors] == [(n, "within" if n == 5 else f"of {n}") for n in (0, 3, 5, 6, 9, 12, 15, 18)]
    assert all(error.__notes__ == [f"in program {n} of run_all"] for n, error in errors)
    assert len(held) == watched.started == watched.ended == 20 and not watched.still_open

    async def impatient(last):
        async with asyncio.timeout(0.01):
            await run_all([*(Program(watched, n) for n in range(3)), last, waiting], limit=1, return_exceptions=True)

    def waiting():
        yield Await("never", never, None)

    def grudging():
        try:
            yield Await("never", never, None)
        finally:
            raise ArithmeticError("while it is closed")

    for last in (waiting, grudging):
        with pytest.raises(TimeoutError if last is waiting else ArithmeticError):
            asyncio.run(impatient(last))


@pytest.mark.parametrize("limit", [0, -1, 2.5, True, "many"])
def test_bad_limits(limit):
    with pytest.raises(ValueError, match=f"expected a whole number, at least 1, as the limit of programs in flight, got {limit!r}"):
        asyncio.run(run_all([coin], limit=limit))


def test_no_programs():
    assert asyncio.run(run_all([], limit=3)) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["finished", "cancelled"])
def test_ten_thousand_in_flight_leave_nothing_open_and_give_their_memory_back(how):
    """All of them wait at their yields at once; then all go on, or all are cancelled."""
    count = 10_000
    waiting: list[asyncio.Future[None]] = []

    async def held():
        waiting.append(asyncio.get_running_loop().create_future())
        await waiting[-1]

    def program():
        return (yield Await("x", held))

    async def all_at_once() -> None:
        task = asyncio.create_task(run_all([program] * count, limit=count))
        while len(waiting) < count:
            await asyncio.sleep(0)
        assert open_generators() >= 4 * count, "the model's own, the driver's, and those that await"
        assert sys.getallocatedblocks() - before[1] > 20 * count
        if how == "cancelled":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            for future in waiting:
                future.set_result(None)
            assert await task == [None] * count

    asyncio.run(run_all([coin]))  # what is made once
    gc.collect()
    before = open_generators(), sys.getallocatedblocks()
    asyncio.run(all_at_once())
    waiting.clear()
    gc.collect()
    assert open_generators() == before[0]
    assert sys.getallocatedblocks() - before[1] < count / 10, "of more than twenty a program"


def open_generators() -> int:
    """Generators and coroutines that have not ended."""
    things = gc.get_objects()  # not isinstance, which some of them answer with a warning
    frames = [each.gi_frame for each in things if type(each) is GeneratorType] + [
        each.cr_frame for each in things if type(each) is CoroutineType
    ]
    return sum(frame is not None for frame in frames)


def test_a_function_that_is_no_coroutine_function_is_told_by_its_name():
    def forgotten():
        return 4

    def model():
        return (yield Await("a", forgotten))

    with pytest.raises(WrongAnswer, match=r"site 'a': .*forgotten returned 4, which cannot be awaited: write it with `async def`"):
        asyncio.run(run_async(Program(model)))
