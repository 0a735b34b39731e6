"""Stepping: whatever the way through a run, it is what ``run`` gives; what was saved goes on in another process."""

from __future__ import annotations

import gc
import math
import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, Normal, Uniform

from interpreters.errors import NotReached, StructureChanged, WrongAnswer
from interpreters.stepping import Breakpoint, Cursor, Suspended, begin, compare, unsealed
from poutine import (
    UNDECIDED,
    Deterministic,
    DistributionError,
    Observe,
    Param,
    ParamStore,
    Program,
    Sample,
    TracePoutine,
    UnhandledMessage,
    block,
    chain,
    condition,
    markov,
    plate,
    run,
    same,
    scale,
    substitute,
    trace,
)
from poutine.laws import Ask, AskingRuntime, Outcome, chains, difference, outcome, programs
from poutine.laws.outcome import failed, finished
from poutine.laws.watch import Watched
from poutine.runtime import draw_site
from tests.interpreters.held import hold

D = Normal(0.0, 1.0)


def stepped(fn: Any, seed: int) -> Suspended[Any]:
    return begin(TracePoutine(fn).traced(), seed, runtime=AskingRuntime)


def outcome_of(point: Suspended[Any]) -> Outcome:
    """As ``poutine.laws.outcome`` has it: the requests that were asked, and the trace or the error."""
    asked = [answer.site.evolve(value=UNDECIDED) for answer in point.answers if isinstance(answer.site, Ask)]
    try:
        return finished(point.value, asked)
    except Exception as error:
        return failed(error, asked)


@st.composite
def wrapped(draw: Any) -> Any:
    program = draw(programs(cleanup=False))  # a run that is stepped may be dropped anywhere
    return draw(chains(program))(program)


MOVES = st.lists(st.tuples(st.sampled_from(["step", "back", "goto", "begin", "repeat"]), st.integers(0, 30)), max_size=12)


@given(wrapped(), st.integers(0, 3))
def test_stepped_is_run(fn, seed):
    assert difference(outcome_of(stepped(fn, seed).finish()), outcome(fn, seed=seed)) is None


def moved(cursor: Cursor[Any], visited: list[Suspended[Any]], move: str, number: int) -> None:
    if move == "step":
        for _ in range(number % 4 + 1):
            cursor.step()
    elif move == "back":
        cursor.here = cursor.here.back(number % 4 + 1)
    elif move == "begin":
        cursor.here = visited[0]
    elif move == "goto":
        names = [unsealed(answer.site).name for answer in visited[-1].answers]
        if names:
            cursor.here = cursor.here.goto(names[number % len(names)])
    else:
        cursor.here = visited[number % len(visited)]


@given(wrapped(), st.integers(0, 3), MOVES)
def test_stepped_is_run_whatever_the_way(fn, seed, moves):
    """Back and forth, to sites by name and to places that were visited before, in one open run and in replays."""
    expected = outcome(fn, seed=seed)
    with Cursor(stepped(fn, seed)) as cursor:
        visited = [cursor.here, cursor.here.finish()]
        for move, number in moves:
            moved(cursor, visited, move, number)
            visited.append(cursor.here)
        while not cursor.here.has_ended:
            cursor.step()
        assert difference(outcome_of(cursor.here), expected) is None
    for point in visited[-3:]:
        assert difference(outcome_of(point.finish()), expected) is None


@given(wrapped(), st.integers(0, 3))
def test_the_trace_so_far_is_a_prefix_of_the_trace(fn, seed):
    """And its log density that of the trace."""
    whole = outcome(fn, seed=seed)
    point = begin(Program(fn), seed, runtime=AskingRuntime).finish()
    if whole.failure is None:
        assert same(dict(point.trace.nodes) | {"_INPUT": None}, dict(whole.trace.nodes) | {"_INPUT": None})
        assert torch.allclose(point.log_density, whole.trace.log_pdf(), equal_nan=True)
        names = [list(each.trace)[1:] for each in point.points]
        assert all(list(whole.trace)[1 : len(some) + 1] == some for some in names)


