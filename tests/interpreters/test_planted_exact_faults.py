"""Faults that are planted in exact enumeration, elimination, its recording, and lockstep: each is caught by the test that is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import torch
from torch.distributions import Exponential

from interpreters import elimination, evidence
from interpreters.batches import batch, closed_forms, plain, stacking
from interpreters.batches.batch import Scores
from interpreters.batches.batching import Batching
from interpreters.factor_graph import eliminating, hiding, recording, scans, watching
from interpreters.paths import frontier, walk
from poutine import Fleet
from tests.interpreters import (
    test_closed_forms,
    test_discrete,
    test_elimination,
    test_enumeration,
    test_evidence,
    test_lockstep,
    test_unlike_steps,
)
from tests.interpreters.test_planted_runtime_faults import put_to

fork, values_of = walk.Walk._fork, walk.values_and_log_probs
multiplied = eliminating._multiplied
pairs_of = scans._pairs
rows_of = stacking.Stacked.rows


# Enumeration


def forgets_the_last(site: Any, number: int) -> Any:
    """Does not run the last of a site's values."""
    return values_of(site, number)[:-1]


def runs_one_twice(site: Any, number: int) -> Any:
    """Lists a value of a site twice."""
    found = values_of(site, number)
    return [*found, found[0]]


def starts_each_path_anew(self: Any, site: Any) -> None:
    """Loses the probability of the choices before."""
    self.path = attrs.evolve(self.path, log_prob=0.0)
    fork(self, site)


def forgets_long_paths(self: Any, path: Any) -> bool:
    """Leaves a path that is too long without its probability."""
    return bool(path.length >= self._longest)


# Elimination


def sums_a_plate(factor: Any, inner: Any, kept: Any) -> Any:
    """Adds the elements of a plate instead of multiplying them."""
    right = multiplied(factor, inner, kept)
    dims = [i for i, axis in enumerate(factor.axes) if axis not in right.axes]
    return attrs.evolve(right, tensor=factor.tensor.logsumexp(dims)) if dims else right


def swaps_neighbours(matrices: Any) -> Any:
    """Multiplies two steps in the wrong order."""
    a, b, rest = pairs_of(matrices)
    return b, a, rest


def draws_without_the_future(name: str, logits: torch.Tensor) -> Any:
    """Takes the first value wherever it is possible."""
    return (logits > -1e30).to(torch.int8).argmax(-1)
    yield


def keeps_parameters(module: Any) -> None:
    """Takes what a gradient should reach as a number."""
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target is torch.ops.aten.sub.Tensor:
            with module.graph.inserting_after(node):
                fixed = module.graph.call_function(torch.ops.aten.detach.default, (node,))
            node.replace_all_uses_with(fixed, delete_user_cb=lambda user, fixed=fixed: user is not fixed)
    module.recompile()


# Lockstep


def hands_out_in_reverse(stack: Any, site: Any, numbers: bool) -> Any:
    """Gives the first who asked the last one's value."""
    return list(rows_of(stack, site, numbers))[::-1]


def counts_for_the_first(scores: Scores, members: Any, term: Any) -> None:
    """Adds every term of a group to the instances that come first."""
    if term is not None:
        scores._members.append(torch.arange(len(members)))
        scores._terms.append(term.reshape(len(members), -1).sum(1).double())


def shares_one_draw(message: Any, key: Any) -> Any:
    """One draw for all of a group."""
    form = closed_forms.CLOSED_FORMS[message.fn]
    value = form.draw(torch.Generator().manual_seed(0), *message.args)
    return value[:1].expand(len(value)).clone()


def checks_no_value(form: Any, values: Any, columns: Any) -> bool:
    return True


