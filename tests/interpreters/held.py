"""Runs that are held on to: counting references would close a forgotten one at once, and so hide that nobody else does."""

from __future__ import annotations

from typing import Any

import pytest

from poutine import Program, Running


def hold(monkeypatch: pytest.MonkeyPatch) -> list[Running[Any]]:
    """Every ``Running`` that is made from now on."""
    held: list[Running[Any]] = []
    made = Running.__init__

    def init(running: Running[Any], program: Program[Any]) -> None:
        held.append(running)
        made(running, program)

    monkeypatch.setattr(Running, "__init__", init)
    return held
