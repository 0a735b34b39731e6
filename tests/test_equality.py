"""Equality by content: of what programs and handlers may be given, and of what cannot say itself whether it is equal."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import attrs
import numpy
import pandas
import pytest
import torch
from torch.distributions import Normal

from poutine import (
    Awaiting,
    ConditionPoutine,
    Observe,
    Poutine,
    Program,
    Sample,
    ScalePoutine,
    condition,
    infer_config,
    mask,
    same,
    scale,
    trace,
)


def model(*args: Any, **kwargs: Any):
    return (yield Sample("x", Normal(0.0, 1.0)))


@dataclass
class Data:
    values: Any
    note: str = "n"
    cache: Any = field(default=None, compare=False)


@attrs.frozen
class Frozen:
    values: Any
    cache: Any = attrs.field(default=None, eq=False)


@attrs.define(eq=False)
class Slotted:
    values: Any


class Plain:
    def __init__(self, values: Any) -> None:
        self.values = values


class Parity:
    """Its own idea of equality."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parity) and self.number % 2 == other.number % 2


@dataclass
class Near(Data):
    """A dataclass with its own idea of equality."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Near)


class Unruly:
    """Neither compared nor pickled."""

    def __eq__(self, other: object) -> bool:
        raise ArithmeticError("no")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ArithmeticError("no")


@attrs.frozen(eq=False, repr=False)
class WithSlots(Poutine):
    number: torch.Tensor


def layers(number: float) -> torch.nn.Module:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(number)
    return net


def of_numpy(number: float) -> numpy.random.Generator:
    return numpy.random.default_rng(int(number))


KINDS = {
    "dataclass": lambda number: Data(torch.full((3,), number)),
    "dataclass of a distribution": lambda number: Data(Normal(number, 1.0)),
    "attrs": lambda number: Frozen(torch.full((3,), number)),
    "attrs of arrays": lambda number: Frozen({"a": numpy.full(3, number)}),
    "attrs without equality": lambda number: Slotted(torch.full((3,), number)),
    "object": lambda number: Plain([torch.full((3,), number)]),
    "data frame": lambda number: pandas.DataFrame({"a": [1.0, number], "b": ["x", "y"]}),
    "series": lambda number: pandas.Series([1.0, number]),
    "partial": lambda number: partial(model, torch.full((3,), number)),
    "keyword of a partial": lambda number: partial(model, x=number),
    "module": layers,
    "generator of numpy": of_numpy,
    "half": lambda number: torch.full((2,), number, dtype=torch.float16),
    "float32": numpy.float32,
}


@pytest.mark.parametrize("kind", KINDS)
def test_programs_and_handlers_are_equal_by_what_their_arguments_hold(kind: str):
    make = KINDS[kind]
    holders = (
        lambda value: Program(model, value),
        lambda value: scale(model, scale=2.0)(x=value),
        lambda value: condition(model, data={"x": value}),
        lambda value: condition(data={"x": value}),
        lambda value: Observe("x", Normal(0.0, 1.0), value),
    )
    for hold in holders:
        assert hold(make(1.0)) == hold(make(1.0))
        assert hold(make(1.0)) != hold(make(2.0))
        held = hold(make(1.0))
        assert pickle.loads(pickle.dumps(held)) == held


def test_a_program_of_a_partial_is_equal_by_what_it_holds():
    program = Program(partial(model, 1))
    assert pickle.loads(pickle.dumps(program)) == program != Program(partial(model, 2))
    assert trace(partial(model, 1)) == trace(partial(model, 1)) != trace(partial(model, 2))


def test_a_module_in_another_mode_is_another():
    assert same(layers(1.0), layers(1.0).train())
    assert not same(layers(1.0), layers(1.0).eval())


def test_what_a_class_says_of_equality_stands():
    assert same(Parity(1), Parity(3)) and not same(Parity(1), Parity(2))
    assert same(Near(torch.ones(2)), Near(torch.zeros(2)))
    assert same(Data(torch.ones(2), cache=1), Data(torch.ones(2), cache=2))
    assert same(Frozen(torch.ones(2), cache=1), Frozen(torch.ones(2), cache=2))
    assert not same(Data(torch.ones(2), "n"), Data(torch.ones(2), "m"))


def test_what_is_itself_alone_is_no_other():
    for one, other in ((object(), object()), (lambda: 1, lambda: 1), (Plain, Data), (len, abs), (Unruly(), Unruly()), (model(), model())):
        assert not same(one, other)
        assert same(one, one)


def test_nan_is_equal_to_nan_wherever_it_is():
    nan = float("nan")
    assert same(Data(nan), Data(nan)) and same(numpy.float32(nan), numpy.float32(nan)) and same(complex(nan, 0), complex(nan, 0))
    assert same(pandas.DataFrame({"a": [nan, 1.0]}), pandas.DataFrame({"a": [nan, 1.0]}))


def test_what_holds_itself_is_compared():
    def ring(number: float) -> list[Any]:
        made: list[Any] = [torch.full((2,), number), Plain(None)]
        made[1].values = made
        return made

    assert same(ring(1.0), ring(1.0))
    assert not same(ring(1.0), ring(2.0))


def test_a_chain_of_thousands_of_poutines_is_compared():
    def deep(last: float) -> Any:
        made: Any = model
        for i in range(3000):
            made = ScalePoutine(made, last if i == 0 else 2.0)
        return made

    assert deep(2.0) == deep(2.0) != deep(3.0)
    assert deep(2.0)(1) == deep(2.0)(1) != deep(2.0)(2)


# Copies


@pytest.mark.parametrize("make", [
    lambda w: scale(model, scale=w),
    lambda w: scale(scale(model, scale=w), scale=w),
    lambda w: Program(model, None, w),
    lambda w: Program(model, [w], prior=Normal(w, 1.0)),
    lambda w: scale(model, scale=w)(w),
    lambda w: condition(model, data={"a": w}),
    lambda w: condition(data={"a": w}),
])  # fmt: skip
def test_copies_have_tensors_of_their_own_that_are_leaves(make: Any):
    """What hangs on a gradient graph, which torch does not copy, becomes a leaf, as in a pickle."""
    w = torch.tensor(1.0, requires_grad=True)
    made = make(w * 2)
    copied = copy.deepcopy(made)
    assert copied == made == pickle.loads(pickle.dumps(made))
    assert type(copied) is type(made)


def test_a_tensor_in_two_places_is_one_in_the_copy():
    w = torch.tensor(1.0, requires_grad=True) * 2
    copied = copy.deepcopy(scale(model, scale=w)(w))
    assert copied.fn.__self__.scale is copied.args[0].args[0] is not w
    assert copied.args[0].args[0].is_leaf and copied.args[0].args[0].requires_grad


def test_a_poutine_of_ones_own_may_have_slots():
    w = torch.tensor(1.0, requires_grad=True) * 2
    made = WithSlots(model, w)
    copied = copy.deepcopy(made)
    assert copied == made == pickle.loads(pickle.dumps(made))
    assert copied.number is not w and copied.number.is_leaf


def longest(links):
    fn = model
    for i in range(links):
        fn = (scale(fn, scale=2.0), mask(fn, mask=torch.tensor(True)), condition(fn, data={"x": torch.tensor(float(i))}))[i % 3]
    return fn


def test_chains_of_thousands_of_poutines_are_pickled_copied_compared_and_shown():
    chained = longest(1500)
    for made in (pickle.loads(pickle.dumps(chained)), copy.deepcopy(chained), copy.copy(chained)):
        assert made == chained != longest(1499)
        assert made.data == chained.data
    assert pickle.loads(pickle.dumps(chained(1))) == chained(1) == copy.deepcopy(chained(1))
    assert repr(chained).count("ScalePoutine") == 500
    assert copy.copy(chained).fn is chained.fn


def test_what_two_chains_share_is_shared_by_their_deep_copies():
    inner = scale(mask(model, mask=torch.tensor(True)), scale=2.0)
    one, two = copy.deepcopy((scale(inner, scale=3.0), mask(inner, mask=False)))
    assert one.fn is two.fn is not inner
    assert one.fn.fn.mask is not inner.fn.mask


@attrs.frozen(slots=False, eq=False, repr=False)
class OfItsOwn(ScalePoutine):
    """Says itself how it is shown, copied and pickled."""

    def __repr__(self) -> str:
        return f"own({super().__repr__()})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "scale": 5.0}

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return OfItsOwn(model, 7.0)


def test_a_poutine_may_say_itself_how_it_is_shown_copied_and_pickled():
    chained = mask(OfItsOwn(scale(model, scale=2.0), 3.0), mask=False)
    assert repr(chained.fn) == "own(OfItsOwn(ScalePoutine(model, scale=2.0), scale=3.0))"
    assert repr(chained) == f"MaskPoutine({chained.fn!r}, mask=False)"
    for made in (pickle.loads(pickle.dumps(chained)), pickle.loads(pickle.dumps(chained.fn))):
        own = made if isinstance(made, OfItsOwn) else made.fn
        assert (own.scale, own.fn) == (5.0, chained.fn.fn)
    assert copy.deepcopy(chained).fn.scale == copy.deepcopy(chained.fn).scale == 7.0


# What does not change


@pytest.mark.parametrize("held", [
    lambda given: condition(model, data=given).data,
    lambda given: Awaiting(ConditionPoutine, given).options,
    lambda given: infer_config(model, config=given).config,
    lambda given: Program(model, **given).kwargs,
])  # fmt: skip
def test_what_a_frozen_value_holds_by_name_does_not_change(held: Any):
    given = {"x": {"a": 1}}
    fields = held(given)
    for change in (
        lambda: fields.__setitem__("y", 2),
        lambda: fields.__delitem__("x"),
        lambda: fields.update(y=2),
        lambda: fields.pop("x"),
        lambda: fields.setdefault("y", 2),
        lambda: fields.clear(),
        lambda: fields.__ior__({"y": 2}),
        lambda: fields.popitem(),
    ):
        with pytest.raises(TypeError, match="does not change"):
            change()
    before = dict(fields)
    given["y"] = {"b": 2}
    assert fields == before == pickle.loads(pickle.dumps(fields)) == copy.deepcopy(fields)
    assert type(fields | {"z": 3}) is dict


def test_a_trace_that_goes_on_changes_no_handler():
    t = trace(model).get_trace()
    handler = condition(model, data=t)
    value = handler.data["x"]
    t.set_value("x", torch.tensor(9.0))
    assert handler.data["x"] is value
