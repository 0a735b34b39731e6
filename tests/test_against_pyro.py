"""The same programs on Pyro 1.9: traces agree site by site. Where they do not, it was decided so: the last section lists that, with the reasons."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pyro
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Beta, Dirichlet, Gamma, Independent, LogNormal, MultivariateNormal, Normal, constraints

import poutine
from poutine import (
    AlreadyObserved,
    Deterministic,
    NonlocalExit,
    Observe,
    Param,
    PoutineError,
    Program,
    Sample,
    UnusedNames,
    factor,
    plate,
    run,
    same,
    trace,
)
from poutine.driver.engine import answer
from poutine.laws import handlers, programs
from poutine.runtime import Runtime
from tests.in_pyro import InPyro, NotInPyro, Seen, seen_by_pyro, seen_here

Y = torch.tensor([0.3, -1.2, 0.8, 2.0])


@pytest.fixture(autouse=True)
def nothing_of_pyro_leaks() -> Iterator[None]:
    """Pyro's parameters, switches and generators are global: each test starts and leaves them fresh."""
    state = torch.get_rng_state()
    pyro.clear_param_store()
    with pyro.validation_enabled(True):
        yield
    pyro.clear_param_store()
    assert torch.equal(state, torch.get_rng_state())  # every draw was keyed


def both(fn: Callable[..., Any]) -> tuple[Any, Any]:
    """The traces of ``fn`` here and in Pyro."""
    pyro.clear_param_store()
    return run(trace(fn).traced()), pyro.poutine.trace(InPyro(fn)).get_trace()


def assert_agree(fn: Callable[..., Any]) -> None:
    ours, theirs = both(fn)
    assert same(_plain(ours["_RETURN"].value), _plain(theirs.nodes["_RETURN"]["value"]))
    here, there = seen_here(ours), seen_by_pyro(theirs)
    assert [site.name for site in here] == [site.name for site in there]
    again = read_again(fn)
    for mine, peers in zip(here, there, strict=True):
        assert_same_site(mine, attrs.evolve(peers, frames=mine.frames, scale=mine.scale, mask=mine.mask) if mine.name in again else peers)
    torch.testing.assert_close(ours.log_pdf(), torch.as_tensor(theirs.log_prob_sum(), dtype=ours.log_pdf().dtype), equal_nan=True)


def read_again(fn: Callable[..., Any]) -> set[str]:
    """The params that are read more than once. A trace has the first of them here, the last in Pyro; both are of one value."""
    runtime, reads = Runtime(), Counter[str]()
    read = runtime[Param]
    runtime[Param] = lambda site: reads.update([site.name]) or read(site)
    answer(Program(fn), runtime)
    return {name for name, count in reads.items() if count > 1}


def assert_same_site(mine: Seen, peers: Seen) -> None:
    assert (mine.kind, mine.frames) == (peers.kind, peers.frames), mine.name
    assert same(_plain(mine.value), _plain(peers.value)), mine.name
    if mine.kind != "deterministic":  # it has no density here: nothing to scale or mask
        assert torch.equal(torch.as_tensor(mine.mask), torch.as_tensor(peers.mask)), mine.name
        torch.testing.assert_close(torch.as_tensor(mine.scale), torch.as_tensor(peers.scale), check_dtype=False)
    torch.testing.assert_close(mine.log_density, peers.log_density, equal_nan=True, check_dtype=False)


def _plain(value: Any) -> Any:
    """Tensors without their history: a parameter is a ``torch.nn.Parameter`` here, where its constraint is none."""
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    return value if value is None else torch.as_tensor(value).detach().as_subclass(torch.Tensor)


# Models


def pair():
    x = yield Sample("x", Normal(0.0, 1.0))
    y = yield Observe("y", Normal(x, 0.5), Y[0])
    return x + y


def chain_of_three():
    x = yield Sample("x", Normal, 0.3, 2.0)
    z = yield Sample("z", Normal(x, 1.0))
    w = yield Sample("w", Normal(x + z, 1.0))
    return w


def many_families():
    p = yield Sample("p", Beta(2.0, 3.0))
    r = yield Sample("r", Gamma, 2.0, 1.5)
    k = yield Sample("k", Bernoulli(p))
    v = yield Sample("v", Dirichlet(torch.tensor([1.0, 2.0, 3.0])))
    m = yield Sample("m", MultivariateNormal(torch.zeros(2), torch.eye(2)))
    n = yield Sample("n", Independent(Normal(torch.zeros(2, 3), r), 1))
    s = yield Sample("s", LogNormal(0.0, torch.ones(2)))
    return p, r, k, v, m, n, s


