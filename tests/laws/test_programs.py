"""Random programs: what is printed runs, and does what it says; they are values; they cover the language; they shrink."""

from __future__ import annotations

import pickle
import re
from collections import Counter

import pytest
import torch
import torch.distributions as td
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from poutine import DuplicateSite, run
from poutine.equality import same
from poutine.laws import chains, difference, distributions, handlers, outcome, programs, traces, values
from poutine.laws.distributions import terms
from poutine.laws.families import FAMILIES
from poutine.randomness import draw
from poutine.trace_graph import Trace

# What is in the source, and of how many programs in a hundred, at least.
FEATURES = {
    "sample": ("yield Sample(", 80),
    "observation": ("yield Observe(", 40),
    "deferred observation": (r"Observe\([^(\n]+, \w+, torch", 15),
    "event-shaped observation": (r"Observe\(.+(Dirichlet|OneHot|Multivariate|, 1\), torch)", 3),
    "param": ("yield Param(", 20),
    "constrained param": ("constraint=constraints.", 8),
    "param that is read again": (r"(yield Param\(f?\"w_\d+)[^\d](.|\n)+\1[^\d]", 3),
    "computed value": ("yield Deterministic(", 20),
    "factor": ("yield factor(", 20),
    "message of the user's own": ("yield Ask(", 20),
    "branch": ("if bool(", 15),
    "loop": ("for i_", 20),
    "loop of drawn length": (r"in range\(min\(int", 8),
    "finally": ("finally:", 10),
    "finally that yields": (r"finally:\n( *)t_\d+ = .*\n\1\w+ = yield", 2),
    "except": ("except ArithmeticError:", 10),
    "submodel": ("yield from sub_", 4),
    "submodel as a program": ("yield from Program(sub_", 4),
    "masked part": ("yield from mask(", 5),
    "mask of elements": (r"mask=torch.tensor\(\[", 0.5),
    "recursion": ("def rec_", 8),
    "recursion of drawn depth": (r"from \S*rec_\d+\)?(, |\()min\(", 2),
    "vectorised plate": (")(sub_", 20),
    "sequential plate": (r"vectorized=False\)\(sub_", 10),
    "subsampled plate": ("subsample_size=", 10),
    "bare indep": ("yield from indep(", 8),
    "markov": ("yield from markov(", 8),
    "deferred distribution": (r"Sample\([^(\n]+, [A-Z]\w+, ", 40),
    "keyword argument": (r"Sample\(.*(scale|probs|rate|concentration)=", 20),
    "shaped distribution": ("Independent(", 10),
}


@given(programs())
def test_the_printed_source_does_what_the_model_does(program):
    module = {}
    exec(program.source, module)  # noqa: S102  # what the kit prints is to be run
    assert difference(outcome(module["model"]), outcome(program)) is None


@given(programs())
def test_a_random_program_runs(program):
    assert outcome(program).failure is None


@given(programs(asks=False), st.integers(0, 3))
def test_the_default_runtime_runs_it_too(program, seed):
    assert torch.equal(torch.as_tensor(run(program, seed)), torch.as_tensor(outcome(program, seed=seed).value))


@given(programs())
def test_programs_are_values(program):
    again = pickle.loads(pickle.dumps(program))
    assert again == program
    assert repr(again) == repr(program)


@pytest.mark.slow
def test_programs_cover_the_language():
    seen: Counter[str] = Counter()
    looked = 0

    @settings(max_examples=400, derandomize=True, phases=[Phase.generate])
    @given(programs())
    def look(program):
        nonlocal looked
        looked += 1
        seen.update(
            feature for feature, (mark, _) in FEATURES.items() if re.search(mark if "\\" in mark else re.escape(mark), program.source)
        )

    look()
    shares = {feature: 100 * seen[feature] / looked for feature in FEATURES}
    assert not {feature: shares[feature] for feature, (_, least) in FEATURES.items() if shares[feature] < least}


def sites_of(program, kind):
    return [site for site in outcome(program).sites if site.type == kind]


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        (lambda program: "Observe" in repr(program), 3),
        (lambda program: len(outcome(program).sites) >= 2, 4),
        (lambda program: any(site.mask is False for site in sites_of(program, "sample")), 6),
        (lambda program: any(site.cond_indep_stack for site in sites_of(program, "sample")), 6),
    ],
    ids=["an observation", "two sites", "a masked sample", "a sample in a plate"],
)
@pytest.mark.slow
def test_programs_shrink(wanted, lines):
    """What is left has hardly a line that is not needed."""
    smallest = find(programs(), wanted, settings=settings(max_examples=5_000, derandomize=True, database=None, deadline=None))
    assert len(repr(smallest).strip().splitlines()) <= lines, smallest


@given(programs(duplicates=True))
def test_with_duplicates_a_program_runs_or_is_refused_at_the_second_site(program):
    failure = outcome(program).failure
    assert failure is None or (failure.type is DuplicateSite and failure.site)


@given(programs(first=("param", "sample", "observe")))
def test_a_program_begins_with_what_is_asked_for(program):
    assert [site.type for site in outcome(program).sites[:3]] == ["param", "sample", "observe"]


