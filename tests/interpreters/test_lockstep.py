"""Lockstep batches: the same as single runs, exactly where that can be told, and nothing left open."""

from __future__ import annotations

import copy
import gc
import math
import weakref
from collections import Counter
from functools import partial
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Exponential,
    Gamma,
    LKJCholesky,
    LogisticNormal,
    MixtureSameFamily,
    Normal,
    Poisson,
    Uniform,
)

from interpreters.batches.batch import Batch
from interpreters.errors import BatchError
from interpreters.lockstep import density, lockstep
from poutine import (
    Coroutine,
    Deterministic,
    DistributionError,
    Observe,
    Param,
    ParamError,
    ParamStore,
    PlateError,
    Program,
    Sample,
    Trace,
    answer,
    batch_log_density,
    block,
    condition,
    factor,
    lift,
    mask,
    plate,
    replay,
    run,
    scale,
    trace,
)
from poutine.laws import Ask, distributions, programs
from poutine.laws.ask import AskingRuntime
from poutine.laws.outcome import difference, finished
from tests.interpreters.enumeration import runs

F64 = torch.float64


def together(fn, number, seed=0, params=None, **options) -> Batch:
    return run(Program(lockstep, fn, number, **options), seed, params)


# The same as single runs


def branching():
    """What is drawn, and how often, depends on what was drawn: five runs."""
    heads = yield Sample("heads", Bernoulli, 0.25)
    if heads:
        kind = int((yield Sample("kind", Categorical(torch.tensor([0.5, 0.25, 0.25], dtype=F64)))))
        return kind, int((yield Sample("last", Bernoulli, 0.5))) if kind == 2 else 0
    return int((yield Sample("last", Bernoulli, 0.125))), -1


def in_a_plate():
    """A plate under a handler, and a draw that an instance hides."""
    hidden = yield from block(coin)()

    @plate("pair", 2)
    def pair(_):
        return (yield Sample("x", Bernoulli(torch.tensor(0.25 + 0.5 * float(hidden)))))

    return int(hidden), *map(int, (yield from scale(pair, scale=2.0)()))


def coin():
    return (yield Sample("coin", Bernoulli, 0.5))


@pytest.mark.parametrize("least", [1, 3])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(("fn", "numbers"), [(branching, False), (branching, True), (in_a_plate, False)])
def test_under_the_exact_enumerator_it_is_independent_single_runs(fn, numbers, number, least):
    single = Counter()
    for value, probability in runs(Program(fn)):
        single[value] += probability
    joint = Counter()
    for batch, probability in runs(Program(lockstep, fn, number, numbers=numbers, least=least)):
        joint[batch.values] += probability
    expected = {values: math.prod(single[value] for value in values) for values in product(single, repeat=number)}
    assert math.fsum(joint.values()) == pytest.approx(1.0, rel=1e-6)
    assert dict(joint) == pytest.approx(expected, rel=1e-5)  # some of the probabilities are of single precision


@given(programs(handlers=False), st.sampled_from([1, 2, 3]), st.integers(0, 3))
def test_replayed_each_instance_is_a_single_run(program, least, seed):
    batch = answer(Program(lockstep, program, 5, least=least, keep=True), AskingRuntime(seed))
    for i in range(5):
        mine = batch.trace(i)
        runtime = AskingRuntime(seed)
        alone = answer(trace(replay(program, guide_trace=mine)).traced(), runtime)
        whole = finished(alone)
        sites = finished(returning(mine, alone))
        assert difference(sites, whole) is None
        assert torch.equal(torch.as_tensor(batch.values[i]), torch.as_tensor(alone["_RETURN"].value))
        assert batch.log_densities[i].item() == pytest.approx(log_density(mine), rel=1e-5, abs=1e-5)