def learning():
    a = yield Param("a", torch.tensor([0.5, 1.5]), constraint=constraints.positive)
    b = yield Param("b", torch.tensor(-1.0))
    c = yield Param("c", torch.tensor([0.2, 0.8]), constraint=constraints.simplex)
    x = yield Sample("x", Normal(b, a.sum()))
    again = yield Param("b", torch.tensor(-1.0))
    yield Observe("y", Normal(x * c, 1.0), Y[:2])
    return x + again


def recording():
    x = yield Sample("x", Normal(0.0, 1.0))
    d = yield Deterministic("d", x**2)
    yield factor("f", -d)
    yield factor("g", -torch.stack([d, x]))
    return d


def vectorised():
    mu = yield Sample("mu", Normal(0.0, 1.0))

    @plate("rows", 4)
    def rows(i):
        theta = yield Sample("theta", Normal(mu, 1.0))
        v = yield Sample("v", Independent(Normal(torch.zeros(2), 1.0), 1))
        yield Observe("y", Normal(theta, 0.5), Y[i])
        return theta.sum() + v.sum()

    return (yield from rows())


def nested():
    @plate("outer", 3)
    def outer(i):
        a = yield Sample("a", Normal(0.0, 1.0))

        @plate("inner", 2)
        def inner(j):
            b = yield Sample("b", Normal(a, 1.0))
            yield Observe("y", Normal(b, 1.0), torch.zeros(2, 3))
            return b

        return (yield from inner())

    return (yield from outer())


def crossed():
    @plate("left", 3, dim=-2)
    def left(i):
        yield Sample("a", Normal(0.0, 1.0))

        @plate("right", 2, dim=-1)
        def right(j):
            return (yield Sample("b", Normal(0.0, 1.0)))

        return (yield from right())

    return (yield from left())


def subsampled():
    mu = yield Sample("mu", Normal(0.0, 1.0))

    @plate("data", 4, subsample_size=2)
    def data(i):
        z = yield Sample("z", Normal(mu, 1.0))
        yield Observe("y", Normal(z, 1.0), Y[i])
        return i

    return (yield from data())


def sequential():
    mu = yield Sample("mu", Normal(0.0, 1.0))

    @plate("data", 3, vectorized=False)
    def data(i):
        z = yield Sample(f"z_{i}", Normal(mu, 1.0))
        yield Observe(f"y_{i}", Normal(z, 1.0), Y[i])
        return z

    return sum((yield from data()))


def sequential_subsampled():
    @plate("data", 4, subsample_size=2, vectorized=False)
    def data(i):
        return (yield Sample(f"z_{i}", Normal(0.0, 1.0)))

    return sum((yield from data()))


def mixed_plates():
    @plate("groups", 2, vectorized=False)
    def group(i):
        a = yield Sample(f"a_{i}", Normal(0.0, 1.0))

        @plate(f"members_{i}", 3)
        def member(j):
            return (yield Sample(f"b_{i}", Normal(a, 1.0)))

        return (yield from member())

    return sum((yield from group()))


def unsized_plate():
    @plate("rows")
    def rows(_):
        return (yield Sample("x", Normal(torch.zeros(3), 1.0)))

    return (yield from rows())


def parts():
    a = yield from poutine.scale(chain_of_three, scale=2.0)()
    b = yield from poutine.scope(poutine.mask(pair, mask=False), prefix="sub")()
    c = yield from poutine.scope(poutine.seed(chain_of_three, seed=4), prefix="other")()
    yield from poutine.block(poutine.scope(pair, prefix="hidden"))()
    return a + b + c


def counting(n: int = 3):
    x = yield Sample(f"x_{n}", Normal(0.0, 1.0))
    rest = (yield from counting(n - 1)) if n else 0.0
    return x + rest


MODELS = [
    pair, chain_of_three, many_families, learning, recording, vectorised, nested, crossed, subsampled, sequential,
    sequential_subsampled, mixed_plates, unsized_plate, parts, counting,
]  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_models(model: Callable[..., Any]):
    assert_agree(model)