@given(programs(cleanup=False), st.integers(0, 3), st.data())
def test_an_edited_run_is_the_run_with_that_value_substituted(fn, seed, data):
    """So what does not depend on it keeps its draws: they are keyed by name."""
    point = stepped(fn, seed)
    drawn = [a.site for a in point.finish().answers if type(a.site) is Sample and a.given is not UNDECIDED]
    if not drawn:
        return
    site = data.draw(st.sampled_from(drawn))
    value = draw_site(site, (seed, "another", 1))
    edited = point.finish().edit(site.name, value).finish()
    assert [a.edited for a in edited.answers].count(True) == 1
    assert difference(outcome_of(edited), outcome(substitute(fn, data={site.name: value}), seed=seed)) is None


def model(y=None):
    z = yield Sample("z", Normal(0.0, 1.0))
    kind = yield Sample("kind", Categorical(torch.tensor([0.5, 0.5])))
    if kind == 1:
        z = z + (yield Sample("extra", Normal(z, 1.0)))
    yield Observe("y", Normal(z, 1.0), torch.tensor(1.0) if y is None else y)
    return z


def test_a_suspended_run_never_changes_and_two_moves_are_two_branches():
    here = begin(model, seed=1).goto("kind")
    zero, one = here.reply(0).finish(), here.reply(1).finish()
    assert here.pending is not None and here.pending.name == "kind" and here.index == 1
    assert [a.site.name for a in zero.answers] == ["z", "kind", "y"]
    assert [a.site.name for a in one.answers] == ["z", "kind", "extra", "y"]
    assert zero.answers[0].site.value == one.answers[0].site.value
    assert zero.answers[1].site.value.dtype == torch.int64
    found = compare(zero, one)
    assert [(each.name, each.what) for each in found.sites] == [("kind", "value"), ("y", "log density"), ("extra", "only right")]
    assert not found.same and compare(zero, zero).same
    lines = str(found).splitlines()
    assert lines[0].split() == ["site", "left", "right", "log", "density"]
    assert lines[-1].startswith("left returned ") and ", right returned " in lines[-1]


def test_a_difference_tells_types_and_endings():
    def asking(kind):
        yield kind("x", D) if kind is Sample else kind("x", torch.zeros(()))

    one, other = begin(Program(asking, Sample)), begin(Program(asking, Param))
    assert str(compare(one, other)) == "no difference", "nothing is answered yet"
    assert [(each.name, each.what) for each in compare(one.step(), other.step()).sites] == [("x", "type")]
    assert str(compare(one, one.step())).splitlines()[-1] == "left has not ended, right returned None"
    assert str(compare(one.step(), one.step())) == "no difference"


def test_what_cannot_be_scored_has_no_log_density():
    def impossible():
        yield Observe("y", Uniform, torch.tensor(2.0), 0.0, 1.0)

    (answer,) = begin(impossible).finish().answers
    assert answer.scored is None
    assert "site 'y': cannot score" in str(answer.problem)
    for _ in range(2):
        with pytest.raises(DistributionError, match="site 'y': cannot score"):
            _ = begin(impossible).finish().log_density


def test_what_cannot_be_scored_in_one_of_two_runs_is_a_difference():
    def one(scale):
        yield Observe("y", Uniform(0.0, scale), torch.tensor(2.0))

    ours, theirs = begin(Program(one, 1.0)).finish(), begin(Program(one, 4.0)).finish()
    found = compare(ours, theirs)
    assert [(site.name, site.what) for site in found.sites] == [("y", "log density")]
    assert [math.isnan(each) for each in found.log_densities] == [True, False]
    assert "cannot be scored" in str(found)
    assert compare(ours, ours).same


