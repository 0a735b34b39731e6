"""What is rarely met: the last lines of the core that the other tests leave out."""

from __future__ import annotations

import sys

import pytest
import torch
from torch.distributions import Normal, constraints

from poutine import (
    DistributionError,
    ImproperUniform,
    Param,
    ParamStore,
    Sample,
    Trace,
    bijection_to,
    explain,
    factor,
    indep,
    ordered,
    positive_ordered,
    run,
    trace,
)
from poutine.laws.links import Chain


def test_bijections_are_the_same_by_kind():
    assert bijection_to(ordered) == bijection_to(ordered) != bijection_to(positive_ordered)


def test_flat_priors_expand():
    flat = ImproperUniform(constraints.real).expand((2, 3))
    assert flat.batch_shape == (2, 3)
    assert torch.equal(flat.log_prob(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_what_a_plate_asks_before_the_program_yields_is_no_visit_of_a_site():
    def model():
        yield Sample("x", Normal(0.0, 1.0))

    explanation = explain(indep(model, name="p", vectorized=True)(), "x")
    assert [who for _, who, _ in explanation.steps] == ["the program", "IndepPoutine", "the runtime", "IndepPoutine"]


def test_notes_for_inference_travel_with_parameters():
    def model():
        return (yield Param("w", 1.0, infer={"rate": 0.1}))

    assert trace(model).get_trace()["w"].infer == {"rate": 0.1}


def test_a_state_is_loaded_over_what_is_there():
    def model():
        return (yield Param("w", 1.0))

    store, other = ParamStore(), ParamStore()
    run(model, params=store)
    run(model, params=other)
    with torch.no_grad():
        next(store.parameters()).fill_(5.0)
    other.load_state_dict(store.state_dict())
    assert other["w"] == 5.0


def test_a_distribution_that_fails_to_draw_names_the_site():
    class Broken(Normal):
        def rsample(self, sample_shape=()):
            raise ArithmeticError("no luck")

    def model():
        yield Sample("x", Broken(0.0, 1.0))

    with pytest.raises(DistributionError, match="site 'x': cannot draw from Broken.*: no luck"):
        run(model)


def test_without_networkx_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(ImportError, match=r"poutine\[graphs\]"):
        Trace().to_networkx()


def test_parameters_and_computed_values_can_be_added_in_the_seeds_way():
    t = Trace()
    t.add_node("w", type="param", value=torch.tensor(1.0))
    t.add_node("d", type="deterministic", value=torch.tensor(2.0))
    assert t.param_nodes == ["w"]
    assert t["d"].value == 2.0


def test_a_factor_of_no_batch_under_a_scale_tensor():
    from_factor = factor("f", 2.0).evolve(scale=torch.tensor([1.0, 2.0]))
    t = Trace()
    t.add_node("f", from_factor)
    with pytest.raises(DistributionError, match="site 'f': the scale around it has shape .2,., and the site batch shape"):
        t.log_pdf()
    t.set_value("f", torch.empty(2, 0))
    assert t.log_pdf() == 6.0


def test_a_chain_of_links_prints_itself():
    class Printer:
        def text(self, text: str) -> None:
            self.printed = text

    printer = Printer()
    Chain(())._repr_pretty_(printer, cycle=False)
    assert printer.printed == "chain()"
