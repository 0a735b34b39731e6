"""Messages: frozen values that read as objects and as the seed's dictionaries."""

from __future__ import annotations

import copy
import pickle
from enum import Enum
from functools import partial

import attrs
import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, constraints

from poutine import (
    UNDECIDED,
    CondIndepStackFrame,
    Deterministic,
    DistributionError,
    Message,
    NoDensity,
    Observe,
    Param,
    Sample,
    Sealed,
    Site,
    same,
)

D = Normal(0.0, 1.0)
FRAME = CondIndepStackFrame("plate", 1, True, -1, 3)
MESSAGES: list[Message] = [
    Sample("x", D),
    Sample("x", Normal, 0.0, scale=2.0, infer={"step": 1}),
    Sample("x", D).evolve(value=torch.ones(2), scale=torch.tensor(2.0), mask=torch.tensor([True, False]), cond_indep_stack=(FRAME,)),
    Observe("y", D, torch.zeros(3)),
    Observe("y", Normal, torch.zeros(3), 0.0, 1.0),
    Param("w", torch.ones(3), constraint=constraints.positive),
    Deterministic("t", torch.ones(3)),
    Sealed(Sample("x", D)),
]


@pytest.mark.parametrize("message", MESSAGES, ids=repr)
def test_messages_are_frozen_values(message: Message):
    assert pickle.loads(pickle.dumps(message)) == message
    assert copy.deepcopy(message) == message
    assert message.evolve() == message
    assert message.evolve(name="other") == message.replaced("name", "other") != message
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        message.name = "other"
    with pytest.raises(TypeError, match="unhashable"):
        hash(message)


def test_a_frame_shows_what_two_frames_differ_in():
    assert repr(FRAME) == "CondIndepStackFrame('plate', 1, vectorized=True, dim=-1, size=3)"
    few = attrs.evolve(FRAME, size=2, index=torch.tensor([0, 2]), weight=1.5)
    assert repr(few) == "CondIndepStackFrame('plate', 1, vectorized=True, dim=-1, size=2, index=tensor([0, 2]), weight=1.5)"
    assert repr(CondIndepStackFrame("loop", 2, False, loop=object())) == "CondIndepStackFrame('loop', 2, vectorized=False)"


def test_evolving_what_is_no_field_is_an_error():
    with pytest.raises(TypeError, match=r"Sample has no field 'sacle'; it has name, .*scale"):
        Sample("x", D).evolve(sacle=3.0)


@pytest.mark.parametrize(
    "name", ["dist", "built", "is_decided", "is_observed", "is_deferred", "batch_log_pdf", "log_pdf", "type", "way_out", "get", "count"]
)
def test_evolving_a_property_is_an_error_since_nobody_would_read_it(name):
    with pytest.raises(TypeError, match=rf"Sample has no field '{name}'; it has name, .*scale"):
        Sample("x", D).evolve(**{name: D})


def test_evolving_the_distribution_names_the_way_out():
    with pytest.raises(TypeError, match=r"write evolve\(fn=distribution, args=\(\), kwargs=\{\}\)"):
        Sample("x", Normal, 0.0, 1.0).evolve(dist=D)


def test_evolving_a_field_that_other_messages_have_is_an_error():
    with pytest.raises(TypeError, match="Message has no field 'scale'"):
        Message("x").evolve(scale=2.0)


def test_evolving_leaves_the_original():
    before = Sample("x", D)
    after = before.evolve(value=3.0, scale=2.0)
    assert (before.value, before.scale, before.is_decided) == (UNDECIDED, 1.0, False)
    assert (after.value, after.scale, after.is_decided) == (3.0, 2.0, True)


def test_a_message_reads_as_the_seeds_dictionary():
    site = Observe("y", D, 1.0, infer={"a": 1}).evolve(cond_indep_stack=(FRAME,))
    keys = ("name", "type", "fn", "args", "kwargs", "value", "scale", "mask", "cond_indep_stack", "infer", "is_observed")
    assert [site[key] for key in keys] == ["y", "observe", D, (), {}, 1.0, 1.0, True, (FRAME,), {"a": 1}, True]
    for key in ("nothing", "__dict__", "_built"):
        with pytest.raises(KeyError):
            site[key]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Sample("x", Normal, 0.0, scale=2.0), "Sample('x', Normal, 0.0, scale=2.0)"),
        (Sample("x", D).evolve(value=1), "Sample('x', Normal(loc: 0.0, scale: 1.0), value=1)"),
        (Observe("y", D, 1).evolve(scale=0.5), "Observe('y', Normal(loc: 0.0, scale: 1.0), value=1, scale=0.5)"),
        (Param("w", 1.0), "Param('w', init=1.0)"),
        (Param("w", 1.0, constraints.real), "Param('w', init=1.0)"),
        (Param("w", 1.0, constraints.positive), "Param('w', init=1.0, constraint=GreaterThan(lower_bound=0.0))"),
        (Deterministic("t", 2), "Deterministic('t', value=2)"),
    ],
)
def test_a_message_prints_what_was_said(message: Message, text: str):
    assert repr(message) == text


