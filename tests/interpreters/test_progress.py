"""Progress is watched from outside."""

from __future__ import annotations

import time

import pytest

from interpreters.command import work
from interpreters.command.progress import WatchPoutine, progress_bar
from interpreters.command.work import bar_of
from interpreters.importance import importance
from interpreters.weighted.vectorization import vectorize
from poutine import run, trace
from tests.interpreters.test_importance import SCHOOLS


def test_each_particle_and_each_batch_is_a_step():
    steps: list[None] = []
    run(WatchPoutine(importance, lambda: steps.append(None))(SCHOOLS, 7))
    assert len(steps) == 7
    steps.clear()
    run(WatchPoutine(importance, lambda: steps.append(None))(SCHOOLS, 7, None, vectorize(SCHOOLS)))
    assert len(steps) == 1


def test_watching_changes_nothing():
    watched = trace(WatchPoutine(importance, lambda: None)).traced(SCHOOLS, 3)
    plain = trace(importance).traced(SCHOOLS, 3)
    a, b = run(watched), run(plain)
    for t in (a, b):
        t.remove_node("_INPUT")
        t.remove_node("_RETURN")
    assert a == b


def test_the_bar_is_full_at_the_end(capsys: pytest.CaptureFixture[str]):
    with progress_bar(3, "step") as step:
        for _ in range(3):
            step()
    captured = capsys.readouterr()
    assert "3/3" in captured.err and captured.out == ""


def test_a_bar_may_be_told_of_more_steps_than_it_has(capsys: pytest.CaptureFixture[str]):
    with progress_bar(1, "step") as step:
        for _ in range(3):
            step()
    assert "1/1" in capsys.readouterr().err


def test_the_bar_vanishes_if_the_work_fails(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ZeroDivisionError), progress_bar(3, "step"):
        raise ZeroDivisionError
    assert capsys.readouterr().err.rpartition("\r")[2].strip() == ""


def test_long_work_is_shown_and_short_work_is_not(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    with bar_of("summary", "number") as news:
        news(0, 3)
        news(3, 3)
    assert not capsys.readouterr().err
    monkeypatch.setattr(work, "_QUIET", 0.0)
    with bar_of("summary", "number") as news:
        news(1, 3)
        time.sleep(0.15)
        news(2, 3)
    assert "summary:  67%" in capsys.readouterr().err