@given(programs(), st.integers(0, 3))
def test_an_instances_density_is_that_of_its_trace(program, seed):
    batch = answer(Program(lockstep, program, 4, least=2, keep=True), AskingRuntime(seed))
    for i in range(4):
        assert batch.log_densities[i].item() == pytest.approx(log_density(batch.trace(i)), rel=1e-5, abs=1e-5)


def returning(mine: Trace, alone: Trace) -> Trace:
    whole = mine.copy()
    whole.record(alone["_RETURN"])
    return whole


def log_density(sites: Trace) -> float:
    return sum(each.detach().double().sum().item() for each in sites.compute_batch_log_pdf().values())


def test_mixtures_are_drawn_and_scored_one_by_one():
    """Their arguments are distributions, which cannot be stacked: those of the first are not those of all."""

    def model():
        loc = yield Sample("loc", Normal(0.0, 10.0))
        return (yield Sample("x", MixtureSameFamily(Categorical(torch.ones(2)), Normal(loc + torch.tensor([0.0, 0.5]), 0.01))))

    batch = together(model, 4, 0, keep=True)
    for i, value in enumerate(batch.values):
        sites = batch.trace(i)
        assert abs(value - sites["loc"].value) < 1.0
        assert batch.log_densities[i].item() == pytest.approx(log_density(sites), rel=1e-5)