def test_an_edit_moves_no_draw_that_does_not_depend_on_it():
    end = begin(model, seed=1).goto("kind").reply(1).finish()
    edited = end.edit("z", end.answers[0].site.value + 1.0).goto("kind").reply(1).finish()
    noise = [a["extra"].value - a["z"].value for a in (end.trace, edited.trace)]
    assert noise[0].item() == pytest.approx(noise[1].item(), abs=1e-6)
    assert [each.what for each in compare(end, edited).sites] == ["value", "value", "log density"]


def test_going_to_a_site():
    start = begin(model, seed=1)
    assert start.goto("z") is start
    far = start.goto("y")
    assert far.goto("z") is start and far.goto("k*").pending.name == "kind"
    assert far.goto(Breakpoint(types="observe")) is far
    with pytest.raises(NotReached, match=r"never reached 'w'; it reached: z, kind, (extra, )?y$"):
        far.goto("w")
    with pytest.raises(NotReached, match="it waits at 'y'"):
        _ = far.value
    end = far.finish()
    assert end.step() is end and end.back(100) is start and start.back() is start
    with pytest.raises(NotReached, match="has ended"):
        end.reply(1.0)


def test_moves_that_are_none_are_told():
    here = begin(model, seed=1).step()
    assert here.step(0) is here and here.back(0) is here
    for move in (here.step, here.back):
        for count in (-1, 1.5, True, "y"):
            with pytest.raises(ValueError, match=f"expected a whole number of messages, 0 or more, got {count!r}; goto"):
                move(count)
    for where in (3, None, ["y"]):
        for move in (here.goto, here.until, lambda where: here.edit(where, 1.0)):
            with pytest.raises(TypeError, match=f"expected the name of a site, .* got {re.escape(repr(where))}"):
                move(where)


@pytest.mark.parametrize(("index", "problem"), [
    ([1, 1, 1], "expected different numbers, as a plate draws without replacement"),
    ([0, 1, 9], "expected 3 numbers from 0 to 4"),
    ([0, 1], "expected a value of shape"),
])  # fmt: skip
def test_an_index_that_no_plate_draws_is_refused_and_nothing_is_lost(index, problem):
    def plated():
        @plate("p", 5, subsample_size=3)
        def each(i):
            return (yield Sample("x", D))

        return (yield from each())

    here = begin(plated, seed=1)
    with pytest.raises(WrongAnswer, match=f"site 'p': {problem}"):
        here.reply(torch.tensor(index))
    assert here.reply(torch.tensor([4, 0, 2])).finish().value.shape == (3,)


def test_breakpoints_select_by_name_type_and_predicate():
    start = begin(model, seed=1)
    assert start.until("z").has_ended, "until looks ahead"
    assert start.until(Breakpoint(types=["observe"])).pending.name == "y"
    assert start.until(Breakpoint(names=["nothing", "ki?d"])).pending.name == "kind"
    assert start.until(Breakpoint(when=lambda message: message.is_observed)).pending.name == "y"
    assert start.until(Breakpoint("k*", when=lambda message: False)).has_ended

    def brackets():
        yield Sample("x[0]", D)
        yield Sample("x[1]", D)

    assert begin(brackets).until("x[1]").pending.name == "x[1]", "a name that looks like a pattern is a name first"


def test_a_site_that_is_hidden_is_stepped_through_but_in_no_trace():
    whole = chain(model, block(hide=["kind"]), scale(scale=2.0))
    point = begin(whole(), seed=1).goto("kind")
    assert point.pending.type == "sealed" and unsealed(point.pending).name == "kind"
    end = point.reply(0).finish()
    assert list(end.trace) == ["_INPUT", "z", "y", "_RETURN"]
    assert end.log_density == end.trace.log_pdf()
    assert not end.answers[1].is_visible


