"""A vectorised loop whose steps are not alike, and what ``block`` hides: elimination says what the sequential enumerator says."""

from __future__ import annotations

import pytest
import torch
import torch.distributions as td

from interpreters.density import density
from interpreters.elimination import eliminate
from interpreters.enumeration import exact
from interpreters.errors import NotVectorizable
from interpreters.evidence import evidence
from poutine import Observe, Program, Sample, block, condition, do, markov, plate, replay, run, scale, scope, substitute, trace

F64 = torch.float64
START, TURN = torch.tensor([0.5, 0.5], dtype=F64), torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=F64)
Y = torch.tensor([0.3, 1.0, -0.2, 0.4], dtype=F64)


def normal(loc):
    return td.Normal(torch.as_tensor(loc).to(F64), 1.0)


def chain(vectorized=True, steps=3):
    @markov("days", steps, vectorized=vectorized)
    def day(t, x):
        x = yield Sample("x", td.Categorical(START if x is None else TURN[x]))
        yield Observe("y", normal(x), Y[t])
        return x

    yield from day()


def without_data(vectorized=True):
    @markov("days", 4, vectorized=vectorized)
    def day(t, x):
        x = yield Sample("x", td.Categorical(START if x is None else TURN[x]))
        yield Sample("y", normal(x))
        return x

    yield from day()


def hidden_inside():
    @markov("days", 4, vectorized=True)
    def day(t, x):
        x = yield from block(lambda: (yield Sample("x", td.Categorical(START if x is None else TURN[x]))))()
        yield Observe("y", normal(x), Y[t])
        return x

    yield from day()


def plate_inside(size, steps, chooses=True):
    """``size`` elements at the dimension that the steps would take: where it is one less than the steps, torch sees no difference."""

    def model():
        @markov("days", steps, vectorized=True)
        def day(t, x):
            x = yield Sample("x", td.Categorical(START if x is None else TURN[x]))

            @plate("rows", size)
            def rows(i):
                w = (yield Sample("w", td.Bernoulli(0.3 + 0.2 * x.to(F64)))) if chooses else x
                yield Observe("y", normal(x + w), torch.arange(size, dtype=F64)[i])

            yield from rows()
            return x

        yield from day()

    return model


def nested():
    @markov("outer", 3, vectorized=True)
    def outer(s, x):
        @markov("inner", 3, vectorized=True)
        def inner(t, x):
            x = yield Sample("x", td.Categorical(START if x is None else TURN[x]))
            yield Observe("y", normal(x), Y[t] + torch.as_tensor(s))
            return x

        return (yield from inner(x))

    yield from outer()


def three_times():
    """What is hidden may have one name again and again."""
    for i in range(3):
        k = yield from block(lambda: (yield Sample("k", td.Bernoulli(torch.tensor(0.3, dtype=F64)))))()
        yield Observe(f"y{i}", normal(k), Y[i])


def two():
    k = yield Sample("k", td.Bernoulli(torch.tensor(0.01, dtype=F64)))
    z = yield Sample("z", td.Bernoulli(0.1 + 0.8 * k))
    yield Observe("y", normal(z), Y[1])


ONE = {"x_1": torch.tensor(1)}
PROGRAMS = {
    **{f"{h.__name__}, {v}, {strict}": h(chain, data={"x_1": torch.tensor(v)}, strict=strict)()
       for h in (condition, do, substitute) for v in (0, 1) for strict in (True, False)},
    **{f"{h.__name__} first": h(chain, data={"x_0": torch.tensor(1)})() for h in (condition, do, substitute)},
    "in a scope": do(scope(chain, prefix="a"), data={"a/x_1": torch.tensor(1)})(),
    "replayed": replay(chain, guide_trace=trace(chain).get_trace(False))(),
    "all of the data": condition(without_data, data={f"y_{t}": Y[t] for t in range(4)})(),
    **{f"hides {', '.join(names)}": block(chain, hide=names)()
       for names in (["x_1"], ["x_0"], ["y_1"], ["x_0", "x_1", "x_2"], ["y_0", "y_1", "y_2"])},
    "hides all": block(chain)(),
    "hidden inside": Program(hidden_inside),
    **{f"a plate of {size} in {steps} steps": Program(plate_inside(size, steps)) for size, steps in ((1, 3), (2, 3))},
    **{f"a plate of {size} observations": Program(plate_inside(size, 4, False)) for size in (2, 3)},
    "nested": Program(nested),
    "three times": Program(three_times),
    "hidden and scaled": block(scale(two, scale=3.0), hide=["k"])(),
    "hidden and observed": block(two, hide=["k", "y"])(),
    "hidden and given": block(condition(two, data={"k": torch.tensor(1.0, dtype=F64)}), hide=["k"])(),
}  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_it_is_what_is_enumerated(program):
    theirs, ours = exact(program), eliminate(program)
    assert ours.log_evidence.item() == pytest.approx(theirs.log_evidence.item(), rel=1e-12, abs=1e-12)
    best, sites = ours.most_probable(), [name for name in theirs.traces[0].stochastic_nodes if not theirs.traces[0][name].is_observed]
    undecided = [name for name in sites if name in best]
    assert list(best) == undecided
    draws = run(Program(ours.sample, 3), seed=1)
    for name in undecided:
        mean = theirs.expectation(lambda t, name=name: t[name].value.to(F64))
        probability, values = ours.marginal(name), ours.values(name).to(F64)
        assert torch.allclose((probability * values).sum(-1).reshape(mean.shape), mean, rtol=1e-12, atol=1e-12), name
        assert draws[name].shape == (3, *best[name].shape)
    assert evidence(program)().item() == pytest.approx(ours.log_evidence.item(), rel=1e-12, abs=1e-12)


