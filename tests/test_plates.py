"""plate: vectorised and sequential, subsampled and nested, and what does not fit."""

from __future__ import annotations

import pickle
from functools import partial

import numpy
import pytest
import torch
from torch.distributions import Categorical, Independent, MultivariateNormal, Normal

from poutine import (
    CondIndepStackFrame,
    DistributionError,
    DuplicateSite,
    Observe,
    PlateError,
    PlatePoutine,
    Program,
    Runtime,
    Sample,
    answer,
    broadcast,
    chain,
    condition,
    do,
    indep,
    markov,
    mask,
    plate,
    replay,
    run,
    same,
    scale,
    substitute,
    trace,
)

D = Normal(0.0, 1.0)
Y = torch.tensor([1.0, -1.0, 0.5, 2.0])


def schools(vectorized: bool = True):
    mu = yield Sample("mu", D)

    @plate("schools", 4, vectorized=vectorized)
    def school(j):
        name = "" if vectorized else str(j)
        theta = yield Sample("theta" + name, Normal(mu, 2.0))
        yield Observe("y" + name, Normal(theta, 1.0), Y[j])
        return theta

    return (yield from school())


def test_a_vectorised_plate_broadcasts_what_is_sampled_inside():
    t = trace(schools).get_trace()
    assert t["theta"].value.shape == (4,)
    assert t["mu"].value.shape == ()
    assert t["y"].cond_indep_stack == (CondIndepStackFrame("schools", 1, True, -1, 4),)
    assert same(t["_RETURN"].value, t["theta"].value)


def test_a_vectorised_plate_is_as_many_sequential_entries():
    t = trace(schools).get_trace()
    data = {"mu": t["mu"].value} | {f"theta{j}": t["theta"].value[j] for j in range(4)}
    sequential = chain(schools, condition(data=data), trace()).get_trace(False)
    assert torch.isclose(sequential.log_pdf(), t.log_pdf())
    assert [sequential[f"y{j}"].cond_indep_stack[0].counter for j in range(4)] == [1, 2, 3, 4]
    assert same(sequential["_RETURN"].value, list(t["theta"].value))


def test_nested_plates_take_dimensions_from_the_right_and_broadcast_both():
    @plate("rows", 3)
    def rows(i):
        a = yield Sample("a", D)

        @plate("columns", 2)
        def columns(j):
            yield Sample("b", Normal(a, 1.0))
            yield Sample("v", MultivariateNormal(torch.zeros(5), torch.eye(5)))

        yield from columns()

    t = trace(rows).get_trace()
    assert [t[name].value.shape for name in "abv"] == [(3,), (2, 3), (2, 3, 5)]
    assert [frame.name for frame in t["b"].cond_indep_stack] == ["rows", "columns"]


def test_dimensions_can_be_chosen():
    @plate("rows", 3, dim=-3)
    def rows(i):
        yield Sample("a", D)

    assert trace(rows).get_trace()["a"].value.shape == (3, 1, 1)


def test_a_subsampled_plate_scales_and_its_index_is_a_replayable_site_of_density_zero():
    @plate("data", 100, subsample_size=10)
    def body(index):
        yield Observe("y", D, torch.arange(100.0)[index])
        return index

    t = run(trace(body).traced(), seed=3)
    index = t["data"].value
    assert len(set(index.tolist())) == 10
    assert (t["data"].type, t["y"].scale, t["y"].cond_indep_stack[0].size) == ("sample", 10.0, 10)
    assert torch.isclose(t.log_pdf(), 10 * D.log_prob(index.float()).sum())
    assert same(run(replay(body, t)(), seed=4), index)
    assert not same(run(body(), seed=4), index)


def test_the_expected_log_density_of_a_subsample_is_that_of_the_whole():
    @plate("data", 4, subsample_size=2)
    def body(index):
        yield Observe("y", D, Y[index])

    estimates = torch.stack([run(trace(body).traced(), seed=s).log_pdf() for s in range(400)])
    error = estimates.std() / 20
    assert abs(estimates.mean() - D.log_prob(Y).sum()) < 4 * error


def test_a_given_subsample_scales_and_draws_nothing():
    @plate("data", 4, subsample=torch.tensor([2, 0]))
    def body(index):
        yield Observe("y", D, Y[index])

    t = trace(body).get_trace()
    assert "data" not in t
    assert (t["y"].scale, t["y"].value.tolist()) == (2.0, [0.5, 1.0])