def test_the_way_through_the_chain_is_told():
    point = begin(chain(model, condition(data={"z": torch.tensor(1.0)}), scale(scale=2.0))(), seed=1)
    assert [(what, who) for what, who, _ in point.way] == [("up", "the program"), ("up", "ConditionPoutine"), ("up", "ScalePoutine")]
    assert point.way[1][2].is_observed and point.way[-1][2] is point.pending
    answered = point.step().pause.answered
    assert [(what, who) for what, who, _ in answered.way[3:]] == [
        ("down", "the runtime"),
        ("down", "ScalePoutine"),
        ("down", "ConditionPoutine"),
    ]


def test_it_knows_the_line_at_which_it_waits():
    point = begin(model).goto("y")
    assert point.places[-1].file == __file__ and point.places[-1].function == "model"
    assert point.step().places == ()


def test_plates_are_stepped_through_site_by_site():
    def plated():
        @plate("p", 3, vectorized=False)
        def each(i):
            return (yield Sample(f"x{i}", D))

        return (yield from each())

    point = begin(plated, seed=2)
    assert [a.site.name for a in point.finish().answers] == ["x0", "x1", "x2"]
    assert same(point.goto("x2").finish().value, run(plated, seed=2))
    assert [frame.counter for frame in point.goto("x2").pending.cond_indep_stack] == [3]


@pytest.mark.parametrize(("site", "value", "problem"), [
    ("z", [1.0, 2.0], r"expected a value of shape \(\), got shape \(2,\)"),
    ("z", "high", r"expected numbers of shape \(\), got 'high'"),
    ("z", None, "expected numbers"),
    ("z", D, "expected numbers"),
    ("z", UNDECIDED, "expected a value, got UNDECIDED"),
    ("z", Sample("z", D), "expected a value, got Sample"),
    ("z", float("nan"), "cannot score"),
    ("kind", 0.5, "expected values of type torch.int64, got 0.5"),
    ("kind", 2, "cannot score a value"),
    ("kind", -1, "cannot score a value"),
    ("y", torch.ones(2), "expected a value of shape"),
])  # fmt: skip
def test_an_answer_of_the_wrong_kind_is_refused_and_nothing_is_lost(site, value, problem):
    with Cursor(begin(model, seed=1).goto(site)) as cursor:
        before = cursor.here
        with pytest.raises(WrongAnswer, match=f"site '{site}': {problem}"):
            cursor.reply(value)
        assert cursor.here is before
        cursor.until("nowhere")
        assert same(cursor.here.value, run(model, seed=1))


def test_params_keep_their_constraint_their_store_and_their_gradient():
    def learning():
        w = yield Param("w", torch.tensor(2.0), constraint=torch.distributions.constraints.positive)
        yield Observe("y", Normal(w, 1.0), torch.tensor(1.0))
        return w

    store = ParamStore()
    end = begin(learning, params=store).finish()
    end.log_density.backward()
    assert next(iter(store.parameters())).grad is not None
    with pytest.raises(WrongAnswer, match="does not satisfy"):
        begin(learning, params=store).reply(-1.0)
    assert begin(learning, params=store).reply(3).finish().value == 3.0


def test_a_message_that_nobody_knows_can_be_answered_by_hand():
    def asking():
        answer = yield Ask("q", "where?")
        yield Sample("x", D)
        return answer

    point = begin(asking)
    assert point.reply("there").finish().value == "there"
    assert repr(point) == "<Suspended at Ask('q', value=UNDECIDED, question='where?'), after 0 answers>"
    assert repr(point.reply("there").step()) == "<Suspended: returned 'there', after 2 answers>"
    with pytest.raises(UnhandledMessage):
        _ = point.step().value
    assert "raised UnhandledMessage" in repr(point.step())