@given(st.data())
def test_a_feature_that_is_left_out_is_left_out(data):
    left_out = data.draw(st.sampled_from(("observations", "params", "asks", "plates", "loops", "submodels")))
    marks = {
        "observations": ("Observe(", "factor("), "params": ("Param(",), "asks": ("Ask(",),
        "plates": ("plate(", "indep("), "submodels": ("def sub", "def rec", "def step"), "loops": ("markov(",),
    }  # fmt: skip
    flags = {left_out: False} | ({"plates": False} if left_out == "submodels" else {})
    source = repr(data.draw(programs(**flags)))
    assert not any(mark in source for mark in marks[left_out])


@given(programs(prefix="k"))
def test_a_prefix_keeps_names_apart(program):
    assert all(site.name.split("/")[-1].startswith("k") for site in outcome(program).sites)


@given(st.data())
def test_handlers_chains_traces_and_values_suit_the_program(data):
    program = data.draw(programs())
    handler, chain = data.draw(handlers(program)), data.draw(chains(program))
    assert pickle.loads(pickle.dumps(handler)) == handler
    assert outcome(chain(program)) == outcome(chain(program))
    assert repr(handler).startswith(handler.name)
    assert isinstance(data.draw(traces(program)), Trace)
    for name, value in data.draw(values(program)).items():
        sites = {site.name: site for seed in range(4, 8) for site in outcome(program, seed=seed).sites}
        assert sites[name].type == "sample"
        assert sites[name].dist.log_prob(value).sum() > -torch.inf


@pytest.mark.filterwarnings("ignore:Singular sample detected")
@given(distributions())
def test_distributions_can_be_drawn_and_scored(dist):
    value = draw(dist, (0, "x", 1))
    assert value.shape == dist.batch_shape + dist.event_shape
    assert dist.log_prob(value).shape == dist.batch_shape


@given(distributions(finite=True))
def test_finite_distributions_can_be_enumerated(dist):
    assert dist.enumerate_support(expand=False).shape[0] > 0


@pytest.mark.filterwarnings("ignore:Singular sample detected")
@given(distributions(finite=False))
def test_the_others_cannot(dist):
    with pytest.raises(NotImplementedError):
        dist.enumerate_support()


def _base(dist):
    return _base(dist.base_dist) if isinstance(dist, td.Independent) else dist


def _varies(dist):
    """Whether its elements have parameters of their own."""
    tensors = (value for value in vars(_base(dist)).values() if isinstance(value, torch.Tensor) and value.dim())
    return bool(dist.batch_shape) and any(not torch.equal(value, value[:1].expand_as(value)) for value in tensors)


# Of how many distributions in a hundred, at least.
SHAPES = {
    "finite": (lambda dist: dist.has_enumerate_support, 5),
    "infinite and discrete": (lambda dist: dist.support.is_discrete and not dist.has_enumerate_support, 5),
    "batch": (lambda dist: dist.batch_shape, 30),
    "batch of two dimensions": (lambda dist: len(dist.batch_shape) > 1, 5),
    "parameters of their own": (_varies, 15),
    "one number a draw": (lambda dist: not dist.event_shape, 30),
    "event": (lambda dist: dist.event_shape, 30),
    "event of two dimensions": (lambda dist: len(dist.event_shape) > 1, 5),
    "event in a batch": (lambda dist: dist.event_shape and dist.batch_shape, 10),
    "vectors of torch's own": (lambda dist: isinstance(dist, (td.Dirichlet, td.MultivariateNormal)), 2),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Singular sample detected")
def test_distributions_are_of_all_families_and_shapes():
    families: Counter[str] = Counter()
    shapes: Counter[str] = Counter()

    @settings(max_examples=600, derandomize=True, phases=[Phase.generate])
    @given(distributions())
    def look(dist):
        families[type(_base(dist)).__name__] += 1
        shapes.update(shape for shape, (has, _) in SHAPES.items() if has(dist))

    look()
    assert not {family.name for family in FAMILIES} - families.keys()
    shares = {shape: 100 * shapes[shape] / families.total() for shape in SHAPES}
    assert not {shape: shares[shape] for shape, (_, least) in SHAPES.items() if shares[shape] < least}


# torch warns at each draw of a Wishart, singular or not.
@pytest.mark.filterwarnings("ignore:Singular sample detected")
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@given(data=st.data())
def test_equal_terms_are_equal_distributions(family, data):

    term = data.draw(family.terms)
    left, right = term.value({}), term.value({})
    assert same(left, right)
    assert same(draw(left, (0, "x", 1)), draw(right, (0, "x", 1)))
    left.log_prob(draw(left, (0, "x", 2)))  # fills in what is computed on demand
    assert same(left, right)


def test_the_families_are_all_of_torch():
    """Those that need parts that are not numbers, or whose class is a base, are listed."""

    classes = {name for name in td.__all__ if isinstance(getattr(td, name), type) and issubclass(getattr(td, name), td.Distribution)}
    bases = {"Distribution", "ExponentialFamily"}
    assert classes - bases - {family.name for family in FAMILIES} == {"Independent"}


@given(terms())
def test_terms_print_as_they_are_written(term):

    assert same(eval(str(term), {**vars(torch.distributions), "torch": torch}), term.value({}))  # noqa: S307  # what the kit prints