def test_observing_and_unobserving():
    sample = Sample("x", Normal, 0.0, 1.0, infer={"a": 1}).evolve(scale=2.0)
    observed = sample.observed(3.0)
    assert (type(observed), observed.value, observed.conditioned, observed.scale, observed.args) == (Observe, 3.0, True, 2.0, (0.0, 1.0))
    assert observed.unobserved() == sample
    assert not Observe("x", D, 3.0).conditioned


def test_a_deferred_distribution_is_built_once_and_travels_with_its_site():
    built = []

    class Counted(Normal):
        def __init__(self, loc: float) -> None:
            built.append(loc)
            super().__init__(loc, 1.0)

    site = Sample("x", Counted, 2.0)
    assert site.is_deferred
    assert not built
    assert site.dist is site.dist
    assert site.evolve(value=1.0).dist is site.dist
    assert built == [2.0]
    assert site.evolve(args=(3.0,)).dist.loc == 3.0
    assert site.evolve(fn=D, args=()).dist is D
    assert site.dist.loc == 2.0


@pytest.mark.parametrize("options", [{"obs": 1.0}, {"value": 1.0}])
def test_a_built_distribution_takes_no_arguments(options):
    with pytest.raises(DistributionError, match=r"site 'x': .*Observe\(name, distribution, value\) to observe it"):
        Sample("x", D, **options)
    with pytest.raises(DistributionError, match="takes no arguments"):
        Observe("x", D, 1.0, 2.0)


def test_a_callable_may_return_the_distribution():
    assert same(Sample("x", partial(Normal, 1.0), scale=2.0).dist, Normal(1.0, 2.0))


def test_what_has_no_density_says_so_without_touching_the_global_generator():
    before = torch.get_rng_state()
    with pytest.raises(NoDensity, match=r"site 'x'.*bare callable"):
        _ = Sample("x", torch.randn, 3).dist
    assert torch.equal(before, torch.get_rng_state())


def test_arguments_that_do_not_fit_name_the_site_and_the_call():
    with pytest.raises(DistributionError, match=r"site 'x': cannot call Normal\(0.0, -1.0\).*scale"):
        _ = Sample("x", Normal, 0.0, -1.0).dist


# Structural equality


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, float("nan")]), True),
        (torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64), False),
        (torch.tensor([1.0]), torch.tensor([[1.0]]), False),
        (float("nan"), float("nan"), True),
        (1, 1.0, False),
        ({"a": [torch.ones(2)]}, {"a": [torch.ones(2)]}, True),
        ({"a": 1}, {"b": 1}, False),
        (Normal(0.0, 1.0), Normal(0.0, 1.0), True),
        (Normal(0.0, 1.0), Normal(0.0, 2.0), False),
        (Bernoulli(0.5), Bernoulli(logits=torch.tensor(0.0)), False),
        (Independent(Normal(torch.zeros(2), 1.0), 1), Independent(Normal(torch.zeros(2), 1.0), 1), True),
        (Independent(Normal(torch.zeros(2), 1.0), 1), Independent(Normal(torch.ones(2), 1.0), 1), False),
    ],
)
def test_same(a: object, b: object, equal: bool):
    assert same(a, b) is equal
    assert same(b, a) is equal


def test_what_is_computed_on_demand_makes_no_difference():
    a, b = Bernoulli(0.3), Bernoulli(0.3)
    _ = a.logits
    assert same(a, b)


def test_every_site_type_says_what_it_is():
    assert [message.type for message in MESSAGES] == [
        "sample",
        "sample",
        "sample",
        "observe",
        "observe",
        "param",
        "deterministic",
        "sealed",
    ]
    assert [isinstance(message, Site) for message in MESSAGES] == [True] * 7 + [False]


def test_a_name_of_a_class_of_ones_own_becomes_a_plain_string():
    class Name(str):
        __slots__ = ()

    for message in (Sample(Name("x"), D), Observe(Name("x"), D, 1.0), Param(Name("x"), 1.0), Deterministic(Name("x"), 1.0)):
        assert message.name == "x"
        assert type(message.name) is str


def test_an_observation_is_deferred_with_names_of_arguments():
    assert Observe("y", lambda loc: Normal(loc, 1.0), 0.5, loc=0.5).dist.loc == 0.5
    with pytest.raises(DistributionError, match=r"site 'y'.*is a distribution that is built already"):
        Observe("y", D, 0.5, scale=2.0)


def test_a_member_of_an_enumeration_names_a_site_by_its_value():
    class Name(str, Enum):  # noqa: UP042 -- the str of a StrEnum is its value already
        A = "a"

    assert Sample(Name.A, D).name == "a"