def test_an_error_of_the_model_is_an_ending_and_one_can_go_back():
    def failing():
        x = yield Sample("x", D)
        if x < 10:
            raise ArithmeticError(x)
        return x

    end = begin(failing).finish()
    with pytest.raises(ArithmeticError):
        _ = end.value
    assert end.back().reply(11.0).finish().value == 11.0
    with pytest.raises(NotReached, match="it reached: x before it raised ArithmeticError"):
        begin(failing).goto("y")

    def at_once():
        raise ArithmeticError
        yield

    assert begin(at_once).has_ended


def test_a_program_that_does_not_do_the_same_twice_is_told():
    runs: list[int] = []

    def fickle():
        runs.append(1)
        yield Sample(f"x{len(runs)}", D)
        yield Sample("y", D)

    point = begin(fickle).step()
    with pytest.raises(StructureChanged, match=r"instead of site 'x\d' .sample. it yielded Sample.'x\d'"):
        point.back().step().step()


@pytest.mark.parametrize(("site", "problem"), [
    (lambda run: Sample("x", Normal(torch.tensor(float(run)), 1.0)), "at site 'x' its log density is -[0-9.]+, and was -"),
    (lambda run: Sample("x", Normal, float(run), 1.0), r"at site 'x' it is Sample\('x', Normal, 3.0, 1.0, .*, and was Sample\('x', Normal, 2.0"),
    (lambda run: Observe("x", Normal(0.0, 1.0), torch.tensor(float(run))), "at site 'x' its log density is -5.41894, and was -2.91894"),
    (lambda run: Observe("x", Normal, torch.tensor(float(run)), 0.0, 1.0), "at site 'x' it is Observe"),
    (lambda run: Sample("x", Uniform if run == 2 else Normal, 0.0, 1.0), "at site 'x' it is"),
    (lambda run: Sample("x", D).evolve(scale=float(run)), "at site 'x' its log density is"),
    (lambda run: Sample("x", Normal(0.0, 1.0) if run == 2 else Uniform(5.0, 6.0)), "at site 'x' its log density is site 'x': cannot score a value"),
])  # fmt: skip
def test_a_program_whose_densities_change_from_run_to_run_is_told(site, problem):
    runs: list[int] = []

    def fickle():
        runs.append(1)
        x = yield site(len(runs))
        yield Sample("y", Normal(x, 1.0))

    with pytest.raises(StructureChanged, match=f"did not do the same twice: {problem}"):
        begin(fickle).step().step()


def test_a_program_may_define_its_distribution_anew_and_change_its_values_in_place():
    def model():
        class Mine(Normal):
            pass

        x = yield Sample("x", Mine, 0.0, 1.0)
        x.add_(1.0)
        loc = torch.zeros(())
        y = yield Sample("y", Normal(loc, 1.0))
        loc.add_(x)
        return x + y + loc

    assert begin(model).step().step().step().value == run(model)


@pytest.mark.parametrize("move", [
    lambda point: point.step(),
    lambda point: point.goto("y"),
    lambda point: point.finish(),
    lambda point: point.edit("z", 1.0),
    lambda point: pytest.raises(WrongAnswer, point.reply, "x"),
    lambda point: pytest.raises(NotReached, point.goto, "nowhere"),
    lambda point: next(point.walk()),
    lambda point: [each.index for each in point.walk()],
])  # fmt: skip
def test_no_move_leaves_a_generator_open(monkeypatch, move):
    held, watched = hold(monkeypatch), Watched(model)
    move(begin(Program(watched), seed=1))
    gc.collect()  # of walks that were left
    assert held and watched.started == watched.ended >= 1 and not watched.still_open


def test_a_cursor_keeps_one_run_open_and_closes_it(monkeypatch):
    held, watched = hold(monkeypatch), Watched(model)
    with Cursor(begin(Program(watched), seed=1)) as cursor:
        for _ in range(3):
            cursor.step()
        assert watched.started == 2 and watched.running, "one to begin with, and one that goes on"
        cursor.here = cursor.here.back()
        cursor.step()
        assert len(held) == watched.started == 3
    assert watched.started == watched.ended and not watched.still_open