def test_a_sequential_plate_can_be_subsampled():
    @plate("data", 4, subsample_size=2, vectorized=False)
    def body(i):
        yield Observe(f"y{i}", D, Y[i])
        return i

    t = trace(body).get_trace()
    assert t["_RETURN"].value == t["data"].value.tolist()
    assert [t[name].scale for name in t.observation_nodes] == [2.0, 2.0]


def test_a_plate_without_a_size_marks_and_broadcasts_nothing():
    @plate("p")
    def body(index):
        return (yield Sample("x", D)), Y[index]

    t = trace(body).get_trace()
    assert t["x"].value.shape == ()
    assert t["x"].cond_indep_stack == (CondIndepStackFrame("p", 1, True, None, None),)
    assert same(t["_RETURN"].value[1], Y)


def test_a_plate_passes_further_arguments_and_compares_and_pickles():
    with_arguments = plate("p", 2)(body_with_arguments)
    assert run(with_arguments(3, k=4)) == (2, 3, 4)
    assert with_arguments == PlatePoutine(body_with_arguments, "p", 2)
    assert pickle.loads(pickle.dumps(with_arguments)) == with_arguments


def body_with_arguments(index, a, *, k):
    yield Sample("x", D)
    return len(index), a, k


def test_scales_of_plates_and_poutines_multiply():
    @plate("data", 100, subsample_size=10)
    def body(index):
        yield Observe("y", D, torch.zeros(10))

    assert trace(scale(body, scale=0.5)).get_trace()["y"].scale == 5.0


def test_what_bare_callables_draw_for_all_elements_and_batches_of_the_right_size_stay_as_they_are():
    @plate("p", 4)
    def body(index):
        a = yield Sample("a", Normal(Y, 1.0))
        b = yield Sample("b", lambda: torch.zeros(4, 7))
        return a.shape, b.shape

    assert run(body()) == ((4,), (4, 7))


@pytest.mark.parametrize(("options", "problem"), [
    ({"size": 3, "subsample_size": 5}, "subsample size 5 is larger than the size 3"),
    ({"size": 2, "subsample": torch.tensor([0, 1, 1])}, "subsample size 3 is larger than the size 2"),
    ({"size": 9, "subsample_size": 2, "subsample": torch.tensor([0])}, "has 1 indices, but subsample_size is 2"),
    ({"size": 0}, "positive size, got 0"),
    ({"size": 3, "subsample_size": 0}, "positive subsample_size, got 0"),
    ({"size": 3, "dim": 0}, "negative dim"),
    ({"size": 3, "dim": "x"}, "site 'p': expected a whole number as dim, got 'x'"),
    ({"size": 3, "dim": -1.0}, "site 'p': expected a whole number as dim, got -1.0"),
    ({"subsample_size": 3}, "give the plate a size"),
    ({"vectorized": False}, "give the plate a size"),
])  # fmt: skip
def test_sizes_that_do_not_fit_are_errors_at_construction(options, problem):
    with pytest.raises(PlateError, match=problem) as caught:
        plate("p", **options)(schools)
    assert isinstance(caught.value, ValueError)


def test_a_subsampled_plate_that_is_entered_twice_says_how_to_share_its_index():
    def twice():
        for name in ("a", "b"):
            yield from plate("p", 10, subsample_size=3)(lambda index, name=name: one_of(name))()

    with pytest.raises(DuplicateSite, match="'p': the plate of this name is entered a second time.*subsample=index"):
        trace(twice).get_trace()

    index = torch.tensor([1, 2])

    def shared():
        for name in ("a", "b"):
            yield from plate("p", 10, subsample=index)(lambda index, name=name: one_of(name))()

    assert trace(shared).get_trace().stochastic_nodes == ["a", "b"]


def one_of(name):
    return (yield Sample(name, D))


@pytest.mark.parametrize("value", [torch.tensor(2.0), 2.0, torch.tensor([2.0])])
@pytest.mark.parametrize("deferred", [False, True])
def test_a_value_that_all_elements_share_has_the_shape_of_a_draw(value, deferred):
    """So the model computes the same with it as with one for each element, and the trace shows what the model got."""

    def one():
        return (yield Sample("x", Normal, 0.0, 1.0) if deferred else Sample("x", D))

    def total(fn):
        values = yield from plate("p", 3)(lambda index: fn())()
        return values.sum()

    t = trace(total).get_trace(one)
    t.set_value("x", value)
    data = {"x": value}
    outside = (condition(total, data=data), substitute(total, data=data), do(total, data=data), replay(total, t))
    inside = (condition(one, data=data), substitute(one, data=data), condition(condition(one, data={"x": 1.0}), data=data))
    for program, fn in [*((each, one) for each in outside), *((total, each) for each in inside)]:
        traced = trace(program).get_trace(fn)
        assert traced["_RETURN"].value == 6.0
        assert traced["x"].value.shape == (3,)
    assert trace(total).get_trace(lambda: watched(D, torch.tensor(2.0)))["y"].value.shape == ()  # what the model itself gives is its own


