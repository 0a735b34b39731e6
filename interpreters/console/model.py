"""The models of a session, which can be loaded again from their files."""

from __future__ import annotations

import linecache
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch

from interpreters.command.data_file import conditioned
from interpreters.command.model_file import ModelFile, blaming, split
from interpreters.errors import InputError
from interpreters.steps.saved import Saved
from poutine import Program


@attrs.frozen(eq=False)
class ModelOnData:
    """``MODEL.py[:NAME]`` by its path and name, and the data that it is run on."""

    path: Path
    name: str | None
    data: Mapping[str, torch.Tensor]

    @classmethod
    def of(cls, argument: str, data: Mapping[str, torch.Tensor]) -> ModelOnData:
        path, name = split(argument)
        return cls(path.absolute(), name, data)

    @classmethod
    def saved(cls, saved: Saved) -> ModelOnData:
        """The one that a run was saved with. Raises ``InputError``."""
        try:
            return cls(Path(saved.about["path"]), saved.about["name"], saved.about["data"])
        except KeyError as error:
            raise InputError("this run was not saved by poutine step: resume it with interpreters.stepping.resume") from error

    @property
    def about(self) -> dict[str, Any]:
        """What ``saved`` needs."""
        return {"path": str(self.path), "name": self.name, "data": dict(self.data)}

    def load(self) -> LoadedModel:
        """The model, from the file as it is now. Raises ``InputError``."""
        linecache.checkcache(str(self.path))
        lines = tuple(linecache.getlines(str(self.path)))
        fn = ModelFile.load(self.path).model(self.name)
        with blaming(self.path):
            return LoadedModel(self, conditioned(fn, self.data), lines)


@attrs.frozen(eq=False)
class LoadedModel:
    """A model as its file was when it was loaded: ``program``, and the ``lines`` of the file."""

    origin: ModelOnData
    program: Program[Any]
    lines: tuple[str, ...]

    def lines_of(self, file: str) -> tuple[str, ...]:
        """The lines of a file of the program's: its own, or one that it imports."""
        return self.lines if Path(file) == self.origin.path else tuple(linecache.getlines(file))