def test_an_interrupted_move_loses_nothing():
    def interrupted():
        x = yield Sample("x", D)
        if not held:
            raise KeyboardInterrupt
        return x

    held: list[int] = []
    with Cursor(begin(interrupted)) as cursor:
        with pytest.raises(KeyboardInterrupt):
            cursor.step()
        assert cursor.here.pending.name == "x"
        held.append(1)
        cursor.step()
        assert cursor.here.has_ended


def in_place():
    x = yield Sample("x", Normal(torch.zeros(2), 1.0))
    y = yield Sample("y", Normal(x, 1.0))
    both = yield Deterministic("both", [x, y])
    x.add_(1.0)
    both[1].mul_(2.0)
    yield Observe("z", Normal(y, 1.0), x)
    return [each.tolist() for each in both]


def test_a_program_that_changes_in_place_what_it_was_sent_changes_no_record():
    expected = run(in_place, seed=1)
    start = begin(in_place, seed=1)
    point = start.step()
    assert [point.finish().value for _ in range(3)] == [expected] * 3
    end = start.finish()
    whole = [answer.site.value for answer in end.answers]
    assert (whole[0] + 1.0).tolist() == expected[0] == whole[3].tolist()
    assert same(whole[2], whole[:2]), "also of what it computed itself"
    densities = [
        Normal(0.0, 1.0).log_prob(whole[0]),
        Normal(*whole[:1], 1.0).log_prob(whole[1]),
        Normal(2 * whole[1], 1.0).log_prob(whole[3]),
    ]
    assert end.log_density.item() == pytest.approx(sum(densities).sum().item())
    assert [message.value.tolist() for _, _, message in end.answers[0].way if message.is_decided] == [whole[0].tolist()]
    value = torch.zeros(2)
    edited = start.reply(value)
    value.add_(5.0)
    assert edited.finish().value[0] == [1.0, 1.0] and start.reply(value).finish().value[0] == [6.0, 6.0]
    assert value.tolist() == [5.0, 5.0]


def test_gradients_reach_what_is_recorded():
    def learning():
        mu = yield Param("mu", torch.zeros(2))
        x = yield Sample("x", Normal(mu, 1.0))
        x.add_(1.0)
        yield Observe("y", Normal(x, 1.0), torch.ones(2))

    end = begin(learning, seed=1).step(2).finish()
    x = end.trace["x"].value
    (gradient,) = torch.autograd.grad(end.log_density, x)
    assert torch.allclose(gradient, -2 * x)


def test_the_state_of_a_markov_loop_comes_from_the_program():
    def adding():
        @markov("t", 3)
        def step(t, x):
            x = yield Sample("x", Normal(torch.zeros(2) if x is None else x, 1.0))
            return x.add_(1.0)

        return (yield from step())

    start = begin(adding, seed=1)
    expected = run(adding, seed=1)
    assert [answer.site.name for answer in start.finish().answers] == ["x_0", "x_1", "x_2"]
    assert all(same(start.step(count).finish().value, expected) for count in (1, 2, 2, 3))


def test_a_traced_program_returns_its_trace():
    assert begin(trace(model).traced(), seed=3).finish().value == run(trace(model).traced(), seed=3)


def test_a_name_that_is_visited_again_is_drawn_anew_whatever_the_way():
    """Draws are keyed by the visit, too: those that were replayed, edited or observed count."""

    def walking():
        values = []
        for _ in range(4):
            values.append((yield Sample("x", D)))
        return [float(value) for value in values]

    expected = run(walking, seed=5)
    assert len(set(expected)) == 4
    start = begin(walking, seed=5)
    assert start.step(2).back().step().finish().value == expected
    assert start.step().reply(9.0).step().finish().value == [expected[0], 9.0, *expected[2:]]
    assert [each.name for each in compare(start.finish(), start.step().reply(9.0).finish()).sites] == ["x#2"]
