"""``poutine step``: a model run one message at a time."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from interpreters.command.data_file import load_data
from interpreters.command.double import DoubleRuntime
from interpreters.command.model_file import blaming
from interpreters.command.output import say
from interpreters.console.model import LoadedModel, ModelOnData
from interpreters.console.session import Session
from interpreters.console.shell import converse
from interpreters.errors import InputError, RecordError
from interpreters.stepping import Saved, Suspended, begin, load, resume


def step(options: argparse.Namespace) -> int:
    """``poutine step``: returns the exit code. Raises ``InputError``."""
    if options.model is None and options.resume is None:
        raise InputError("expected MODEL.py[:NAME], or --resume FILE; see poutine step --help")
    if options.seed is not None and options.resume is not None:
        raise InputError("a run that is resumed keeps its seed: leave out --seed, or --resume to begin anew")
    saved = _load(options.resume) if options.resume else None
    model = _model(options, saved).load()
    start = _begin(model, options.seed or 0) if saved is None else _resumed(model, saved)
    with Session(model, start) as session:
        return converse(session)


def _model(options: argparse.Namespace, saved: Saved | None) -> ModelOnData:
    before = None if saved is None else ModelOnData.saved(saved)
    data = load_data(options.data) if options.data else {} if before is None else before.data
    if options.model is not None:
        return ModelOnData.of(options.model, data)
    assert before is not None
    return ModelOnData(before.path, before.name, data)


def _begin(model: LoadedModel, seed: int) -> Suspended[Any]:
    with blaming(model.origin.path):
        start = begin(model.program, seed, runtime=DoubleRuntime)
        if start.ending is not None and start.ending.error is not None:
            raise start.ending.error
    return start


def _resumed(model: LoadedModel, saved: Saved) -> Suspended[Any]:
    with blaming(model.origin.path):
        resumed = resume(saved, model.program, runtime=DoubleRuntime)
    if resumed.departure is not None:
        say(str(resumed.departure))
    return resumed.here


def _load(path: Path) -> Saved:
    try:
        return load(path)
    except RecordError as error:
        raise InputError(str(error)) from error