def test_an_observation_that_all_elements_share_is_scored_as_one_of_each():
    """D.condition: the density is that of the program in which the sites have these values."""

    def model():
        x = yield from plate("p", 3)(lambda index: one("x", D))()
        yield Observe("y", Normal(x.sum(), 1.0), torch.tensor(3.0))

    shared, each = ({"x": torch.ones(shape)} for shape in ((), (3,)))
    expected = 3 * D.log_prob(torch.tensor(1.0)) + D.log_prob(torch.tensor(0.0))
    for handler in (condition, substitute):
        for data in (shared, each):
            assert torch.isclose(trace(handler(model, data=data)).get_trace().log_pdf(), expected)


def test_a_value_of_each_row_is_not_that_of_each_column():
    def rows():
        @plate("columns", 3)
        def column(j):
            return (yield from plate("rows", 2)(lambda i: one_of("x"))())

        return (yield from column())

    given = torch.tensor([[1.0], [2.0]])
    assert torch.equal(run(substitute(rows, data={"x": given})), given.expand(2, 3))
    assert run(substitute(rows, data={"x": torch.ones(2, 3)})).shape == (2, 3)
    with pytest.raises(PlateError, match="got shape .2,."):
        run(substitute(rows, data={"x": torch.ones(2)}))
    vectors = Program(plate("p", 3)(lambda index: one_vector()))
    assert run(substitute(vectors.fn, data={"x": torch.arange(2.0)})).tolist() == [[0.0, 1.0]] * 3
    assert run(substitute(lambda: one_vector(), data={"x": torch.zeros(2)})).shape == (2,)


def one_vector():
    return (yield Sample("x", MultivariateNormal(torch.zeros(2), torch.eye(2))))


def test_the_index_of_a_plate_in_a_plate_is_a_column():
    y = torch.arange(6.0).reshape(2, 3)

    @plate("columns", 3)
    def column(j):
        @plate("rows", 2)
        def row(i):
            yield Observe("y", D, y[i[:, None], j])

        yield from row()

    assert torch.equal(trace(column).get_trace()["y"].value, y)


def test_a_mask_of_an_inner_plate_is_none_for_the_sites_of_the_outer_one():
    """Each would count once for each element of the inner one (in Pyro, it does)."""

    @plate("a", 3, dim=-2)
    def outer(i, few):
        yield Sample("u", D)

        @plate("b", 2, few, dim=-1)
        def inner(j):
            yield Sample("v", D)

        yield from inner()

    both = mask(mask=torch.tensor([True, True]))
    with pytest.raises(DistributionError, match=r"site 'u': the mask around it has shape \(2,\), and the site batch shape \(3, 1\)"):
        trace(both(outer)).get_trace(2).log_pdf()
    column = mask(outer, mask=torch.tensor([[True], [False], [True]]))
    assert trace(column).get_trace(1).batch_log_pdf(lambda name, _: name == "b").sum() == 0.0  # an index does not count, however often
    assert set(trace(column).get_trace(2).compute_batch_log_pdf()) == {"u", "v"}


def test_a_replayed_index_of_another_size_gives_both_numbers():
    def data(few):
        @plate("data", 10, subsample_size=few)
        def body(index):
            yield Sample("x", D)

        yield from body()

    guide = trace(data).get_trace(3)
    with pytest.raises(ValueError, match="subsample size is 5 here, but the index that was given has 3"):
        run(replay(data, guide, sites=["data"])(5))
    with pytest.raises(ValueError, match="outside of the plate's size 10"):
        run(condition(data, data={"data": torch.tensor([1, 10])})(2))


def test_shapes_that_do_not_fit_come_with_a_table_of_the_sites_so_far():
    @plate("p", 4)
    def body(index):
        yield Sample("fits", Normal(Y, 1.0))
        yield Sample("vector", MultivariateNormal(torch.zeros(2), torch.eye(2)))
        yield Sample("does_not", Normal(torch.zeros(3), 1.0))

    with pytest.raises(PlateError) as caught:
        run(body())
    assert str(caught.value).splitlines() == [
        "site 'does_not': plate 'p' has size 4 at dimension -1, where the batch shape (3,) has 3; "
        "wrap it in Independent(d, n) if the last n dimensions are one draw, or use another dim.",
        "sites of this plate so far:",
        "  fits      batch (4,)  event ()",
        "  vector    batch ()  event (2,)",
        "  does_not  batch (3,)  event ()",
    ]


