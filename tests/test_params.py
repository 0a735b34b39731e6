"""ParamStore: explicit, a torch module, constrained; two never meet."""

from __future__ import annotations

import math
import re
import textwrap
from functools import partial

import numpy
import pytest
import torch
from torch.distributions import GeneralizedPareto, Normal, constraints

from poutine import Observe, Param, ParamError, ParamStore, Sample, lift, replay, run, same, scope, substitute, trace


def fit(init=None, constraint=constraints.real):
    return (yield Param("w", init, constraint=constraint))


def test_a_parameter_is_made_at_its_first_read_and_kept():
    store = ParamStore()

    def model():
        a = yield Param("w", torch.tensor([1.0, 2.0]))
        b = yield Param("w", torch.tensor([9.0, 9.0]))
        return a, b

    a, b = run(model, params=store)
    assert a.tolist() == b.tolist() == [1.0, 2.0]
    assert list(store) == ["w"] and "w" in store and len(store) == 1
    assert store["w"].tolist() == [1.0, 2.0]


def test_runs_without_a_store_start_from_the_initial_values():
    assert run(lambda: fit(1.0)) == 1.0
    first, second = ParamStore(), ParamStore()
    run(lambda: fit(1.0), params=first)
    run(lambda: fit(2.0), params=second)
    assert (first["w"], second["w"]) == (1.0, 2.0)


@pytest.mark.parametrize(("constraint", "value"), [
    (constraints.positive, torch.tensor([0.5, 3.0])),
    (constraints.unit_interval, torch.tensor(0.25)),
    (constraints.simplex, torch.tensor([0.2, 0.3, 0.5])),
    (constraints.lower_cholesky, torch.tensor([[1.0, 0.0], [0.5, 2.0]])),
    (constraints.interval(-1.0, 2.0), torch.tensor(0.0)),
])  # fmt: skip
def test_values_are_constrained_and_what_is_learnt_is_not(constraint, value):
    store = ParamStore()
    got = run(lambda: fit(value, constraint), params=store)
    assert torch.allclose(got, value)
    (parameter,) = store.parameters()
    with torch.no_grad():
        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    moved = run(lambda: fit(None, constraint), params=store)
    assert constraint.check(moved).all()
    assert not torch.allclose(moved, value)


def test_a_store_shows_what_it_holds():
    store = ParamStore()
    assert repr(store) == "ParamStore()"
    run(lambda: fit(torch.ones(3), constraints.positive), params=store)
    assert repr(store) == "ParamStore(w: (3,) GreaterThan(lower_bound=0.0))"
    loaded = ParamStore()
    loaded.load_state_dict(store.state_dict())
    assert repr(loaded) == "ParamStore(w: (3,) loaded)"


@pytest.mark.parametrize("three", [3, torch.tensor(3), numpy.array(3)])
def test_whole_numbers_are_initial_values_too(three):
    assert same(run(lambda: fit(three)), torch.tensor(3.0))


