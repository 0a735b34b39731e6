"""The trace: order, kinds of nodes, densities, copies, dense edges, plates."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.distributions import Bernoulli, Normal, constraints

from poutine import (
    DuplicateSite,
    NoDensity,
    Observe,
    Param,
    Sample,
    Trace,
    indep,
    lift,
    plate,
    run,
    trace,
    vectorized_plates,
)

Y = torch.tensor([1.0, 2.0, 3.0])


def model(shift: float, *, spread: float = 1.0):
    w = yield Param("w", torch.tensor(0.5))
    z = yield Sample("z", Normal(shift + w, spread))
    b = yield Sample("b", Bernoulli(0.3))
    yield Observe("y", Normal(z + b, 1.0), Y)
    return z


def test_nodes_are_in_order_between_the_arguments_and_the_return():
    t = trace(model).get_trace(1.0, spread=2.0)
    assert list(t) == ["_INPUT", "w", "z", "b", "y", "_RETURN"]
    assert (t["_INPUT"].type, t["_INPUT"].args, t["_INPUT"].kwargs) == ("args", (1.0,), {"spread": 2.0})
    assert (t["_RETURN"].type, t["_RETURN"].value) == ("return", t["z"].value)
    assert t.nodes["z"]["value"] is t["z"].value
    assert "z" in t and "zz" not in t and len(t) == 6


def test_nodes_by_kind():
    t = trace(model).get_trace(1.0)
    assert t.stochastic_nodes == ["z", "b"]
    assert t.observation_nodes == ["y"]
    assert t.param_nodes == ["w"]
    assert t.reparameterized_nodes == ["z"]
    assert t.nonreparam_stochastic_nodes == ["b"]


def test_log_densities_add_up():
    t = trace(model).get_trace(1.0)
    z, b = t["z"].value, t["b"].value
    by_hand = Normal(1.5, 1.0).log_prob(z) + Bernoulli(0.3).log_prob(b) + Normal(z + b, 1.0).log_prob(Y).sum()
    assert torch.allclose(t.log_pdf(), by_hand)
    assert torch.allclose(t.batch_log_pdf(), by_hand)
    assert t.compute_batch_log_pdf().keys() == {"z", "b", "y"}
    assert torch.allclose(t.log_pdf(lambda name, site: site.is_observed), Normal(z + b, 1.0).log_prob(Y).sum())
    assert t.compute_batch_log_pdf(lambda name, site: name == "y")["y"].shape == (3,)
    assert Trace().log_pdf() == Trace().batch_log_pdf() == 0


@pytest.mark.parametrize(("shapes", "shared"), [
    ([(3,), (3,)], (3,)),
    ([(), (3,)], ()),
    ([(5, 1), (5, 3)], (5,)),
    ([(5, 3), (3,)], (3,)),
    ([(2, 5, 3), (5, 1)], (5,)),
])  # fmt: skip
def test_the_batched_log_density_keeps_the_dimensions_that_all_sites_share(shapes, shared):
    t = Trace()
    for i, shape in enumerate(shapes):
        t.add_node(
            f"x{i}", Observe(f"x{i}", Normal(torch.zeros(shape), 1.0), torch.arange(float(torch.Size(shape).numel())).reshape(shape))
        )
    assert t.batch_log_pdf().shape == shared
    assert torch.allclose(t.batch_log_pdf().sum(), t.log_pdf())


def test_a_log_density_is_that_of_the_node_as_it_is_now():
    t = Trace()
    t.add_node("x", Observe("x", Normal(0.0, 1.0), torch.tensor(1.0)))
    first = t.log_pdf()
    t.set_value("x", torch.tensor(2.0))
    assert t.log_pdf() == Normal(0.0, 1.0).log_prob(torch.tensor(2.0)) != first
    t.remove_node("x")
    t.add_node("x", Observe("x", Normal(5.0, 1.0), torch.tensor(2.0)))
    assert t.log_pdf() == Normal(5.0, 1.0).log_prob(torch.tensor(2.0))
    t["x"].value.add_(1.0)
    assert t.log_pdf() == Normal(5.0, 1.0).log_prob(torch.tensor(3.0))


@pytest.mark.parametrize("deferred", [False, True])
def test_a_look_at_a_density_without_gradients_takes_none_from_a_later_one(deferred):
    w = torch.tensor(1.0, requires_grad=True)

    def one():
        yield Observe("x", Normal, torch.tensor(3.0), w, 1.0) if deferred else Observe("x", Normal(w, 1.0), torch.tensor(3.0))

    t = trace(one).get_trace()
    with torch.no_grad():
        assert not t.log_pdf().requires_grad
    for _ in range(2):  # and what was computed before has its own graph
        t.log_pdf().backward()
    assert torch.allclose(w.grad, 2.0 * (3.0 - w).detach())
    with torch.no_grad():
        w += 1.0
    assert torch.allclose(t.log_pdf(), Normal(w, 1.0).log_prob(torch.tensor(3.0)))


def test_a_node_reads_its_log_densities_as_in_the_seed():
    t = trace(model).get_trace(1.0)
    batch = t.compute_batch_log_pdf()
    for name in ("z", "b", "y"):
        node = t.nodes[name]
        assert "log_pdf" in node and "batch_log_pdf" in node
        assert torch.equal(node["batch_log_pdf"], batch[name]) and torch.equal(node["log_pdf"], batch[name].sum())
    assert "log_pdf" not in t.nodes["w"] and t.nodes["w"].get("log_pdf") is None
    with pytest.raises(NoDensity, match="site 'u'"):
        _ = Sample("u", lambda: 1.0)["log_pdf"]


def test_editing_a_copy_leaves_the_original():
    t = trace(model, graph_type="dense").get_trace(1.0)
    before, edges, density = list(t), t.edges, t.log_pdf()
    c = t.copy()
    assert c == t
    c.set_value("z", torch.tensor(100.0))
    c.remove_node("b")
    c.add_node("new", Sample("new", Normal(0.0, 1.0)).evolve(value=torch.tensor(0.0)))
    c.add_edge("new", "z")
    assert c != t
    assert (list(t), t.edges) == (before, edges)
    assert t.log_pdf() == density != c.log_pdf()


def test_removing_a_node_leaves_the_induced_subgraph():
    t = trace(model, graph_type="dense").get_trace(1.0)
    t.remove_node("b")
    assert t.edges == [("z", "y")]
    assert t.successors("z") == ["y"]
    assert t.predecessors("y") == ["z"]


def test_the_seeds_way_to_add_nodes():
    t = Trace()
    t.add_node("_INPUT", name="_INPUT", type="args", args=(1,), kwargs={})
    t.add_node("x", name="x", type="sample", is_observed=False, fn=Normal(0.0, 1.0), value=torch.tensor(1.0), args=(), kwargs={}, scale=2.0)
    t.add_node("y", name="y", type="observe", fn=Normal(0.0, 1.0), value=torch.tensor(1.0))
    t.add_node("_RETURN", name="_RETURN", type="return", value=3)
    assert t.log_pdf() == 3 * Normal(0.0, 1.0).log_prob(torch.tensor(1.0))
    assert t["_RETURN"]["value"] == 3
    t.add_node("z", name="z", type="sample", is_observed=True, fn=Normal(0.0, 1.0), value=torch.tensor(1.0))
    assert t.observation_nodes == ["y", "z"]
    with pytest.raises(DuplicateSite, match="'x'"):
        t.add_node("x", name="x", type="sample", fn=Normal(0.0, 1.0))
    with pytest.raises(ValueError, match="unknown type"):
        t.add_node("q", name="q", type="something")


def test_missing_nodes_are_named():
    t = trace(model).get_trace(1.0)
    with pytest.raises(KeyError, match="no site 'q' in this trace; it has _INPUT, w"):
        t["q"]
    for look in (t.successors, t.predecessors, t.remove_node, lambda name: t.add_edge("z", name), lambda name: t.set_value(name, 1)):
        with pytest.raises(KeyError, match="no site 'q'"):
            look("q")
    with pytest.raises(TypeError, match="does not support item assignment"):
        t.nodes["z"] = 1
    with pytest.raises(ValueError, match="graph_type"):
        Trace("round")


def test_traces_compare_print_and_pickle():
    t = trace(model, graph_type="dense").get_trace(1.0)
    t.log_pdf()
    assert pickle.loads(pickle.dumps(t)) == t == trace(model, graph_type="dense").get_trace(1.0)
    assert t != trace(model).get_trace(1.0)
    assert t != run(trace(model, graph_type="dense").traced(1.0), seed=1)
    assert repr(t) == "<Trace, dense: _INPUT, w, z, b, y, _RETURN>"


def test_a_trace_of_a_constrained_parameter_is_copied_deep():
    def model():
        w = yield Param("w", torch.tensor(2.0), constraint=constraints.positive)
        yield Sample("x", Normal(w, w))

    t = trace(model).get_trace()
    new = copy.deepcopy(t)
    assert new == t and torch.isclose(new.log_pdf(), t.log_pdf())
    with torch.no_grad():
        new["w"].value.fill_(3.0)
    assert (new["x"].fn.loc.item(), t["w"].value.item()) == (3.0, 2.0)  # of one tensor there is one copy


def test_networkx_gets_nodes_and_edges():
    networkx = pytest.importorskip("networkx")
    t = trace(model, graph_type="dense").get_trace(1.0)
    graph = t.to_networkx()
    assert isinstance(graph, networkx.DiGraph)
    assert list(graph.nodes) == list(t)
    assert list(graph.edges) == t.edges
    assert graph.nodes["z"]["site"] is t["z"]


# Dense edges


def branches(vectorized: bool):
    yield Sample("before", Normal(0.0, 1.0))

    def body(i):
        yield Sample(f"a{i}", Normal(0.0, 1.0))
        yield Sample(f"b{i}", Normal(0.0, 1.0))

    loop = object()
    for i in range(2):
        yield from indep(body, name="branch", vectorized=vectorized, loop=loop)(i)
    yield Sample("after", Normal(0.0, 1.0))


def test_a_param_that_is_lifted_around_a_sequential_plate_is_joined_to_all_branches():
    """They all read what was sampled in the first (K.provenance); lifted inside, each has its own."""

    def each(i):
        w = yield Param("w" if i < 3 else f"w_{i}", torch.zeros(()))
        yield Sample(f"x_{i % 3}", Normal(w, 1.0))

    def branches_of(fn, start):
        return (yield from plate("p", 3, vectorized=False)(lambda i: fn(i + start))())

    shared = trace(lift(branches_of, prior=Normal(0.0, 1.0)), graph_type="dense").get_trace(each, 0)
    assert shared.edges == [("w", "x_0"), ("w", "x_1"), ("w", "x_2")]
    assert shared["w"].cond_indep_stack[0].counter == 1
    own = trace(branches_of, graph_type="dense").get_trace(lift(each, prior=Normal(0.0, 1.0)), 3)
    assert own.edges == [("w_3", "x_0"), ("w_4", "x_1"), ("w_5", "x_2")]


def test_dense_edges_skip_the_other_branches_of_a_sequential_plate():
    t = trace(branches, graph_type="dense").get_trace(False)
    assert t.predecessors("b1") == ["before", "a1"]
    assert t.predecessors("a1") == ["before"]
    assert t.predecessors("after") == ["before", "a0", "b0", "a1", "b1"]
    assert all(list(t).index(parent) < list(t).index(child) for parent, child in t.edges)


def test_entries_of_a_vectorised_plate_are_not_separated():
    t = trace(branches, graph_type="dense").get_trace(True)
    assert t.predecessors("b1") == ["before", "a0", "b0", "a1"]


def test_another_loop_over_a_plate_of_the_same_name_may_depend_on_the_first():
    def layer(name, below):
        @plate("units", 2, vectorized=False)
        def unit(i):
            return (yield Sample(f"{name}{i}", Normal(sum(below), 1.0)))

        return (yield from unit())

    def network():
        hidden = yield from layer("h", [0.0])
        yield from layer("o", hidden)

    t = trace(network, graph_type="dense").get_trace()
    assert t.edges == [("h0", "o0"), ("h0", "o1"), ("h1", "o0"), ("h1", "o1")]
    assert pickle.loads(pickle.dumps(t)) == t == trace(network, graph_type="dense").get_trace()


def test_subsample_indices_have_no_edges():
    @plate("data", 10, subsample_size=2)
    def body(index):
        yield Sample("x", Normal(0.0, 1.0))

    t = trace(body, graph_type="dense").get_trace()
    assert "data" in t
    assert t.edges == []
    assert t.stochastic_nodes == ["x"]


def test_flat_traces_have_no_edges_of_their_own():
    t = trace(model).get_trace(1.0)
    assert t.edges == []
    t.add_edge("z", "y")
    assert t.edges == [("z", "y")]


# Which plates a Rao-Blackwellised estimator may exploit


def test_a_vectorised_plate_may_be_exploited():
    @plate("outer", 3)
    def outer(i):
        x = yield Sample("x", Normal(0.0, 1.0))

        @plate("inner", 2)
        def inner(j):
            yield Sample("z", Bernoulli(0.5))
            yield Observe("y", Normal(x, 1.0), torch.zeros(3))

        yield from inner()

    use = vectorized_plates(trace(outer, graph_type="dense").get_trace())
    assert [(u.name, u.dim, u.size, u.sites, u.exploitable) for u in use.values()] == [
        ("outer", -1, 3, ("x", "z", "y"), True),
        ("inner", -2, 2, ("z", "y"), True),
    ]


def test_a_sequential_plate_has_no_elements_to_exploit():
    @plate("p", 2, vectorized=False)
    def body(i):
        yield Sample(f"x{i}", Bernoulli(0.5))

    assert vectorized_plates(trace(body, graph_type="dense").get_trace()) == {}


def test_why_a_plate_may_not_be_exploited():
    def bare():
        yield Sample("x", Bernoulli(torch.full((3,), 0.5)))

    use = vectorized_plates(trace(indep(bare, name="p", vectorized=True)).get_trace())
    assert "no dimension or size" in use["p"].problem

    def twice():
        for size in (2, 3):

            @plate("p", size)
            def body(index, size=size):
                yield Sample(f"x{size}", Bernoulli(0.5))

            yield from body()

    assert "different dimensions or sizes" in vectorized_plates(trace(twice).get_trace())["p"].problem

    use = vectorized_plates(trace(indep(one_scalar, name="p", vectorized=True, size=3)).get_trace())
    assert "has shape (), without size 3 at dimension -1" in use["p"].problem


def test_a_plate_that_is_entered_twice_may_not_be_exploited():
    def twice():
        for name, index in (("x", [0, 1, 2]), ("y", [7, 8, 9])):
            body = plate("p", 10, subsample=torch.tensor(index))(lambda index, name=name: one_named(name))
            yield from body()

    assert "entered more than once" in vectorized_plates(trace(twice).get_trace())["p"].problem


def one_named(name):
    return (yield Sample(name, Bernoulli(0.5)))


def one_scalar():
    yield Sample("x", Bernoulli(0.5))