@pytest.mark.parametrize(("dist", "value"), [
    (D, torch.zeros(3)),
    (D, torch.zeros(4, 3)),
    (MultivariateNormal(torch.zeros(2), torch.eye(2)), torch.zeros(4, 3)),
])  # fmt: skip
def test_values_that_do_not_fit_are_refused(dist, value):
    @plate("p", 4)
    def body(index):
        yield Observe("y", dist, value)

    with pytest.raises(PlateError, match="expected a value that broadcasts to batch shape"):
        run(body())


def one(name, *what):
    return (yield Sample(name, *what))


WIDE = torch.zeros(2, 4)  # has a dimension that no plate declares


def wide_model(value=None):
    @plate("p", 4)
    def body(index):
        yield Sample("z", D)
        if value is None:
            yield Sample("y", Normal, 0.0, 1.0)
        else:
            yield Observe("y", Normal, value, 0.0, 1.0)

    yield from body()


@pytest.mark.parametrize("program", [
    partial(wide_model, WIDE),
    condition(wide_model, data={"y": WIDE}),
    condition(wide_model, data={"y": WIDE.numpy()}),
    substitute(wide_model, data={"y": WIDE}),
    replay(wide_model, trace(substitute(lambda: one("y", D), data={"y": WIDE})).get_trace()),
], ids=["observe", "condition", "an array", "substitute", "replay"])  # fmt: skip
def test_a_value_with_a_dimension_that_no_plate_declares_is_refused(program):
    with pytest.raises(PlateError) as caught:
        run(trace(program)())
    assert str(caught.value).splitlines() == [
        "site 'y': expected a value that broadcasts to batch shape (4,) and event shape (), got shape (2, 4); index the data with the "
        "plate's index, and put a plate around for each further dimension.",
        "sites of this plate so far:",
        "  z  batch ()  event ()",
        "  y  batch ()  event ()",
    ]


def test_a_dimension_that_a_plate_further_out_declares_is_one_of_the_values():
    program = condition(wide_model, data={"y": WIDE})
    assert trace(plate("outer", 2, dim=-2)(lambda index: program())).get_trace()["y"].value.shape == (2, 4)
    marked = indep(condition(wide_model, data={"y": WIDE}), name="outer", vectorized=True, dim=-2, size=2)
    assert trace(marked).get_trace()["y"].value.shape == (2, 4)
    with pytest.raises(PlateError, match=r"batch shape \(3, 4\)"):
        run(plate("outer", 3, dim=-2)(lambda index: program())())


def test_a_runtime_may_open_dimensions_to_the_left_of_all_plates():
    program = condition(wide_model, data={"y": WIDE})
    assert answer(trace(program).traced(), Runtime(wide=True))["y"].value.shape == (2, 4)


def test_discrete_and_event_distributions_expand():
    @plate("p", 4)
    def body(index):
        k = yield Sample("k", Categorical(torch.ones(3) / 3))
        yield Observe("v", MultivariateNormal(torch.zeros(2), torch.eye(2)), torch.zeros(4, 2))
        return k

    t = trace(body).get_trace()
    assert t["k"].value.shape == (4,)
    assert t.compute_batch_log_pdf()["v"].shape == (4,)


@pytest.mark.parametrize("make", [partial(Normal, 0.0), lambda scale: Normal(0.0, scale)], ids=["partial", "lambda"])
def test_a_distribution_that_a_callable_makes_is_broadcast_too(make):
    @plate("p", 3)
    def body(index):
        return (yield Sample("x", make, 1.0))

    t = trace(body).get_trace()
    assert t["_RETURN"].value.shape == (3,) and t["x"].dist.batch_shape == (3,)
    assert len(t["_RETURN"].value.unique()) == 3
    assert same(t, trace(body).get_trace())
    with pytest.raises(PlateError, match="has size 3 at dimension -1"):
        run(plate("p", 3)(lambda index: one("x", lambda: Normal(torch.zeros(2), 1.0))))


# Distributions of the user's own, without shapes


class Die:
    def sample(self):
        return 4

    def log_prob(self, value):
        return torch.tensor(6.0).log().neg()