def test_optimisers_find_the_maximum_likelihood():
    data = torch.tensor([1.0, 2.0, 4.0, 5.0])

    def model():
        loc = yield Param("loc", 0.0)
        spread = yield Param("spread", 1.0, constraint=constraints.positive)
        yield Observe("y", Normal(loc, spread), data)

    store = ParamStore()
    run(model, params=store)
    optimiser = torch.optim.LBFGS(store.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = -run(trace(model).traced(), params=store).log_pdf()
        value.backward()
        return value

    optimiser.step(loss)
    assert torch.isclose(store["loc"], data.mean(), atol=1e-4)
    assert torch.isclose(store["spread"], data.std(correction=0), atol=1e-4)


def test_states_are_saved_and_loaded_also_into_an_empty_store():
    store = ParamStore()
    run(lambda: fit(torch.tensor([0.5, 3.0]), constraints.positive), params=store)
    fresh = ParamStore()
    fresh.load_state_dict(store.state_dict())
    assert torch.equal(run(lambda: fit(None, constraints.positive), params=fresh), store["w"])


def test_names_with_dots_and_scopes_survive_the_state():
    store = ParamStore()

    def model():
        yield Param("layer.0%", 1.0)

    run(scope(model, prefix="a.b")(), params=store)
    assert list(store) == ["a.b/layer.0%"]
    fresh = ParamStore()
    fresh.load_state_dict(store.state_dict())
    assert list(fresh) == ["a.b/layer.0%"]


def test_moving_a_store_moves_its_parameters():
    store = ParamStore()
    run(lambda: fit(1.0), params=store)
    assert store.double()["w"].dtype == torch.float64


def test_an_initial_value_may_be_a_callable_that_draws_without_the_global_generator():
    before = torch.get_rng_state()
    first = run(lambda: fit(lambda: torch.randn(3)))
    assert torch.equal(first, run(lambda: fit(lambda: torch.randn(3))))
    assert torch.equal(before, torch.get_rng_state())


def test_what_is_wrong_with_a_parameter_is_said():
    with pytest.raises(ParamError, match="site 'w': it has no initial value"):
        run(fit)
    with pytest.raises(ParamError, match="does not satisfy"):
        run(lambda: fit(-1.0, constraints.positive))
    store = ParamStore()
    run(lambda: fit(1.0), params=store)
    with pytest.raises(ParamError, match=r"the constraint was Real\(\) and is now"):
        run(lambda: fit(1.0, constraints.positive), params=store)
    run(lambda: fit(1.0, constraints.real), params=store)
    with pytest.raises(KeyError, match="no parameter 'v' was read from this store; it has w"):
        store["v"]


def test_a_decided_parameter_does_not_touch_the_store():
    store = ParamStore()
    assert run(substitute(lambda: fit(1.0), data={"w": torch.tensor(5.0)})(), params=store) == 5.0
    assert len(store) == 0


def test_gradients_reach_the_store_through_samples():
    store = ParamStore()

    def model():
        w = yield Param("w", 2.0)
        return (yield Sample("x", Normal(w, 1.0)))

    run(model, params=store).backward()
    (parameter,) = store.parameters()
    assert parameter.grad == 1.0


@pytest.mark.parametrize("name", ["type", "half", "train", "forward", "read", "param/w", "1", ""])
def test_a_parameter_may_have_any_name(name):
    store = ParamStore()

    def model():
        return (yield Param(name, 1.0))

    assert run(model, params=store) == 1.0
    assert list(store) == [name]
    fresh = ParamStore()
    fresh.load_state_dict(store.state_dict())
    assert run(model, params=fresh) == 1.0


@pytest.mark.parametrize("init", [numpy.float64(0.1), numpy.array([0.1, 0.2]), numpy.float32(0.1), torch.tensor(0.1, dtype=torch.float64)])
def test_an_initial_value_of_numpy_keeps_its_precision(init):
    value = run(lambda: fit(init))
    assert value.dtype == torch.as_tensor(init).dtype
    assert same(value.detach(), torch.as_tensor(init))


def test_initial_values_must_be_floating_and_keep_their_shape():
    with pytest.raises(ParamError, match="floating point"):
        run(lambda: fit(torch.tensor(1.0j)))
    store = ParamStore()
    run(lambda: fit(torch.zeros(2)), params=store)
    with pytest.raises(ParamError, match=r"holds shape \(2,\), and the initial value has \(3,\)"):
        run(lambda: fit(torch.zeros(3)), params=store)


def test_a_trace_holds_the_value_that_was_read_and_not_the_one_after_a_step():
    def model():
        w = yield Param("w", torch.tensor(0.0))
        yield Observe("y", Normal(w, 1.0), torch.tensor(3.0))

    store = ParamStore()
    t = run(trace(model).traced(), params=store)
    before = t.log_pdf()
    (-before).backward()
    torch.optim.SGD(store.parameters(), lr=1.0).step()
    assert (t["w"].value.item(), store["w"].item()) == (0.0, 3.0)
    assert torch.equal(t.copy().log_pdf(), before)
    assert run(trace(model).traced(), params=store).log_pdf() > before


def test_an_interval_without_an_end_is_a_half_line():
    """So torch writes the support of a GeneralizedPareto; its transform onto such an interval gives infinity."""
    constraint = GeneralizedPareto(1.0, 2.0, 0.5).support
    assert run(partial(fit, torch.tensor(3.0), constraint)).item() == pytest.approx(3.0)
    assert run(partial(fit, torch.tensor(3.0), constraints.interval(1.0, 4.0))).item() == pytest.approx(3.0)


@pytest.mark.parametrize("init", [numpy.zeros(2), [1.0, 2.0], 0.0, 0, numpy.float32(1.0), lambda: torch.zeros(2)], ids=[*"abcdef"])
@pytest.mark.parametrize("loaded", [False, True])
def test_an_initial_value_of_any_kind_has_the_shape_that_the_store_holds(init, loaded: bool):
    store = ParamStore()
    run(lambda: fit(torch.zeros(3)), params=store)
    if loaded:
        state = store.state_dict()
        store = ParamStore()
        store.load_state_dict(state)
    if callable(init) and not loaded:  # it is called once for each parameter that is made: it may take long
        assert run(lambda: fit(init), params=store).shape == (3,)
        return
    shape = tuple(numpy.shape(init() if callable(init) else init))
    with pytest.raises(ParamError, match=rf"site 'w': the store holds shape \(3,\), and the initial value has {re.escape(str(shape))}"):
        run(lambda: fit(init), params=store)


@pytest.mark.parametrize("init", [numpy.zeros(3), [1.0, 2.0, 3.0], lambda: torch.zeros(3)], ids=[*"abc"])
def test_an_initial_value_of_the_same_shape_may_be_of_another_kind(init):
    store = ParamStore()
    first = run(lambda: fit(torch.ones(3)), params=store)
    for _ in range(2):
        assert same(run(lambda: fit(init), params=store), first)


def test_a_callable_is_called_once_by_a_store():
    called = []

    def init():
        called.append(1)
        return torch.zeros(3)

    store = ParamStore()
    for _ in range(3):
        run(lambda: fit(init), params=store)
    assert len(called) == 1
    loaded = ParamStore()
    loaded.load_state_dict(store.state_dict())
    for _ in range(3):
        run(lambda: fit(init), params=loaded)
    assert len(called) == 2


@pytest.mark.parametrize(("init", "got"), [
    (Normal(0.0, 1.0), r"Normal\(loc: 0.0, scale: 1.0\); what is to be drawn is a Sample, or a param under lift"),
    ("a", "'a'"),
    (lambda: "a", "'a'"),
    (lambda: Normal, "<class 'torch.distributions.normal.Normal'>"),
    ([[1.0], [1.0, 2.0]], r"\[\[1.0\], \[1.0, 2.0\]\]"),
    ({"a": 1.0}, r"\{'a': 1.0\}"),
])  # fmt: skip
def test_an_initial_value_that_is_none(init, got: str):
    with pytest.raises(ParamError, match=f"site 'w': expected a tensor, a number, an array of numbers or a callable .* got {got}$"):
        run(lambda: fit(init))


@pytest.mark.parametrize("init", [1j, numpy.array(1j), torch.tensor(1j)])
def test_an_initial_value_is_real(init):
    with pytest.raises(ParamError, match="site 'w': expected a"):
        run(lambda: fit(init))


def test_a_callable_that_cannot_be_called_for_an_initial_value():
    with pytest.raises(
        ParamError, match="site 'w': cannot call <class 'torch.distributions.normal.Normal'> for its initial value: "
    ) as caught:
        run(lambda: fit(Normal))
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_lifted_param_has_the_shape_of_an_initial_value_that_is_a_list():
    lifted = lift(lambda: fit([1.0, 2.0]), prior=Normal(torch.zeros(3), 1.0))
    with pytest.raises(ParamError, match=r"site 'w': its initial value has shape \(2,\), and its value under the prior .* has \(3,\)"):
        run(lifted)


def test_the_loop_of_the_docstring_finds_the_posterior():
    """Of a conjugate model: the guide can be exact, and comes ten times nearer than where it began."""
    y = torch.tensor([2.0, 4.0, 3.5])

    def model(y):
        mu = yield Sample("mu", Normal(0.0, 10.0))
        yield Observe("y", Normal(mu, 1.0).expand([3]), y)

    def guide(y):
        loc = yield Param("loc", 0.0)
        yield Sample("mu", Normal(loc, (yield Param("spread", 3.0, constraint=constraints.positive))))

    code = textwrap.dedent(re.search(r"::\n\n(.*?)\n\n    A parameter that is", ParamStore.__doc__, re.DOTALL)[1])
    names = {"torch": torch, "run": run, "trace": trace, "replay": replay, "ParamStore": ParamStore, "model": model, "guide": guide, "y": y}
    exec(compile(code, "the docstring of ParamStore", "exec"), names)
    precision = 3 + 1 / 100
    exact = {"loc": y.sum() / precision, "spread": torch.tensor(precision**-0.5)}
    for name, start in (("loc", 0.0), ("spread", 3.0)):
        assert abs(names["store"][name] - exact[name]) < abs(start - exact[name]) / 10


def test_a_parameter_that_comes_later_is_added_to_the_optimiser():
    store = ParamStore()
    run(lambda: fit(1.0), params=store)
    optimiser = torch.optim.SGD(store.parameters(), lr=0.5)
    before = {*store.parameters()}

    def both():
        return (yield from fit()) + (yield Param("later", 2.0))

    run(both, params=store)
    optimiser.add_param_group({"params": [each for each in store.parameters() if each not in before]})
    run(both, params=store).backward()
    optimiser.step()
    assert (store["w"], store["later"]) == (0.5, 1.5)


def test_a_parameter_can_be_forgotten():
    store = ParamStore()
    run(lambda: fit(torch.ones(3)), params=store)
    del store["w"]
    assert list(store) == [] and not list(store.parameters()) and not store.state_dict()
    assert run(lambda: fit(0.5, constraints.positive), params=store) == 0.5
    with pytest.raises(KeyError, match=r"no parameter 'v' is in this store; it has w"):
        del store["v"]


def test_an_error_of_ours_in_an_initial_value_comes_as_it_is():
    def raising() -> torch.Tensor:
        raise ParamError("v", "there is none")

    def one():
        return (yield Param("w", raising))

    with pytest.raises(ParamError, match=r"^site 'v': there is none"):
        run(one)


@pytest.mark.parametrize(("init", "constraint"), [
    (0.0, constraints.nonnegative), (1.0, constraints.greater_than_eq(1.0)), (torch.tensor([0.0, 1.0]), constraints.simplex),
    (math.inf, constraints.real), (0.0, constraints.unit_interval), (torch.tensor([0.5, 1.0]), constraints.unit_interval),
    (torch.tensor([1.0, 0.0]), constraints.half_open_interval(0.0, 2.0)),
    (torch.tensor([0.0]), constraints.independent(constraints.interval(torch.tensor([0.0]), 1.0), 1)),
])  # fmt: skip
def test_a_parameter_that_no_gradient_could_move_is_refused(init, constraint):
    def stuck():
        return (yield Param("w", init, constraint=constraint))

    store = ParamStore()
    with pytest.raises(ParamError, match=r"site 'w': the initial value .* is at a bound of .*; start inside of it"):
        run(stuck, params=store)
    assert not len(store)


def test_a_matrix_that_is_only_semidefinite_has_no_factor():
    with pytest.raises(ParamError, match="(?s)site .w.: the initial value .* has no unconstrained one under PositiveSemidefinite"):
        run(lambda: fit(torch.zeros(2, 2), constraints.positive_semidefinite))