@given(st.lists(distributions(), min_size=1, max_size=1), st.integers(0, 2))
def test_every_distribution_is_drawn_and_scored_as_each_alone(drawn, seed):
    def model():
        return (yield Sample("x", drawn[0]))

    batch = together(model, 4, seed, keep=True)
    for i, value in enumerate(batch.values):
        site = batch.trace(i)["x"]
        assert site.value is value
        assert value.shape == drawn[0].batch_shape + drawn[0].event_shape
        assert batch.log_densities[i].item() == pytest.approx(batch_log_density(site).double().sum().item(), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("numbers", [False, True])
def test_parameters_of_their_own(numbers):
    """Each instance has other arguments, of other ranks, and other values, scales and masks."""

    def model():
        mu = yield Sample("mu", Normal, 0.0, 1.0)
        rate = yield Sample("rate", Gamma, 2.0, 1.0)
        yield Sample("row", Normal(torch.tensor([1.0, 2.0, 3.0]) * mu, rate))
        yield Observe("y", Normal, torch.tensor([0.5, 1.5]), mu, rate)
        yield Observe("z", Exponential, 1.5, rate)
        yield from scale(masked, scale=0.5 + torch.as_tensor(rate))(mu)
        yield factor("f", -(torch.as_tensor(mu) ** 2))
        return mu

    def masked(mu):
        yield from mask(two, mask=torch.tensor([True, mu > 0]))(mu)

    def two(mu):
        yield Observe("two", Normal(torch.as_tensor(mu).expand(2), 1.0), torch.tensor([0.1, 0.2]))

    batch = together(model, 7, numbers=numbers, keep=True)
    assert all(isinstance(value, float if numbers else torch.Tensor) for value in batch.values)
    assert [group.name for group in batch.groups] == ["mu", "rate", "row", "y", "z", "two", "f"]
    for i in range(7):
        mine = batch.trace(i)
        alone = run(trace(replay(model, guide_trace=mine)).traced())
        assert log_density(alone) == pytest.approx(log_density(mine), rel=1e-6)
        assert batch.log_densities[i].item() == pytest.approx(log_density(alone), rel=1e-6)


@pytest.mark.parametrize("least", [1, 2])
@pytest.mark.parametrize("numbers", [False, True])
def test_each_value_and_density_goes_to_the_instance_that_it_belongs_to(numbers, least):
    """Means far apart, no two alike, and instances that leave one after the other: a part of another would be seen at once."""
    started = iter(range(9))

    def model():
        i = next(started)
        for k in range(i % 4):
            x = yield Sample(f"x_{k}", Normal, 100.0 * i, 1e-3)
            assert abs(float(x) - 100.0 * i) < 0.1
        yield Observe("y", Normal, 0.0, 10.0 * i, 1.0)
        yield Observe(f"z_{i % 3}", Exponential, float(i), 1.0)
        return i

    batch = together(model, 9, numbers=numbers, least=least, score=observed_density)
    assert batch.values == tuple(range(9))
    expected = [-0.5 * (10.0 * i) ** 2 - 0.5 * math.log(2 * math.pi) - i for i in range(9)]
    assert batch.log_densities.tolist() == pytest.approx(expected, rel=1e-6)


def observed_density(request, site):
    return batch_log_density(site) if isinstance(site, Observe) else None


def test_what_is_no_parameter_of_a_draw_is_not_taken_for_another_instances():
    """A matrix's size is not stacked: instances that ask for another one are another group."""
    started = iter(range(6))

    def model():
        return (yield Sample("x", LKJCholesky, 2 + next(started) % 2, 1.5))

    assert [len(value) for value in together(model, 6, numbers=True).values] == [2, 3] * 3


def test_more_arguments_than_parameters_are_asked_for_one_by_one():
    def model():
        return (yield Sample("x", Normal, 0.0, 1.0, False))

    batch = together(model, 4, numbers=True)
    assert len(set(map(float, batch.values))) == 4


def test_draws_have_the_distributions_moments():
    def model():
        x = yield Sample("x", Normal, 3.0, 2.0)
        p = yield Sample("p", Beta, 2.0, 3.0)
        k = yield Sample("k", Poisson, 4.0)
        return x, p, k

    n = 4000
    values = torch.tensor(together(model, n, numbers=True).values)
    error = torch.tensor([2.0, math.sqrt(0.04), 2.0]) / math.sqrt(n)
    assert bool(((values.mean(0) - torch.tensor([3.0, 0.4, 4.0])).abs() < 4 * error).all())


# A program again


def walk():
    x, i = 0.0, 0
    while True:
        x = yield Sample(f"x_{i}", Normal, x, 1.0)
        if (yield Sample(f"stop_{i}", Bernoulli, 0.4)):
            return x
        i += 1


def test_its_messages_are_those_of_the_groups():
    sites = run(trace(lockstep).traced(walk, 50))
    batch = sites["_RETURN"].value
    assert sites["x_0"].value.shape == (50,)
    assert len(sites["x_1"].value) == 50 - int(sites["stop_0"].value.sum())
    assert sites["x_1"].infer["instances"] == tuple(i for i, stop in enumerate(sites["stop_0"].value) if not stop)
    assert any(name.startswith("instance_") for name in sites)  # the last who walk
    assert sites.log_pdf().item() == pytest.approx(batch.log_densities.sum().item(), rel=1e-5)


def test_a_name_that_comes_again_is_numbered():
    def model():
        for _ in range(2):
            yield Sample("z", Normal, 0.0, 1.0)

    assert list(run(trace(lockstep).traced(model, 40)))[1:-1] == ["z", "z#2"]


def test_those_who_took_different_ways_go_on_together():
    def model():
        if (yield Sample("first", Bernoulli, 0.5)):
            yield Sample("x", Normal, 0.0, 1.0)
        yield Sample("z", Normal, 0.0, 1.0)

    sites = run(trace(lockstep).traced(model, 40))
    assert list(sites)[1:-1] == ["first", "x", "z"]
    assert len(sites["x"].value) < len(sites["z"].value) == 40

    def seen():
        yield from walk()
        yield Observe("y", Normal, 0.5, 0.0, 1.0)

    assert run(trace(lockstep).traced(seen, 50))["y"].value.shape == (50,), "however long each has walked"


def test_poutines_act_on_the_batch_and_each_instance_sees_it():
    def model():
        return (yield from trace(inner).traced())

    def inner():
        return (yield Sample("x", Normal, 0.0, 1.0))

    data = torch.arange(4.0)
    batch = run(scale(condition(lockstep, data={"x": data}), scale=0.5)(model, 4))
    for i, sites in enumerate(batch.values):
        assert sites["x"].is_observed
        assert sites["x"].scale == 0.5
        assert sites["x"].value == sites["_RETURN"].value == data[i]
    assert torch.allclose(batch.log_densities, 0.5 * Normal(0.0, 1.0).log_prob(data).double())


def test_it_is_stable_and_one_seed_is_one_result():
    assert together(walk, 20, 1).values == together(walk, 20, 1).values != together(walk, 20, 2).values


def test_a_batch_of_batches():
    batch = together(lambda: lockstep(walk, 3), 4, keep=True)
    assert batch.log_densities.shape == (4,)
    inner = torch.stack([each.log_densities.sum() for each in batch.values])
    assert torch.allclose(inner, batch.log_densities)


def test_parameters_are_shared_and_have_gradients():
    def model():
        w = yield Param("w", torch.tensor(0.5))
        x = yield Sample("x", Normal(w, 1.0))
        yield Observe("y", Normal(x, 1.0), torch.tensor(2.0))
        return w

    params = ParamStore()
    batch = together(model, 5, params=params)
    assert all(each is batch.values[0] for each in batch.values)
    batch.log_densities.sum().backward()
    assert all(each.grad is not None and each.grad != 0 for each in params.parameters())


@pytest.mark.parametrize("again", [False, True])
def test_a_parameter_that_is_shared_is_not_changed_in_place(again):
    def model():
        w = yield Param("w", torch.tensor(1.0))
        x = yield Sample("x", Normal, 0.0, 1.0)
        w += x
        del w
        if again:
            yield Param("w", torch.tensor(1.0))

    with pytest.raises(BatchError, match="site 'w': an instance has changed the parameter's value in place"):
        together(model, 4)
    with torch.inference_mode():
        together(branching, 4)
        together(reading, 4)


def reading():
    return (yield Param("w", torch.tensor(1.0)))


def test_messages_of_the_users_own_pass_one_by_one():
    def model():
        x = yield Sample("x", Normal, 0.0, 1.0)
        return x, (yield Ask("a", question=x))

    runtime = AskingRuntime()
    batch = answer(Program(lockstep, model, 4), runtime)
    assert [ask.name for ask in runtime.asked] == ["a"] * 4
    assert all(answered == 2 * x for x, answered in batch.values)


def test_each_instance_counts_its_own_plates():
    def model():
        counters = []
        for _ in range(2):

            @plate("twice", 2)
            def inside(_):
                site = yield from trace(one).traced()
                return site["x"].cond_indep_stack[0].counter

            counters.append((yield from inside()))
        return counters

    def one():
        yield Sample("x", Normal(torch.zeros(2), 1.0))

    assert together(model, 4).values == ([1, 2],) * 4


def test_each_instance_counts_its_own_plates_whenever_others_enter():
    started = iter(range(4))

    @plate("one", 2)
    def inside(_):
        site = yield from trace(lambda: coin_of("x")).traced()
        return site["x"].cond_indep_stack[0].counter

    def model():
        if next(started) % 2:
            return (yield from inside())
        yield Sample("before", Normal, 0.0, 1.0)
        return (yield from inside())

    assert together(model, 4).values == (1, 1, 1, 1)


def test_computed_values_and_values_that_are_no_numbers():
    def model():
        x = yield Sample("x", Normal, 0.0, 1.0)
        yield Deterministic("twice", 2 * x)
        return (yield Deterministic("word", "abc"))

    batch = together(model, 4, keep=True)
    assert batch.values == ("abc",) * 4
    assert all(batch.trace(i)["twice"].value == 2 * batch.trace(i)["x"].value for i in range(4))


# What goes wrong


class Broken(Exception):
    pass


def failing(opened):
    number = len(opened)
    opened.append(number)
    try:
        x = yield Sample("x", Normal, 0.0, 1.0)
        if number == 2:
            raise Broken
        yield Sample("y", Normal, x, 1.0)
    finally:
        opened.append("closed")


def test_an_instance_that_raises_is_named_and_all_others_are_closed():
    opened: list = []
    with pytest.raises(Broken) as raised:
        together(lambda: failing(opened), 5)
    assert raised.value.__notes__ == ["in run 2 of 5", "after the answer to its site 'x'"]
    assert opened.count("closed") == 5


def test_those_that_are_not_finished_are_closed_by_the_batch_and_not_by_the_collector():
    """The generators are held on to, so that nothing but ``close`` ends them."""
    held: list = []

    def held_on_to():
        held.append(failing(opened))
        return held[-1]

    opened: list = []
    with pytest.raises(Broken):
        together(held_on_to, 5)
    assert [each.gi_frame for each in held] == [None] * 5
    assert opened.count("closed") == 5


def test_what_the_runtime_refuses_is_thrown_into_the_instance_that_it_is_about():
    caught = []

    numbers = iter(range(5))

    def model():
        number = next(numbers)
        try:
            yield Sample("x", Normal, 0.0, -1.0 if number == 3 else 1.0)
        except DistributionError as error:
            caught.append(number)
            raise error

    with pytest.raises(DistributionError, match="site 'x'") as raised:
        together(model, 5)
    assert caught == [3]
    assert raised.value.__notes__[-1] == "in run 3 of 5"


@pytest.mark.parametrize(("family", "arguments", "usual", "odd"), [
    (Poisson, (2.0,), 1.0, 1.5), (Normal, (0.0, 1.0), 1.0, float("nan")), (Categorical, (torch.ones(3),), torch.tensor(1), torch.tensor(9)),
])  # fmt: skip
@pytest.mark.parametrize("numbers", [True, False])
def test_an_observation_that_cannot_be_is_told_to_the_instance_that_has_it(family, arguments, usual, odd, numbers):
    each = iter(range(5))

    def model():
        yield Observe("y", family, odd if next(each) == 3 else usual, *arguments)

    with pytest.raises(DistributionError, match="site 'y'") as raised:
        run(Program(lockstep, model, 5, numbers=numbers))
    assert raised.value.__notes__[-1] == "in run 3 of 5"


def test_an_instance_may_change_its_value_in_place():
    """Whether gradients pass to the draw, or come to it later."""

    def model(in_place):
        w = yield Param("w", torch.tensor(0.5))
        x = yield Sample("x", Normal(w, torch.ones(2)))
        y = yield Sample("y", Normal(torch.zeros(2), 1.0))
        kept = (y * w).sum()
        z = yield Sample("z", Normal(torch.zeros(2), 1.0))
        if in_place:
            x += 1
            z *= w
        else:
            x, z = x + 1, z * w
        yield Observe("o", Normal(x + z + kept, 1.0), torch.zeros(2))

    def gradient(in_place):
        store = ParamStore()
        batch = run(Program(lockstep, Program(model, in_place), 3), params=store)
        return torch.autograd.grad(batch.log_densities.sum(), [*store.parameters()])[0]

    assert gradient(True) == gradient(False) != 0


@pytest.mark.parametrize("value", [torch.zeros(3), torch.tensor(0.0), 0.0, torch.zeros(4, 2)])
def test_an_answer_of_the_wrong_shape(value):
    with pytest.raises(BatchError, match=r"site 'x': expected a value of shape \(4,\), the first dimension for the 4 instances"):
        run(condition(lockstep, data={"x": value})(lambda: coin_of("x"), 4))


@pytest.mark.parametrize(("number", "dim"), [(2, None), (3, None), (1, -2)])
def test_a_vectorised_plate_around_a_batch_is_refused(number, dim):
    with pytest.raises(BatchError, match="site '(instance_0/)?x': the vectorised plate 'p' is around the batch"):
        run(plate("p", 3, vectorized=True, dim=dim)(lambda _: lockstep(lambda: coin_of("x"), number)))


@pytest.mark.parametrize("dim", [None, -2])
def test_a_plate_refuses_the_instances_of_a_batch_as_elements_of_its_own_or_of_none(dim):
    with pytest.raises(PlateError, match=r"'x': plate 'p' .* at dimension .*, where the batch shape \(4,\) has 4"):
        run(plate("p", 3, vectorized=True, dim=dim)(lambda _: lockstep(lambda: coin_of("x"), 4)))


def test_a_sequential_plate_around_a_batch_runs_it_again():
    batches = run(plate("p", 2, vectorized=False)(lambda _: lockstep(lambda: coin_of("x"), 3)))
    assert len({value.item() for batch in batches for value in batch.values}) == 6


def coin_of(name):
    return (yield Sample(name, Normal, 0.0, 1.0))


@pytest.mark.parametrize("number", [0, -1, 2.5, "four", True])
def test_a_number_of_instances_that_is_none(number):
    with pytest.raises(ValueError, match=f"positive whole number of instances, got {number!r}"):
        together(walk, number)


@pytest.mark.parametrize("least", [0, -1, 2.5, None, True])
def test_a_least_size_that_is_none(least):
    with pytest.raises(ValueError, match=f'positive whole number as the size of the smallest group, "least", got {least!r}'):
        together(walk, 3, least=least)


@pytest.mark.parametrize("name", ["numbers", "keep"])
def test_what_is_neither_true_nor_false(name):
    with pytest.raises(TypeError, match=f"expected True or False as '{name}', got 'x'"):
        together(walk, 3, **{name: "x"})


@pytest.mark.parametrize(("score", "got"), [(torch.zeros(7), r"shape \(7,\)"), (torch.tensor(0.0), r"shape \(\)"), (1.0, "1.0")])
def test_a_score_of_the_wrong_shape(score, got):
    with pytest.raises(BatchError, match=rf"site 'x': expected a score of shape \(4, ...\), .* got {got}"):
        together(lambda: coin_of("x"), 4, score=lambda request, site: score)


def test_a_count_that_is_too_large_for_torch():
    def model():
        yield Observe("y", Poisson, 10**30, 3.0)

    expected = Poisson(torch.tensor(3.0, dtype=F64)).log_prob(torch.tensor(1e30, dtype=F64)).item()
    assert together(model, 4, numbers=True).log_densities.tolist() == pytest.approx([expected] * 4)


@pytest.mark.parametrize(("numbers", "digits"), [(False, 20), (False, 400), (True, 400)])
@pytest.mark.parametrize("others", [True, False])
def test_a_count_that_cannot_be_scored_is_told_of_its_site(numbers, digits, others):
    """As in a single run, and in the instance that observes it."""
    started = iter(range(5))

    def model():
        number = next(started)
        yield Observe("y", Poisson, 10**digits if number == 3 or not others else 2, 3.0)

    with pytest.raises(DistributionError, match="site 'y': cannot score a value of 1000") as caught:
        together(model, 5, numbers=numbers)
    assert f"in run {3 if others else 0} of 5" in caught.value.__notes__


@pytest.mark.parametrize("digits", [20, 400])
def test_computed_numbers_that_are_too_large_for_torch(digits):
    large = 10**digits
    started = iter(range(9))

    def model():
        return (yield Deterministic("d", next(started) % 3 * large))

    assert together(model, 9, keep=True).values == tuple(i % 3 * large for i in range(9))


def test_numbers_that_are_made_a_vector():
    """torch takes scalars for a vector of one element here."""

    def model():
        x = yield Sample("x", LogisticNormal, 0.0, 1.0)
        yield Observe("y", LogisticNormal(torch.zeros(2), torch.ones(2)), torch.tensor([0.2, 0.3, 0.5]))
        return x

    batch = together(model, 4, keep=True)
    for i in range(4):
        alone = run(trace(replay(model, guide_trace=batch.trace(i))).traced())
        assert batch.values[i].shape == (2,) and torch.equal(alone["_RETURN"].value, batch.values[i])
        assert batch.log_densities[i].item() == pytest.approx(alone.log_pdf().item(), rel=1e-6)


def test_numbers_and_tensors_observed_and_samples_and_observations_of_one_name():
    """None of these are alike; each is answered as alone."""
    started = iter(range(12))

    def model():
        i = next(started)
        seen = [1.0, torch.tensor(1.0), 1][i % 3]
        if i < 6:
            yield Observe("y", Normal, seen, 0.0, 1.0)
            return 0
        yield Observe("x", Normal, seen, 0.0, 1.0) if i % 2 else Sample("x", Normal, 0.0, 1.0)
        return i % 2

    batch = together(model, 12, numbers=True)
    expected = Normal(0.0, 1.0).log_prob(torch.tensor(1.0)).item()
    assert batch.values == (0,) * 7 + (1, 0, 1, 0, 1)
    observed = [i for i in range(12) if i < 6 or i % 2]
    assert batch.log_densities[observed].tolist() == pytest.approx([expected] * 9, rel=1e-6)


def test_a_batch_that_kept_nothing_has_no_traces():
    with pytest.raises(ValueError, match="keep=True"):
        together(walk, 4).trace(0)


@pytest.mark.slow
def test_ten_thousand_in_flight_leave_nothing_open_and_give_the_memory_back():
    state = Counter()

    def model():
        state["open"] += 1
        state["most"] = max(state["most"], state["open"])
        try:
            return (yield from walk())
        finally:
            state["open"] -= 1

    batch = together(model, 10_000, numbers=True)
    assert (state["open"], state["most"], len(batch.values)) == (0, 10_000, 10_000)
    batch = None
    gc.collect()
    before = len(gc.get_objects())
    gc.disable()  # what was made must go without the collector
    try:
        together(model, 10_000, numbers=True)
        assert len(gc.get_objects()) < before + 2_000
    finally:
        gc.enable()
    with pytest.raises(Broken):
        together(breaking_at(7_000, model), 10_000, numbers=True)
    assert state["open"] == 0
    gc.collect()  # the traceback that pytest keeps holds on to the frames
    assert len(gc.get_objects()) < before + 2_000


def breaking_at(stop, model):
    number = iter(range(10_000))

    def breaking():
        i = next(number)
        yield from model()
        if i == stop:
            raise Broken

    return breaking


def test_a_finished_batch_is_freed_without_the_collector():
    class Held:
        pass

    held: list = []

    def model():
        mine = Held()
        held.append(weakref.ref(mine))
        yield Sample("x", Normal, 0.0, 1.0)

    gc.collect()
    gc.disable()
    try:
        together(model, 10)
        assert all(each() is None for each in held)
    finally:
        gc.enable()


def test_a_tensor_among_a_thousand_numbers_is_no_number() -> None:
    """The closed form looks at sums of arguments: one tensor among them must not pass for a number, and keeps its gradient."""
    loc = torch.tensor(3.0, requires_grad=True)

    def model() -> Coroutine[float]:
        first = yield Sample("first", Uniform, 0.0, 1.0)
        yield Observe("y", Normal, 1.0, loc if first < 0.01 else 3.0, 1.0)
        return float(first)

    batch = run(Program(lockstep, model, 1000, numbers=True), seed=0)
    batch.log_densities.sum().backward()  # type: ignore[no-untyped-call]  # torch's
    with_tensor = sum(first < 0.01 for first in batch.values)
    assert with_tensor > 0 and loc.grad is not None
    assert loc.grad.item() == pytest.approx((1.0 - 3.0) * with_tensor)


def seen():
    x = yield Sample("x", Normal, 0.0, 1.0)
    yield Observe("y", Normal, 1.0, x, 1.0)
    return x


@pytest.mark.parametrize(("inner", "outer"), [(2, 3), (1, 3), (3, 1)])
def test_the_density_of_a_batch_of_batches_is_that_of_the_batches(inner: int, outer: int):
    whole = together(lambda: (yield from lockstep(seen, inner, numbers=True)), outer, numbers=False)
    assert torch.allclose(whole.log_densities, torch.stack([each.log_densities.sum() for each in whole.values]))


def test_the_density_is_a_tensor_for_scores_of_ones_own():
    plain = together(seen, 5, numbers=True)
    half = together(seen, 5, numbers=True, score=lambda request, site: 0.5 * density(request, site))
    assert torch.allclose(half.log_densities, 0.5 * plain.log_densities)


def test_who_is_shown_a_value_may_change_it_when_it_has_been_scored():
    plain = together(seen, 5, numbers=True)
    noted = together(seen, 5, numbers=True, note=lambda group: group.site.value.zero_())
    assert torch.equal(noted.log_densities, plain.log_densities)


def test_what_is_lifted_first_here_and_second_there_is_one_group():
    def model():
        if (yield Sample("g", Bernoulli, 0.5)):
            yield Param("v", torch.tensor(0.0))
        return (yield Param("w", torch.tensor(0.0)))

    batch = together(lift(model, prior=Normal(0.0, 1.0)), 8, numbers=False, keep=True)
    assert [len(group.members) for group in batch.groups if group.name == "w"] == [8]


@pytest.mark.parametrize("numbers", [True, False])
def test_what_was_a_param_is_known_outside_too(numbers):
    """Its shape is checked where it is drawn, and a lift around the batch that names it has been heard."""

    def model(size):
        return (yield Param("w", torch.zeros(size)))

    for size, prior in ((3, Normal(torch.zeros(2), 1.0)), (3, lambda: Normal(torch.zeros(2), 1.0))):
        with pytest.raises(
            ParamError, match=r"site '(instance_0/)?w': its initial value has shape \(3,\), and its value under the prior .* has .*2,?\)"
        ):
            together(Program(lift(model, prior=prior), size), 4, numbers=numbers)
    inner = Program(lift(model, prior={"w": Normal(torch.zeros(3), 1.0)}), 3)
    assert len(run(lift(partial(lockstep, inner, 4, numbers=numbers), prior={"w": Normal(0.0, 1.0)})).values) == 4


def test_params_of_different_shapes_are_asked_for_apart():
    def model():
        size = 1 + int((yield Sample("size", Categorical, torch.ones(2))))
        return (yield Param("w", torch.zeros(size)))

    with pytest.raises(ParamError, match=r"site 'w.*': its initial value has shape \(2,\)"):
        together(lift(model, prior=Normal(torch.zeros(1), 1.0)), 8, numbers=True)


@pytest.mark.parametrize("many", [3, 4])
def test_as_many_instances_as_a_param_has_elements_are_no_shape_of_its(many):
    def model():
        return (yield Param("w", torch.zeros(4)))

    with pytest.raises(ParamError, match=r"its initial value has shape \(4,\), and its value under the prior .* has \((3,)?\)"):
        together(lift(model, prior=Normal(0.0, 1.0)), many, numbers=False)


@pytest.mark.parametrize("init", [lambda: torch.zeros(3), [0.0, 0.0, 0.0]])
def test_initial_values_that_are_no_tensors_part_no_group(init):
    def model():
        return (yield Param("w", copy.copy(init) if isinstance(init, list) else partial(init)))

    batch = together(lift(model, prior=Normal(torch.zeros(3), 1.0)), 5, numbers=False, keep=True)
    assert [len(group.members) for group in batch.groups] == [5]