@pytest.mark.parametrize("fn", [lambda y: Observe("y", Normal(0.0, 1.0), y), lambda y: Sample("y", Normal(0.0, 1.0)).evolve(value=y)])
def test_values_of_several_elements_do_not_fit_into_a_plate_of_one(fn):
    """As when the data are not indexed, in a plate that is subsampled one by one: each would count, times the size."""
    data = torch.tensor([1.0, 2.0, 3.0])

    @plate("p", 3, 1)
    def body(index):
        yield fn(data[index])

    @plate("p", 3, 1)
    def unindexed(index):
        yield fn(data)

    run(body)
    with pytest.raises(
        PlateError, match=r"site 'y': expected a value that broadcasts to batch shape \(1,\) .*, got shape \(3,\); index the data"
    ):
        run(unindexed)


class Ramp:
    """Of one number or, with a tensor as ``top``, of as many."""

    def __init__(self, top=1.0):
        self.top = torch.as_tensor(top)

    def rsample(self):
        return torch.rand(self.top.shape) * self.top

    def log_prob(self, value):
        return value / self.top

    def __repr__(self):  # names tests, which must be the same in each process
        return f"Ramp({self.top.tolist()})"


class Pair:
    """Of two numbers, which are one draw."""

    def sample(self):
        return torch.rand(2)

    def log_prob(self, value):
        return -value.sum()


def nested(make):
    inside = plate("columns", 3)(lambda j: one("x", *make))
    return plate("rows", 2)(lambda i: inside())  # rows at dimension -1, columns at -2


@pytest.mark.parametrize(("make", "event"), [
    ((Ramp(),), ()), ((Ramp,), ()), ((Ramp, 2.0), ()), ((lambda: Ramp(),), ()), ((Pair(),), (2,)), ((Die(),), ()),
    ((Ramp(torch.tensor([1.0, 2.0])),), ()), ((Ramp(torch.tensor([[1.0], [2.0], [3.0]])),), ()), ((Ramp(torch.arange(1.0, 7.0).reshape(3, 2)),), ()),
])  # fmt: skip
def test_a_distribution_without_shapes_is_drawn_and_scored_for_each_element(make, event):
    t = trace(nested(make)).get_trace()
    value = t["x"].value
    assert value.shape == (3, 2, *event)
    assert isinstance(make[0], Die) or len(value.unique()) == value.numel()
    assert same(value, trace(nested(make)).get_trace()["x"].value)
    base = made(*make)
    top = torch.as_tensor(getattr(base, "top", 1.0)).expand(3, 2)
    alone = [[(base if not hasattr(base, "top") else Ramp(top[j, i])).log_prob(value[j, i]) for i in range(2)] for j in range(3)]
    assert torch.allclose(t.compute_batch_log_pdf()["x"], torch.tensor(alone))


def made(fn, *args):
    return fn(*args) if callable(fn) else fn


@pytest.mark.parametrize("handler", [mask(mask=torch.tensor([True, False, True])), scale(scale=torch.tensor([1.0, 2.0, 3.0]))])
def test_masks_and_scales_of_elements_reach_a_distribution_without_shapes(handler):
    for dist in (Ramp(), Pair()):
        t = trace(plate("p", 3)(handler(lambda index, dist=dist: one("x", dist)))).get_trace()
        factor = torch.as_tensor(getattr(handler(one), "mask", 1.0)) * torch.as_tensor(getattr(handler(one), "scale", 1.0))
        expected = torch.stack([dist.log_prob(value) for value in t["x"].value]) * factor
        assert torch.allclose(t.compute_batch_log_pdf()["x"], expected)


@pytest.mark.parametrize(("value", "dist"), [(0.5, Ramp()), (torch.tensor(0.5), Ramp()), (torch.tensor([0.5, 0.5, 0.5]), Ramp())])
def test_one_number_is_observed_in_each_element(value, dist):
    def body(index):
        yield Observe("y", dist, value)

    assert trace(plate("p", 3)(body)).get_trace().compute_batch_log_pdf()["y"].tolist() == [0.5] * 3


def test_a_value_without_the_sizes_of_all_plates_is_that_of_all_elements():
    def at(dist, value):
        return trace(nested((dist,))).get_trace().nodes["x"].evolve(value=value).dist.log_prob(value)

    assert at(Ramp(), torch.tensor([0.25, 0.75])).tolist() == [[0.25, 0.75]] * 3
    assert at(Ramp(), torch.tensor([[0.25], [0.5], [0.75]])).tolist() == [[0.25] * 2, [0.5] * 2, [0.75] * 2]
    assert at(Pair(), torch.tensor([0.25, 0.75])).tolist() == [[-1.0] * 2] * 3
    with pytest.raises(PlateError):
        at(Ramp(), torch.zeros(3))
    with pytest.raises(DistributionError, match=r"'y': cannot score a value of shape \(7,\) under .*: The size of tensor"):
        run(plate("p", 3)(lambda index: watched(Ramp(torch.ones(3)), torch.zeros(7))))


