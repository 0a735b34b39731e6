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
import torch

from interpreters.density import Density
from interpreters.errors import InputError
from interpreters.hamiltonian.chains import Chains
from interpreters.hamiltonian.draw_log import DrawLog
from interpreters.hamiltonian.machine import DRAW, Options

_STATE: Final = "state.pickle"
_TESTS: Final = 3  # positions
_SECONDS: Final = 10.0  # between two checkpoints of a running sampler


@attrs.frozen
class Saved:
    """Chains without their draws, and whether they were sampled compiled: only so they go on bit for bit."""

    chains: Chains
    is_compiled: bool


@attrs.frozen
class Checkpoint:
    """``log`` has the draws; beside it is the state of the chains, and what they belong to: those of another model, of other
    data or other options are refused, and more draws than ``num_draws``.

    The state is a pickle: load only what you saved yourself.
    """

    log: DrawLog
    belongs_to: dict[str, Any]
    num_draws: int

    @classmethod
    @contextmanager
    def open(cls, folder: Path | None, density: Density, options: argparse.Namespace) -> Iterator[Checkpoint]:
        """In ``folder``, which is made if it is not there; without one, in a temporary folder. Raises ``InputError``."""
        sites = {name: tuple(site.shape) for name, site in density.sites.items()}
        belongs_to = {"sites": sites, "seed": options.seed, "chains": options.chains, "warmup": options.warmup}
        belongs_to |= {"target_accept": options.target_accept, "max_depth": options.max_depth, "metric": options.metric}
        belongs_to |= {"model and data, whose log densities here and there are": _log_densities(density)}
        with TemporaryDirectory(prefix="poutine-") as temporary:
            if folder is not None:
                _make(folder)
            log = DrawLog(folder or Path(temporary), options.chains, density.dim, sampler_options(options))
            yield cls(log, belongs_to, options.draws)

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
            if not _agrees(belongs_to.get(what), expected):
                raise InputError(
                    f"the checkpoint {self.log.folder} was made with {what} {belongs_to.get(what)}, not {expected}; "
                    "use the same options, model and data, or delete it to start anew"
                )
        if not isinstance(saved, Saved):
            raise InputError(f"the checkpoint {self._path} holds no chains; delete it to start anew")
        drawn = [max(0, int(machine.counts[DRAW]) - saved.chains.plan.num_warmup) for machine in saved.chains.machines]
        if max(drawn) > self.num_draws:
            raise InputError(
                f"the checkpoint {self.log.folder} has {max(drawn)} draws of a chain already: ask for as many, or delete it to start anew"
            )
        self._cut(drawn)
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

    def _cut(self, drawn: list[int]) -> None:
        """Off the log, what was drawn after the chains were saved, when they had so many draws."""
        try:
            self.log.cut(drawn)
        except ValueError as error:
            raise InputError(f"the checkpoint {self.log.folder} is not whole: {error}; delete it to start anew") from error


def sampler_options(options: argparse.Namespace) -> Options:
    """Those of the command line that are the sampler's."""
    return Options(options.target_accept, options.max_depth, options.metric)


def _log_densities(density: Density) -> list[float]:
    """What tells the model, and its data, from others: its log density here and there."""
    generator = torch.Generator().manual_seed(0)
    positions = torch.randn(_TESTS, density.dim, dtype=torch.float64, generator=generator)
    scales = torch.logspace(-2, 0, _TESTS, dtype=torch.float64)
    return [float(density(position)) for position in positions * scales[:, None]]


def _agrees(saved: Any, expected: Any) -> bool:
    """Equal, numbers but for rounding: another processor may add up in another order."""
    if isinstance(saved, list) and isinstance(expected, list) and len(saved) == len(expected):
        return all(
            torch.isclose(torch.tensor(a), torch.tensor(b), rtol=1e-9, atol=1e-9, equal_nan=True)
            for a, b in zip(saved, expected, strict=True)
        )
    return bool(saved == expected)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot keep a checkpoint in {folder}: {error.strerror}; expected a folder, or a name for one") from error
