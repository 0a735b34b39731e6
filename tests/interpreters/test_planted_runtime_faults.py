"""Faults that are planted in the stepping and the asyncio runtime: each is caught by the test that is named."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from interpreters import asynchronous, replies
from interpreters.replies import unsealed, valued
from interpreters.steps import cursor, resumed
from interpreters.steps.answers import Answer
from interpreters.steps.cursor import Cursor
from interpreters.steps.live import Live
from poutine import Message, Running
from tests import test_running
from tests.interpreters import test_asynchronous, test_saved_runs, test_stepping

reopen, reply = Cursor._open, Live._reply


# Stepping


def loses_edits(live: Live[Any], answer: Answer) -> Any:
    """Replays what the runtime would answer."""
    return live.step()


def counts_no_visit(live: Live[Any], value: Any) -> Any:
    """Answers a message without telling the runtime."""
    assert live.pause.pending is not None
    return valued(live.pause.pending, value)


def stays_open_elsewhere(mover: Cursor[Any]) -> Live[Any]:
    """Goes on with the open run, wherever it is."""
    return mover._live if mover._live is not None else reopen(mover)


def opens_what_is_hidden(live: Live[Any], site: Message, answer: Answer) -> Any:
    """Answers what is hidden in the open."""
    return reply(live, unsealed(site), attrs.evolve(answer, site=unsealed(answer.site)))


def sends_what_it_records(live: Live[Any], site: Message, answer: Answer) -> Any:
    """Lets the program have the recorded value, which it may change in place."""
    return live._go(live._running.reply, site, answer=answer)


# asyncio


def keys_every_visit_alike(asking: Any, message: Any) -> Any:
    """Hands an awaitable the key of the first visit."""
    return message.evolve(key=(asking._seed, message.name, 1))


def raises_past_the_program(running: Running[Any], error: BaseException) -> None:
    """Does not throw an error into the program."""
    raise error


FAULTS: list[tuple[Any, str, Any, Callable[..., Any], dict[str, Any]]] = [
    (Live, "replay", loses_edits, test_stepping.test_a_suspended_run_never_changes_and_two_moves_are_two_branches, {}),
    (Live, "_valued", counts_no_visit, test_stepping.test_a_name_that_is_visited_again_is_drawn_anew_whatever_the_way, {}),
    (Cursor, "_open", stays_open_elsewhere, test_stepping.test_a_cursor_keeps_one_run_open_and_closes_it, {}),
    (Live, "_reply", opens_what_is_hidden, test_stepping.test_a_site_that_is_hidden_is_stepped_through_but_in_no_trace, {}),
    (Live, "_reply", sends_what_it_records, test_stepping.test_a_program_that_changes_in_place_what_it_was_sent_changes_no_record, {}),
    (Cursor, "close", lambda mover: None, test_stepping.test_no_move_leaves_a_generator_open, {"move": lambda point: point.step()}),
    (cursor, "fitted", lambda value, live: value, test_stepping.test_an_answer_of_the_wrong_kind_is_refused_and_nothing_is_lost,
     {"site": "kind", "value": 2, "problem": "cannot score a value"}),
    (resumed, "_alike", lambda now, before: True, test_saved_runs.test_parameters_that_have_changed_are_told, {}),
    (resumed, "_replayed", lambda live, answer: live.step(), test_saved_runs.test_an_edit_is_saved_with_the_run, {}),
    (asynchronous._Asking, "_keyed", keys_every_visit_alike, test_asynchronous.test_a_sample_comes_with_the_key_of_its_draw, {}),
    (Running, "fail", raises_past_the_program, test_asynchronous.test_an_error_of_an_awaitable_is_thrown_in_at_the_yield, {}),
    (Running, "close", lambda running: None, test_running.test_leaving_it_closes_all, {"steps": 1}),
    (asynchronous, "sorted", list, test_asynchronous.test_values_come_in_order_whoever_is_first, {}),
    (asynchronous, "fitted_to", lambda site, value: value, test_asynchronous.test_an_answer_of_the_wrong_kind,
     {"answer": lambda site: test_asynchronous.giving([1.0]), "problem": "expected a value of shape"}),
    (replies, "check_value", lambda site: None, test_asynchronous.test_an_answer_of_the_wrong_kind,
     {"answer": lambda site: test_asynchronous.giving(2), "problem": "cannot score"}),
]  # fmt: skip


def put_to(test: Callable[..., Any], arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if "monkeypatch" in inspect.signature(test).parameters:
        arguments = {"monkeypatch": monkeypatch, **arguments}
    test(**arguments)


@pytest.mark.parametrize(
    ("where", "name", "fault", "test", "arguments"), FAULTS, ids=[f"{name}-{test.__name__}" for _, name, _, test, _ in FAULTS]
)
def test_fault_is_caught(monkeypatch, tmp_path, where, name, fault, test, arguments):
    monkeypatch.chdir(tmp_path)
    put_to(test, arguments, monkeypatch)  # it is sound before
    monkeypatch.setattr(where, name, fault, raising=name != "sorted")
    with pytest.raises((Exception, pytest.fail.Exception)) as caught:
        put_to(test, arguments, monkeypatch)
    assert type(caught.value) not in (TypeError, AttributeError, NameError)  # a fault that does not run is none