def test_values_of_several_elements_do_not_fit_into_a_plate_of_one_without_shapes_either():
    with pytest.raises(PlateError, match=r"expected shape \(1, \.\.\.\), got shape \(7,\)"):
        run(plate("p", 1)(lambda index: watched(Ramp(), torch.zeros(7))))
    column = plate("p", 1, dim=-2)(lambda index: watched(Ramp(), torch.zeros(7)))
    with pytest.raises(PlateError, match=r"got shape \(7,\)"):
        run(column())
    assert run(plate("row", 7)(lambda index: column())()).shape == (7,)


@pytest.mark.parametrize("dist", [Ramp(), lambda: Ramp()])
@pytest.mark.parametrize("handler", [condition, substitute, None])
def test_a_value_without_the_sizes_of_its_plates_is_refused(dist, handler):
    def body(index):
        yield Observe("y", dist, torch.zeros(7))

    model = body if handler is None else handler(lambda index: one("y", dist), data={"y": torch.zeros(7)})
    with pytest.raises(
        PlateError, match=r"'y': .* does not tell its shapes, .* expected shape \(3, \.\.\.\), got shape \(7,\), .*vectorized=False"
    ):
        trace(plate("p", 3)(model)).get_trace().log_pdf()


@pytest.mark.parametrize("draw", [lambda: torch.rand(2), lambda: torch.rand(()), lambda: 5, lambda: "five"])
def test_a_bare_callable_that_draws_one_value_for_all_elements_is_refused(draw):
    for program in (plate("p", 3)(lambda index: one("x", draw)), plate("q", 2)(lambda i: plate("p", 3)(lambda index: one("x", draw))())):
        with pytest.raises(
            PlateError, match=r"'x': .* is a bare callable, which draws for all elements of its plates: expected a value of shape \(3,"
        ):
            run(program)
    assert run(plate("q", 2)(lambda i: plate("p", 3)(lambda index: one("x", lambda: torch.rand(3, 2, 5)))())).shape == (3, 2, 5)
    assert len(run(plate("p", 3, vectorized=False)(lambda i: one(f"x{i}", draw)))) == 3


class Words(Ramp):
    def rsample(self):
        return "word"


class Crooked(Ramp):
    def log_prob(self, value):
        return torch.zeros(3)


@pytest.mark.parametrize(("dist", "problem"), [
    (Ramp(torch.ones(2)), r"log density of shape \(2,\), which does not fit into plates of sizes \(3,\)"),
    (Ramp(torch.ones(2, 3)), r"log density of shape \(2, 3\), which does not fit into plates of sizes \(3,\)"),
    (Crooked(), r"has shape \(\), and its log density \(3,\)"),
    (Words(), "draws 'word', and of what is no tensor"),
])  # fmt: skip
def test_a_distribution_without_shapes_whose_density_does_not_fit_is_refused(dist, problem):
    with pytest.raises(PlateError, match=f"'x': .*{problem}.*vectorized=False"):
        run(plate("p", 3)(lambda index: one("x", dist)))


def test_a_density_of_a_given_value_that_does_not_fit_is_refused():
    def body(index):
        yield Observe("y", Ramp(torch.ones(2, 3)), torch.zeros(3))

    with pytest.raises(PlateError, match=r"'y': .* has a log density of shape \(2, 3\), which does not fit into plates of sizes \(3,\)"):
        trace(plate("p", 3)(body)).get_trace().log_pdf()
    with pytest.raises(PlateError, match=r"'y': expected a log density of shape \(3,\) .*, got \(1,\)"):
        trace(plate("p", 3)(lambda index: watched(Single(), torch.zeros(3)))).get_trace().log_pdf()
    assert answer(trace(plate("p", 3)(body)).traced(), Runtime(wide=True)).log_pdf() == 0.0  # a dimension of the runtime's


def watched(dist, value):
    return (yield Observe("y", dist, value))


class Single(Ramp):
    def log_prob(self, value):
        return torch.zeros(1)


class Unexpandable(Normal):
    def __init__(self, shift):
        super().__init__(shift, 1.0)


