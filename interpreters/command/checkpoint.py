"""Checkpoint: a folder with chains on disk, to go on from, also after the process was killed."""

from __future__ import annotations

import argparse
import os
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import attrs

from interpreters.density import Density
from interpreters.errors import InputError
from interpreters.hamiltonian.chains import Chains
from interpreters.hamiltonian.draw_log import DrawLog
from interpreters.hamiltonian.machine import DRAW

_STATE: Final = "state.pickle"
_SECONDS: Final = 10.0  # between two checkpoints of a running sampler


@attrs.frozen
class Saved:
    """Chains without their draws, and whether they were sampled compiled: only so they go on bit for bit."""

    chains: Chains
    is_compiled: bool


@attrs.frozen
class Checkpoint:
    """``log`` has the draws; beside it is the state of the chains, and what they belong to: other chains are refused.

    The state is a pickle: load only what you saved yourself.
    """

    log: DrawLog
    belongs_to: dict[str, Any]

    @classmethod
    @contextmanager
    def open(cls, folder: Path | None, density: Density, options: argparse.Namespace) -> Iterator[Checkpoint]:
        """In ``folder``, which is made if it is not there; without one, in a temporary folder. Raises ``InputError``."""
        sites = {name: tuple(site.shape) for name, site in density.sites.items()}
        belongs_to = {"sites": sites, "seed": options.seed, "chains": options.chains, "warmup": options.warmup}
        with TemporaryDirectory(prefix="poutine-") as temporary:
            if folder is not None:
                _make(folder)
            yield cls(DrawLog(folder or Path(temporary), options.chains, density.dim), belongs_to)

    def load(self) -> Saved | None:
        """What was saved last, or None if nothing was. Raises ``InputError``."""
        if not self._path.exists():
            self.log.cut([0] * self.log.num_chains)
            return None
        try:
            belongs_to, saved = pickle.loads(self._path.read_bytes())
        except Exception as error:  # whatever pickle makes of another file
            raise InputError(f"cannot read the checkpoint {self._path}: {error}; delete it to start anew") from error
        for what, expected in self.belongs_to.items():
            if belongs_to.get(what) != expected:
                raise InputError(
                    f"the checkpoint {self.log.folder} was made with {what} {belongs_to.get(what)}, not {expected}; "
                    "use the same options and model, or delete it to start anew"
                )
        if not isinstance(saved, Saved):
            raise InputError(f"the checkpoint {self._path} holds no chains; delete it to start anew")
        self._cut(saved.chains)
        return saved

    def save(self, saved: Saved) -> None:
        """Writes the state, so that there is a whole file at any time. Its draws are in the log already."""
        fresh = self._path.with_name(f"{_STATE}.new")
        fresh.write_bytes(pickle.dumps((self.belongs_to, saved)))
        os.replace(fresh, self._path)

    def now_and_then(self) -> Callable[[Saved], None]:
        """``save``, when it is due; to be called often."""
        due = time.monotonic() + _SECONDS

        def save(saved: Saved) -> None:
            nonlocal due
            if time.monotonic() >= due:
                self.save(saved)
                due = time.monotonic() + _SECONDS

        return save

    @property
    def _path(self) -> Path:
        return self.log.folder / _STATE

    def _cut(self, chains: Chains) -> None:
        """Off the log, what was drawn after ``chains`` was saved."""
        try:
            self.log.cut([max(0, int(machine.counts[DRAW]) - chains.plan.num_warmup) for machine in chains.machines])
        except ValueError as error:
            raise InputError(f"the checkpoint {self.log.folder} is not whole: {error}; delete it to start anew") from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot keep a checkpoint in {folder}: {error.strerror}; expected a folder, or a name for one") from error
