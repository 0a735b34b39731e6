"""check_laws on every handler of the library: by name, with its options, in a partial, in a lambda. It is put to all that it states."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch.distributions import Normal

import poutine
from poutine import BlockPoutine, ConditionPoutine, Poutine, Sample, ScalePoutine, Trace, UnconditionPoutine
from poutine.laws import LAWS, Subject, check_laws, laws_of
from poutine.laws.handlers import CONFIGURATIONS, AtSite
from poutine.laws.table import ANY_HANDLER

GUIDE = Trace()
GUIDE.add_node("x_1", Sample("x_1", Normal(0.0, 1.0)).evolve(value=torch.tensor(0.5)))

OPTIONS: dict[str, dict[str, Any]] = {
    "scale": {"scale": 0.3},
    "mask": {"mask": torch.tensor(False)},
    "condition": {"data": {"mu": torch.tensor(0.5)}},
    "substitute": {"data": {"mu": torch.tensor(0.5)}},
    "do": {"data": {"x_1": torch.tensor(0.5)}},
    "block": {"hide": ["x_1"]},
    "trace": {"graph_type": "dense"},
    "replay": {"guide_trace": GUIDE},
    "lift": {"prior": {"w_1": Normal(0.0, 1.0)}},
    "uncondition": {},
    "scope": {"prefix": "part"},
    "infer_config": {"config": {"x_1": {"step": 1}}},
    "seed": {"seed": 7},
    "escape": {"escape_fn": AtSite("x_2")},
    "indep": {"name": "rows", "vectorized": True},
    "broadcast": {},
}


def test_there_are_options_for_all():
    assert OPTIONS.keys() == CONFIGURATIONS.keys()


@pytest.mark.parametrize("kind", OPTIONS)
def test_what_is_stated_is_found_through_every_wrap(kind: str):
    alias, options = getattr(poutine, kind), OPTIONS[kind]
    wraps = [alias(**options), partial(alias, **options), partial(alias.poutine, **options), lambda fn: alias(fn, **options)]
    assert {laws_of(wrap) for wrap in (alias, alias.poutine, *wraps)} == {laws_of(alias)}
    assert len(laws_of(alias)) > len(ANY_HANDLER)
    for wrap in wraps:
        subject = Subject.of(wrap)
        assert (subject.poutine, subject.kind) == (alias.poutine, kind)
        assert all(law.speaks_of(subject.kind) for law in laws_of(wrap))


@pytest.mark.slow
@pytest.mark.parametrize("kind", OPTIONS)
def test_the_default_set_can_be_put_to_every_handler_with_its_options(kind: str):
    check_laws(getattr(poutine, kind)(**OPTIONS[kind]), max_examples=3)


@pytest.mark.parametrize(
    "handler", [poutine.trace, UnconditionPoutine, partial(ScalePoutine, scale=2.0), lambda fn: ConditionPoutine(fn, {})]
)
def test_the_laws_of_one_kind_can_be_put_to_it(handler: Any):
    check_laws(handler, [law.name for law in laws_of(handler) if law not in ANY_HANDLER and not law.name.startswith("C.")], max_examples=3)


class Hiding(BlockPoutine):
    """Derives from one of the library's. ``**Obeys**: nothing`` in quotes states nothing.

    **Obeys**: I.block, B.hides.
    """


def test_a_class_that_derives_from_one_of_the_library_has_random_options_of_its_kind():
    assert laws_of(Hiding) == (*ANY_HANDLER, LAWS["I.block"], LAWS["B.hides"])
    check_laws(Hiding, ["I.block", "B.hides"], max_examples=5)


@pytest.mark.parametrize("wrap", [lambda fn: poutine.scale(poutine.scope(fn, prefix="a"), scale=2.0), poutine.chain])
def test_of_several_handlers_nothing_is_known(wrap: Any):
    assert Subject.of(wrap).kind is None
    assert laws_of(wrap) == ANY_HANDLER


def test_one_that_needs_options_says_so_before_anything_runs():
    @poutine.poutine.attrs.frozen(slots=False, eq=False)
    class Noisy(Poutine):
        level: float

    with pytest.raises(TypeError, match=r"give it its options: functools.partial\(Noisy, ...\), or lambda fn: Noisy\(fn, ...\)"):
        check_laws(Noisy)