# Handlers around them


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("chain", [
    [poutine.scale(scale=2.5)],
    [poutine.scale(scale=torch.tensor(0.5))],
    [poutine.mask(mask=False)],
    [poutine.mask(mask=torch.tensor(True))],
    [poutine.scale(scale=2.0), poutine.mask(mask=False), poutine.scale(scale=3.0)],
    [poutine.uncondition()],
    [poutine.seed(seed=7)],
    [poutine.trace(), poutine.Poutine],
    [poutine.indep(name="outside", vectorized=False)],
    [poutine.uncondition(), poutine.scale(scale=0.5), poutine.seed(seed=3)],
], ids=str)  # fmt: skip
def test_handlers_that_concern_every_site(model: Callable[..., Any], chain: list[Any]):
    assert_agree(poutine.chain(model, *chain))


@pytest.mark.parametrize("scale", [0.0, -1.0, torch.tensor([1.0, 0.0])], ids=str)
def test_a_scale_that_is_not_positive_is_refused_by_both(scale: Any):
    for handler in (poutine.scale, pyro.poutine.scale):
        with pytest.raises(ValueError, match="xpected (a positive scale|scale > 0)"):
            handler(pair, scale=scale)


def test_tensor_scales_and_masks_meet_the_batch_shape():
    scale, mask = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([True, False, True, True])

    def model():
        x = yield Sample("x", Normal(torch.zeros(4), 1.0))
        yield Observe("y", Normal(x, 1.0), Y)

    for chain in itertools.permutations([poutine.scale(scale=scale), poutine.mask(mask=mask), poutine.mask(mask=~mask)], 2):
        assert_agree(poutine.chain(model, *chain))


NUMBERS = {"x": torch.tensor(0.25), "z": torch.tensor(-0.5)}
OTHERS = {"x": torch.tensor(1.25), "w": torch.tensor(0.125)}
GUIDE = run(trace(chain_of_three).traced(), seed=11)
PARTIAL = GUIDE.copy()
PARTIAL.remove_node("z")

DECIDING = {
    "condition": poutine.condition(data=NUMBERS),
    "condition on others": poutine.condition(data=OTHERS),
    "condition on a trace": poutine.condition(data=GUIDE),
    "replay": poutine.replay(guide_trace=GUIDE),
    "replay a part": poutine.replay(guide_trace=PARTIAL),
    "replay some": poutine.replay(guide_trace=GUIDE, sites=["x"]),
    "replay renamed": poutine.replay(guide_trace=GUIDE, sites={"x": "w", "w": "z"}),
    "uncondition": poutine.uncondition(),
    "do": poutine.do(data=NUMBERS),
    "block": poutine.block(hide=["x"]),
    "scale": poutine.scale(scale=2.0),
    "mask": poutine.mask(mask=False),
}


# Those two are among the decisions.
PAIRS = [pair for pair in itertools.product(DECIDING, repeat=2) if pair not in {("scale", "do"), ("do", "do")}]


@pytest.mark.parametrize("names", PAIRS, ids=", then ".join)
def test_two_handlers_of_which_some_decide_values(names: tuple[str, str]):
    # Not strict: what an inner block hides, an outer value map does not find.
    assert_agree(poutine.chain(chain_of_three, *map(_lenient, names)))


def _lenient(name: str) -> Callable[..., Any]:
    awaiting = DECIDING[name]
    takes = awaiting.poutine in (poutine.ConditionPoutine, poutine.DoPoutine)
    return type(awaiting)(awaiting.poutine, awaiting.options | {"strict": False}) if takes else awaiting


def test_do_and_condition_on_the_same_site():
    for chain in itertools.permutations([poutine.do(data=NUMBERS), poutine.condition(data=OTHERS)]):
        assert_agree(poutine.chain(chain_of_three, *chain))


NAMES = [None, [], ["x"], ["y", "x"]]
TYPES = [None, [], ["sample"], ["observe", "param"]]


def everything():
    w = yield Param("w", torch.tensor(0.5))
    x = yield Sample("x", Normal(w, 1.0))
    z = yield Sample("z", Normal(x, 1.0))
    return (yield Observe("y", Normal(z, 1.0), Y[0]))