def test_a_distribution_that_cannot_be_expanded_names_the_site():
    for make in ((Unexpandable(0.0),), (Unexpandable, 0.0), (lambda: Unexpandable(0.0),)):
        with pytest.raises(
            PlateError, match=r"'x': cannot expand Unexpandable.* to batch shape \(3,\).* Define expand\(batch_shape\) in Unexpandable"
        ):
            run(plate("p", 3)(lambda index, make=make: one("x", *make)))
    assert run(plate("p", 3)(lambda index: one("x", Unexpandable(torch.zeros(3))))).shape == (3,)


def test_a_distribution_in_plates_prints_as_itself():
    dist = trace(plate("p", 3)(lambda index: one("x", Ramp()))).get_trace()["x"].dist
    assert repr(dist) == repr(dist.base)


class Silent(Normal):
    def expand(self, batch_shape, _instance=None):
        raise NotImplementedError


def test_an_error_without_words_is_told_by_its_type():
    with pytest.raises(PlateError, match=r"that of its plates: NotImplementedError\. Define expand\(batch_shape\) in Silent"):
        run(plate("p", 3)(lambda index: one("x", Silent(0.0, 1.0))))


class Refusing(Normal):
    def expand(self, batch_shape, _instance=None):
        raise PlateError("x", "not in a plate of mine")


def test_what_a_distribution_says_itself_of_its_plates_is_told():
    with pytest.raises(PlateError, match="not in a plate of mine"):
        run(plate("p", 3)(lambda index: one("x", Refusing(0.0, 1.0))))


# What is at a dimension between plates, or to the right of them, where none is


def column_of(*what, **options):
    """What is yielded for three elements at dimension -2."""
    return (yield from plate("a", 3, dim=-2)(lambda i: one(*what, **options))())


def seen_of(dist, value):
    return (yield from plate("a", 3, dim=-2)(lambda i: watched(dist, value))())


ROW = torch.tensor([1.0, 2.0, 3.0])


@pytest.mark.parametrize("program", [
    Program(seen_of, D, ROW),
    Program(seen_of, Ramp(), ROW),
    Program(seen_of, partial(Normal, 0.0, 1.0), ROW),
    condition(column_of, data={"x": ROW})("x", D),
    condition(column_of, data={"x": ROW})("x", Normal, 0.0, 1.0),
    condition(column_of, data={"x": ROW})("x", partial(Normal, 0.0, 1.0)),
    condition(column_of, data={"x": ROW})("x", Ramp()),
    condition(column_of, data={"x": ROW.numpy()})("x", D),
    substitute(column_of, data={"x": ROW})("x", D),
    do(column_of, data={"x": ROW})("x", D),
    Program(plate("a", 3, dim=-2)(lambda i: condition(one, data={"x": ROW})("x", D))),
    Program(plate("a", 3, dim=-2)(lambda i: substitute(one, data={"x": ROW})("x", D))),
    Program(plate("a", 3, dim=-2)(lambda i: do(one, data={"x": ROW})("x", D))),
    Program(plate("a", 3, dim=-2)(lambda i: do(one, data={"x": ROW})("x", Normal, 0.0, 1.0))),
], ids=str)  # fmt: skip
def test_a_value_with_elements_where_no_plate_is_is_refused(program):
    """It would be that of each pair of elements: nine terms of three."""
    with pytest.raises(PlateError, match=r"'[xy]': .*got shape \(3,\).*(?:[xy]\[i\]\[:, None\]|index the data)"):
        run(trace(program.fn).traced(*program.args, **program.kwargs)).log_pdf()


def test_the_table_is_of_the_plate_where_a_given_value_does_not_fit():
    with pytest.raises(PlateError) as caught:
        run(substitute(column_of, data={"x": ROW})("x", D))
    assert str(caught.value).splitlines() == [
        "site 'x': expected a value that broadcasts to batch shape (3, 1) and event shape (), got shape (3,); plate 'a' is at "
        "dimension -2, and no plate is at -1: give what is indexed with its index a dimension of size 1 there, as "
        "in x[i][:, None], or put a plate around for it.",
        "sites of this plate so far:",
        "  x  batch ()  event ()",
    ]


@pytest.mark.parametrize("dist", [(Normal(ROW, 1.0),), (Normal, ROW, 1.0), (partial(Normal, ROW), 1.0), (Ramp(ROW),), (Ramp, ROW)], ids=str)
@pytest.mark.parametrize("handler", [lambda fn: fn, partial(condition, data={"x": torch.zeros(3, 1)})], ids=["drawn", "observed"])
def test_a_distribution_with_a_batch_where_no_plate_is_is_refused(dist, handler):
    with pytest.raises(PlateError, match=r"^site 'x': "):
        run(trace(handler(column_of)).traced("x", *dist)).log_pdf()