def test_the_best_is_the_best_trace_of_all():
    """Hidden choices are made, too: a trace for each of them."""
    program = block(scale(two, scale=3.0), hide=["k"])()
    theirs = exact(program)
    top = theirs.traces[int(theirs.log_densities.argmax())]
    assert eliminate(program).most_probable()["z"] == top["z"].value
    with pytest.raises(KeyError, match="no site k among those summed out: z"):
        eliminate(program).marginal("k")


def test_loops_are_taken_at_once_where_their_steps_are_alike():
    everywhere = [chain, scale(chain, scale=1.0)(), condition(chain, data={})(), scope(chain, prefix="a")()]
    assert [eliminate(program).graph.in_turn for program in everywhere] == [frozenset()] * 4
    assert eliminate(condition(chain, data={"x_0": torch.tensor(0)})()).graph.in_turn == {"days"}
    assert eliminate(condition(chain, data=ONE)()).graph.in_turn == {"days"}
    assert eliminate(plate_inside(2, 3), max_plate_nesting=1).graph.in_turn == frozenset(), "taken in turn as soon as it is seen"
    assert eliminate(plate_inside(2, 3), max_plate_nesting=1).graph.chains == ()


def test_names_of_many_steps_are_no_names():
    """No other runtime has a site of this name."""

    @markov("days", 3, vectorized=True)
    def day(t, x):
        x = yield Sample("x", td.Categorical(START if x is None else TURN[x]))
        yield Sample("w", td.Categorical(START))
        return x

    with pytest.raises(NotVectorizable, match="other sites .* or others that are undecided: w_1, w_2; are there names of steps"):
        eliminate(substitute(day, data={"w_1:3": torch.tensor([0, 1])}, strict=False)())


def test_samplers_take_them_in_turn_too():
    def model():
        loc = yield Sample("loc", normal(0.0))
        yield from scale(chain, scale=1.0)()
        yield Observe("again", normal(loc), Y[0])

    u = torch.tensor([0.25], dtype=F64)
    whole = density(do(model, data=ONE)())
    assert whole.in_turn == {"days"}
    given = density(model)
    assert given.in_turn == frozenset()
    assert given.at(do(model, data=ONE)())(u).item() == pytest.approx(whole(u).item(), rel=1e-12)
    difference = eliminate(do(chain, data=ONE)()).log_evidence - eliminate(chain).log_evidence
    assert (whole(u) - given(u)).item() == pytest.approx(difference.item(), rel=1e-12)


def test_a_continuous_site_of_each_step_is_one_of_its_own():
    """Its values are given by the names of a plain run."""

    def model(vectorized):
        @markov("days", 4, vectorized=vectorized)
        def day(t, x):
            x = yield Sample("x", td.Categorical(START if x is None else TURN[x]))
            shift = yield Sample("shift", normal(0.0))
            yield Observe("y", normal(x + shift), Y[t])
            return x

        yield from day()

    ours, theirs = density(Program(model, True)), density(Program(model, False))
    u = torch.tensor([0.1, -0.3, 0.5, 1.0], dtype=F64)
    torch.testing.assert_close(ours.value_and_grad(u), theirs.value_and_grad(u))
    assert list(ours.sites) == [f"shift_{t}" for t in range(4)] and ours.in_turn == {"days"}


def test_a_layout_that_sums_alike_is_refused():
    """Turned by a quarter, it has the same sum wherever all states are the same, as in a plain run they may be."""

    @plate("columns", 2, dim=-2)
    def columns(j):
        @plate("rows", 2, dim=-1)
        def rows(i):
            x = yield Sample("x", td.Bernoulli(torch.tensor(1e-9, dtype=F64)).expand([2, 2]))
            yield Observe("y", normal(x), Y[:2] if x.dim() == 2 else Y[:2, None])

        yield from rows()

    with pytest.raises(NotVectorizable, match="site 'y'.*or is laid out otherwise"):
        eliminate(columns)


@pytest.mark.parametrize("event", [(), (2,)], ids=["numbers", "vectors"])
@pytest.mark.parametrize(("steps", "elements"), [(3, 3), (3, 2), (3, 1), (4, 2)])
def test_rows_of_as_many_steps_as_there_are_values_are_not_taken_for_values(steps: int, elements: int, event: tuple[int, ...]):
    """``y.T[t]`` of all steps but the first is [steps - 1, 1, elements]: to the left, where the values of a state are.

    Without ``max_plate_nesting`` a plain run tells, and they are refused.
    """
    states = steps - 1
    y = torch.linspace(-2.0, 3.0, steps * elements * (2 if event else 1)).reshape(steps, elements, *event)
    location = torch.arange(states * (2 if event else 1), dtype=torch.float32).reshape(states, *event)
    transition = (torch.eye(states) + 0.5) / (1 + 0.5 * states)

    def model(vectorized: bool):
        @plate("p", elements)
        def chains(_):
            @markov("m", steps, vectorized=vectorized)
            def step(t, x):
                x = yield Sample("x", td.Categorical(torch.full((states,), 1 / states) if x is None else transition[x]))
                emitted = td.Normal(location[x], 1.0)
                yield Observe("y", td.Independent(emitted, 1) if event else emitted, y[t])
                return x

            yield from step()

        yield from chains()

    expected, found = (eliminate(Program(model, vectorized), max_plate_nesting=1).log_evidence for vectorized in (False, True))
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