@pytest.mark.parametrize("hide_types", TYPES, ids=str)
@pytest.mark.parametrize("hide", NAMES, ids=str)
@pytest.mark.parametrize("expose_types", TYPES, ids=str)
@pytest.mark.parametrize("expose", NAMES, ids=str)
@pytest.mark.parametrize("hide_all", [True, False])
def test_every_combination_of_blocks_options(hide_all: bool, expose: Any, expose_types: Any, hide: Any, hide_types: Any):
    options = {"hide": hide, "expose": expose, "hide_types": hide_types, "expose_types": expose_types}
    if set(hide or ()) & set(expose or ()) or set(hide_types or ()) & set(expose_types or ()):
        with pytest.raises(ValueError, match="hidden and exposed"):
            poutine.block(everything, hide_all=hide_all, **options)
        with pytest.raises(AssertionError, match="cannot hide and expose"):
            pyro.poutine.block(everything, hide_all=hide_all, **options)
        return
    blocked = poutine.block(everything, hide_all=hide_all, **options)
    exposes = expose is not None or expose_types is not None
    if exposes and not hide_all:
        assert_the_last_option_wins_in_pyro(blocked, shown_here_only=True)
    elif expose is not None and expose_types is None and hide_types is not None:
        assert_the_last_option_wins_in_pyro(blocked, shown_here_only=False)
    else:
        assert_agree(blocked)


def assert_the_last_option_wins_in_pyro(blocked: Callable[..., Any], shown_here_only: bool) -> None:
    """A decision: whether a site that no option names is hidden.

    Here it is if any expose option is given, unless ``hide_all`` is false. In Pyro each option that is given sets it anew, in
    the order hide, expose, hide_types, expose_types, whatever ``hide_all`` says.
    """
    here, there = ({site.name for site in seen} for seen in map(lambda see, t: see(t), (seen_here, seen_by_pyro), both(blocked)))
    assert here >= there if shown_here_only else here <= there


def test_expose_all():
    assert_agree(poutine.block(everything, expose_all=True))


@pytest.mark.parametrize("expose", [["x", "y"], ["nobody"], ["w"]], ids=str)
def test_what_a_block_hides_an_inner_trace_sees_and_an_outer_handler_leaves_alone(expose: list[str]):
    assert_agree(poutine.chain(everything, poutine.trace(), poutine.block(expose=expose), poutine.scale(scale=3.0)))
    assert_agree(poutine.chain(everything, poutine.block(expose=expose), poutine.condition(data=NUMBERS, strict=False)))


PRIORS = {"a": Independent(LogNormal(torch.zeros(2), 1.0), 1), "b": Normal(0.0, 1.0), "c": Dirichlet(torch.ones(2))}


@pytest.mark.parametrize("prior", [PRIORS, {"b": Normal(1.0, 2.0)}, {}], ids=["all", "one", "none"])
@pytest.mark.parametrize("chain", [
    [],
    [poutine.scale(scale=2.0)],
    [poutine.condition(data={"b": torch.tensor(0.7)}, strict=False)],
    [poutine.block(hide=["b"])],
    [poutine.lift(prior={"b": Normal(5.0, 1.0)})],
], ids=str)  # fmt: skip
@pytest.mark.filterwarnings("ignore:pyro.module prior did not find:UserWarning")  # the outer lift finds nothing left to lift
def test_lift(prior: dict[str, Any], chain: list[Any]):
    assert_agree(poutine.chain(learning, poutine.lift(prior=prior), *chain))


def test_lift_keeps_scale_and_mask():
    assert_agree(poutine.lift(poutine.mask(poutine.scale(learning, scale=2.0), mask=torch.tensor(True)), prior=PRIORS))


def test_one_prior_lifts_every_param():
    def model():
        a = yield Param("a", torch.tensor(0.5))
        b = yield Param("b", torch.tensor(0.5))
        return (yield Sample("x", Normal(a, b.exp())))

    assert_agree(poutine.lift(model, prior=Normal(0.0, 1.0)))


def test_substitute_params():
    values = {"b": torch.tensor(2.0), "c": torch.tensor([0.5, 0.5])}
    assert_agree(poutine.substitute(learning, data=values))
    assert_agree(poutine.scale(poutine.substitute(learning, data=values), scale=2.0))
    twice = poutine.substitute(poutine.substitute(learning, data=values), data={"b": torch.tensor(3.0)})
    assert_agree(twice)


@pytest.mark.parametrize("model", [pair, learning, sequential, parts])
def test_scope(model: Callable[..., Any]):
    if model is learning:
        model = poutine.lift(model, prior=PRIORS)  # a decision: params are renamed here, too
    assert_agree(poutine.scope(model, prefix="a"))
    assert_agree(poutine.scope(poutine.scope(model, prefix="a"), prefix="b"))
    assert_agree(poutine.uncondition(poutine.scope(model, prefix="a")))