def test_a_dimension_between_plates_is_one_of_none():
    between = plate("rows", 2, dim=-3)(lambda i: plate("columns", 4, dim=-1)(lambda j: one("x", Normal(torch.zeros(3, 1), 1.0)))())
    with pytest.raises(
        PlateError,
        match=r"'x': plate 'rows' is at dimension -3, and no plate is at -2, where the batch shape \(3, 1\) has 3; .*x\[i\]\[:, None, None\]",
    ):
        run(between())
    assert run(plate("middle", 3, dim=-2)(lambda k: between())()).shape == (2, 3, 4)
    marked = indep(lambda: between(), name="middle", vectorized=True, dim=-2, size=3)
    assert run(marked()).shape == (2, 3, 4)


def test_what_has_one_element_there_or_is_one_draw_fits():
    assert run(Program(column_of, "x", Normal(ROW[:, None], 1.0))).shape == (3, 1)
    assert run(Program(column_of, "x", Independent(Normal(ROW, 1.0), 1))).shape == (3, 1, 3)
    assert trace(condition(column_of, data={"x": ROW[:, None]})).get_trace("x", D).log_pdf() == D.log_prob(ROW).sum()
    t = trace(column_of).get_trace("x", Normal(torch.zeros(5, 1, 1), 1.0))  # to the left of all plates, the distribution's own
    assert t["x"].value.shape == (5, 3, 1)
    assert run(condition(column_of, data={"x": torch.zeros(3, 1)})("x", Normal(torch.zeros(5, 1, 1), 1.0))).shape == (5, 3, 1)


def test_a_wide_runtime_opens_dimensions_to_the_left_only():
    wide = Program(column_of, "x", Normal(torch.zeros(2, 1, 1), 1.0))
    for given in (torch.zeros(4, 1, 3, 1), torch.zeros(2, 3, 1), torch.zeros(3, 1)):
        assert answer(trace(condition(wide.fn, data={"x": given})).traced(*wide.args), Runtime(wide=True))["x"].value.shape[-2:] == (3, 1)
    with pytest.raises(PlateError, match=r"got shape \(4, 3, 3\)"):
        answer(condition(wide.fn, data={"x": torch.zeros(4, 3, 3)})(*wide.args), Runtime(wide=True))


def test_the_elements_of_a_plate_at_another_dimension_are_not_replayed():
    t = trace(plate("a", 3)(lambda i: one("x", D))).get_trace()
    with pytest.raises(PlateError, match=r"'x': .* batch shape \(3, 1\) .* got shape \(3,\)"):
        run(replay(column_of, t)("x", D))


@pytest.mark.parametrize("what", [(Ramp(),), (lambda: D,), (D,)])
def test_a_plate_that_is_marked_further_out_than_it_is_broadcast_expands_nothing(what):
    marked = indep(broadcast(lambda: one("x", *what)), name="p", vectorized=True, dim=-1, size=3)
    assert trace(marked).get_trace()["x"].value.shape == ()


def test_a_value_of_another_size_than_its_plate_is_told_of_the_index():
    with pytest.raises(PlateError, match=r"batch shape \(3, 1\) .* got shape \(4, 1\); index the data with the plate's index\.\n"):
        run(Program(seen_of, D, torch.zeros(4, 1)))


def test_a_sequential_plate_gives_values_as_they_are():
    def each():
        return (yield from plate("p", 2, vectorized=False)(lambda i: one(f"x{i}", D))())

    t = trace(each).get_trace()
    for program, expected in ((do(each, data={"x0": torch.tensor(5.0)}), torch.tensor(5.0)), (replay(each, t), t["x0"].value)):
        assert same(run(program(), seed=4)[0], expected)


@pytest.mark.parametrize("three", [torch.tensor(3), torch.tensor(3, dtype=torch.int32), numpy.int64(3), numpy.array(3)])
def test_a_size_may_be_a_number_of_the_data(three):
    """As it comes out of a file, ``{"J": 3}``."""
    for sized in (plate("p", three), plate("p", 9, subsample_size=three), lambda fn: indep(lambda: fn(0), "p", True, dim=-1, size=three)):
        (frame,) = trace(sized(lambda i: one("x", D.expand([3])))).get_trace()["x"].cond_indep_stack
        assert (type(frame.size), frame.size) == (int, 3)
    assert trace(markov("t", three)(lambda t, state: one("x", D))).get_trace().stochastic_nodes == ["x_0", "x_1", "x_2"]