FAULTS: list[tuple[Any, str, Any, Callable[..., Any], dict[str, Any]]] = [
    (walk, "values_and_log_probs", forgets_the_last, test_enumeration.test_the_posterior_is_exact, {"strategy": "depth"}),
    (walk, "values_and_log_probs", runs_one_twice, test_enumeration.test_all_strategies_give_the_same_distinct_traces, {}),
    (walk.Walk, "_fork", starts_each_path_anew, test_enumeration.test_what_a_budget_leaves_is_known, {"strategy": "depth"}),
    (walk.Walk, "_choose_hidden", walk.Walk._choose,
     test_enumeration.test_a_hidden_choice_has_its_probability_and_a_hidden_observation_does_not_count, {}),
    (frontier.Frontier, "leaves", forgets_long_paths, test_enumeration.test_a_budget_bounds_work_that_comes_to_no_end,
     {"strategy": "depth"}),
    (eliminating, "_multiplied", sums_a_plate, test_elimination.test_brute_force_and_a_plate_is_its_elements, {}),
    (watching.Watch, "_returned", lambda watch, site: None, test_unlike_steps.test_it_is_what_is_enumerated,
     {"program": test_unlike_steps.PROGRAMS["DoPoutine, 0, True"]}),
    (watching.Watch, "sent", lambda watch, site, is_drawn, is_hidden=False: None, test_unlike_steps.test_it_is_what_is_enumerated,
     {"program": test_unlike_steps.PROGRAMS["DoPoutine, 1, True"]}),
    (elimination, "WAYS", (), test_elimination.test_what_does_not_broadcast_is_refused_whatever_is_drawn,
     {"how": "max", "size": 30, "probability": 0.5}),
    (hiding.Labels, "of", lambda labels, site: site, test_unlike_steps.test_it_is_what_is_enumerated,
     {"program": test_unlike_steps.PROGRAMS["hidden and scaled"]}),
    (scans, "_pairs", swaps_neighbours, test_elimination.test_a_hidden_markov_model_and_its_gradient,
     {"states": 5, "steps": 70, "vectorized": True}),
    (elimination, "drawn", draws_without_the_future, test_discrete.test_neighbours_of_a_chain_are_drawn_together, {}),
    (recording, "_simplify", keeps_parameters, test_evidence.test_at_other_values_it_is_what_elimination_gives,
     {"model": test_evidence.mixture, "shapes": ((3,), (3,), (5,))}),
    (recording, "_first_of_range", lambda module, index: 0, test_evidence.test_at_other_values_it_is_what_elimination_gives,
     {"model": test_evidence.hidden_markov_model, "shapes": ((3, 3), (3,), (7,))}),
    (evidence, "_is_same", lambda recorded, now: True, test_evidence.test_what_is_no_tensor_stays_as_it_is_recorded, {}),
    (stacking.Stacked, "rows", hands_out_in_reverse, test_lockstep.test_each_value_and_density_goes_to_the_instance_that_it_belongs_to,
     {"numbers": True, "least": 1}),
    (batch.Scores, "add", counts_for_the_first, test_lockstep.test_each_value_and_density_goes_to_the_instance_that_it_belongs_to,
     {"numbers": False, "least": 2}),
    (plain.RowsSample, "call", shares_one_draw, test_lockstep.test_draws_have_the_distributions_moments, {}),
    (closed_forms.ClosedForm, "supports", checks_no_value, test_closed_forms.test_values_out_of_the_support_are_refused_by_torch,
     {"cls": Exponential, "args": (1.0,), "value": -1.0, "is_given": True}),
    (Fleet, "close", lambda fleet: None, test_lockstep.test_those_that_are_not_finished_are_closed_by_the_batch_and_not_by_the_collector, {}),
    (Batching, "_numbered", lambda asking, i, entry: entry, test_lockstep.test_each_instance_counts_its_own_plates_whenever_others_enter, {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "name", "fault", "test", "arguments"), FAULTS, ids=[f"{name}-{test.__name__}" for _, name, _, test, _ in FAULTS]
)
def test_fault_is_caught(monkeypatch, where, name, fault, test, arguments):
    put_to(test, dict(arguments), monkeypatch)  # it is sound before
    monkeypatch.setattr(where, name, fault)
    with pytest.raises((Exception, pytest.fail.Exception)) as caught:
        put_to(test, dict(arguments), monkeypatch)
    assert type(caught.value) not in (TypeError, AttributeError, NameError)  # a fault that does not run is none