def test_scope_and_values():
    inside = poutine.scope(poutine.condition(chain_of_three, data=NUMBERS), prefix="a")
    outside = poutine.condition(poutine.scope(chain_of_three, prefix="a"), data={"a/w": torch.tensor(0.5)})
    assert_agree(inside)
    assert_agree(outside)


def test_infer_config():
    config = {"x": {"step": 0.1}, "z": {"kernel": "hmc"}}
    fn = poutine.infer_config(poutine.infer_config(chain_of_three, config=config), config={"x": {"step": 0.2}})
    assert_agree(fn)
    ours, theirs = both(fn)
    assert {name: dict(ours[name].infer) for name in "xzw"} == {name: theirs.nodes[name]["infer"] for name in "xzw"}


@pytest.mark.parametrize("name", ["x", "z", "w"])
def test_escape_leaves_at_the_same_site(name: str):
    fn = poutine.escape(chain_of_three, escape_fn=lambda site: site.name == name)
    with pytest.raises(NonlocalExit) as here:
        run(trace(fn).traced())
    with pytest.raises(pyro.poutine.NonlocalExit) as there:
        pyro.poutine.trace(InPyro(fn)).get_trace()
    assert here.value.site.name == there.value.site["name"] == name


@pytest.mark.parametrize("model", MODELS)
def test_an_escape_that_never_fires(model: Callable[..., Any]):
    assert_agree(poutine.escape(model, escape_fn=lambda site: False))


@pytest.mark.parametrize("model", MODELS)
def test_replaying_and_conditioning_a_model_on_its_own_trace(model: Callable[..., Any]):
    guide = run(trace(model).traced(), seed=5)
    assert_agree(poutine.replay(model, guide_trace=guide))
    assert_agree(poutine.condition(model, data=guide, strict=False))  # the index of a subsampled plate may be another one
    assert_agree(poutine.replay(poutine.uncondition(model), guide_trace=guide))


# Random programs and chains

KINDS = ["scale", "mask", "condition", "replay", "uncondition", "lift", "seed", "infer_config", "block", "scope", "indep", "do"]


# What does not meet in one random example, and why.
APART = [
    ("scope", "param("),  # Pyro's scope leaves params their names: among the decisions
    ("scope", "block"),  # a scope cannot rename what is hidden from it, so its draws have keys of which InPyro does not know,
    ("lift", "seed"),  # and neither does it of those of a param that is lifted outside of a seed
    ("uncondition", "deterministic("),  # a computed value is an observation in Pyro: among the decisions
    ("_types=frozenset", "deterministic("),
    # Pyro's do sends the natural site through the handlers inside of it a second time, and calls itself without end where it is nested.
    *[("dopoutine(", inside) for inside in ("scale", "mask", "plate(", "indep", "infer", "(dopoutine")],
]


@st.composite
def wrapped_programs(draw: Any) -> Callable[..., Any]:
    fn = draw(programs(asks=False))
    return poutine.chain(fn, *draw(st.lists(handlers(fn, KINDS), max_size=3)))


@pytest.mark.filterwarnings("ignore:pyro.module prior did not find:UserWarning")  # some name what is not there
@given(wrapped_programs())
def test_random_programs_and_chains(fn: Callable[..., Any]):
    source = repr(fn).lower()
    assume(not any(one in source and other in source for one, other in APART))
    try:
        both(fn)
    except (PoutineError, NotInPyro):
        assume(False)  # what is refused is among the decisions, or another test's business
    assert_agree(fn)


# Decisions: where the two differ, and why


def test_conditioning_on_an_observation():
    """Refused here, since the data that the model was given would be lost without a word; Pyro replaces them."""
    with pytest.raises(AlreadyObserved, match="uncondition first"):
        run(poutine.condition(pair, data={"y": Y[1]})())
    there = pyro.poutine.trace(pyro.poutine.condition(InPyro(pair), data={"y": Y[1]})).get_trace()
    assert torch.equal(there.nodes["y"]["value"], Y[1])


def test_names_that_no_site_has():
    """Refused here at the end of the run, since they are a slip as a rule; Pyro passes over them."""
    with pytest.raises(UnusedNames, match="typo"):
        run(poutine.condition(pair, data={"typo": Y[0]})())
    pyro.poutine.trace(pyro.poutine.condition(InPyro(pair), data={"typo": Y[0]})).get_trace()


def test_substituting_samples():
    """Samples too, here: it is how a density is asked for at a point; Pyro substitutes parameters only."""
    ours, theirs = (
        run(trace(poutine.substitute(pair, data={"x": Y[1]})).traced()),
        pyro.poutine.trace(pyro.poutine.condition(InPyro(pair), data={"x": Y[1]})).get_trace(),
    )
    assert not ours["x"].is_observed
    torch.testing.assert_close(ours.log_pdf(), theirs.log_prob_sum())


def test_a_computed_value_is_no_observation():
    """It has a type of its own here; in Pyro it is an observation of a masked point mass, which block and uncondition treat as such."""
    for chain in ([poutine.block(hide_types=["observe"])], [poutine.uncondition()]):
        ours, theirs = both(poutine.chain(recording, *chain))
        assert ours["d"].type == "deterministic"
        assert "d" not in theirs or not theirs.nodes["d"]["is_observed"]


def test_an_inner_scale_counts_once_where_the_program_is_intervened_on():
    """Pyro sends the natural site through the handlers inside of ``do`` a second time."""
    ours, theirs = both(poutine.do(poutine.scale(chain_of_three, scale=2.0), data=NUMBERS))
    assert (ours["x"].scale, theirs.nodes["x"]["scale"]) == (2.0, 4.0)


@pytest.mark.filterwarnings("ignore:Attempting to intervene on variable:RuntimeWarning")
def test_intervening_twice():
    """The inner one wins here, as with all that acts on the way down; in Pyro the two call each other without end."""
    fn = poutine.do(poutine.do(chain_of_three, data=NUMBERS), data={"x": Y[1], "z": Y[2]})
    ours = run(trace(fn).traced())
    assert same(ours["z"].dist, Normal(NUMBERS["x"], 1.0))
    with pytest.raises(RecursionError):
        pyro.poutine.trace(InPyro(fn)).get_trace()


def test_scope_renames_params():
    """Every site, here; Pyro's scope renames samples only, so that two uses of a part share their parameters."""
    ours, theirs = both(poutine.scope(learning, prefix="a"))
    assert "a/b" in ours and "b" in theirs


def test_a_whole_plate_has_no_index_site():
    """Nothing is drawn where all elements take part; Pyro records a site for it all the same."""
    ours, theirs = both(vectorised)
    assert "rows" not in ours and "rows" in theirs


def test_given_indices_are_no_site():
    """Nothing is drawn where the indices are given; Pyro records them as a sample."""

    def model():
        @plate("data", 4, subsample=torch.tensor([3, 0]))
        def data(i):
            return (yield Observe("y", Normal(0.0, 1.0), Y[i]))

        return (yield from data())

    ours, theirs = both(model)
    assert "data" not in ours and "data" in theirs
    torch.testing.assert_close(ours.log_pdf(), theirs.log_prob_sum())


def test_a_masked_gradient_is_zero_where_the_density_has_none():
    """Zero here, exactly; in Pyro it is nan, since the mask is put on the density alone."""

    def gradient(densities: Callable[[Any], Any]) -> torch.Tensor:
        loc = torch.tensor([0.0, 0.0], requires_grad=True)

        def model():
            yield Observe("y", Normal(loc, 1.0), torch.tensor([1.0, float("inf")]))

        return torch.autograd.grad(densities(poutine.mask(model, mask=torch.tensor([True, False]))), loc)[0]

    with pyro.validation_enabled(False):
        here = gradient(lambda fn: run(trace(fn).traced()).log_pdf())
        there = gradient(lambda fn: pyro.poutine.trace(InPyro(fn)).get_trace().log_prob_sum())
    assert here.tolist() == [1.0, 0.0]
    assert there[1].isnan()


def test_a_guide_with_another_subsample_size_is_refused_by_both():
    def model(size: int):
        @plate("data", 4, subsample_size=size)
        def data(i):
            return (yield Sample("z", Normal(0.0, 1.0)))

        return (yield from data())

    guide = run(trace(model).traced(2))
    replayed = poutine.replay(model, guide_trace=guide)
    with pytest.raises(ValueError, match="3 here.*has 2"):
        run(replayed(3))
    with pytest.raises(ValueError, match="3 vs 2"):
        pyro.poutine.trace(InPyro(replayed)).get_trace(3)
