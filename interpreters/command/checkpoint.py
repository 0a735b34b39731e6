"""Checkpoint: chains on disk, to go on from."""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import attrs

from interpreters.density import Density
from interpreters.errors import InputError
from interpreters.hamiltonian.chains import Chains


@attrs.frozen
class Checkpoint:
    """Where chains are kept (nowhere, without a ``path``), and what they belong to: other chains are refused.

    The file is a pickle: load only what you saved yourself.
    """

    path: Path | None
    belongs_to: dict[str, Any]

    @classmethod
    def of(cls, path: Path | None, density: Density, options: argparse.Namespace) -> Checkpoint:
        sites = {name: tuple(site.shape) for name, site in density.sites.items()}
        return cls(path, {"sites": sites, "seed": options.seed, "chains": options.chains, "warmup": options.warmup})

    def load(self) -> Chains | None:
        """The chains that were saved, or None if there are none. Raises ``InputError``."""
        if self.path is None or not self.path.exists():
            return None
        try:
            belongs_to, chains = pickle.loads(self.path.read_bytes())
        except Exception as error:  # whatever pickle makes of another file
            raise InputError(f"cannot read the checkpoint {self.path}: {error}; delete it to start anew") from error
        for what, expected in self.belongs_to.items():
            if belongs_to.get(what) != expected:
                raise InputError(
                    f"the checkpoint {self.path} was made with {what} {belongs_to.get(what)}, not {expected}; "
                    "use the same options and model, or delete it to start anew"
                )
        if not isinstance(chains, Chains):
            raise InputError(f"the checkpoint {self.path} holds no chains; delete it to start anew")
        return chains

    def save(self, chains: Chains) -> None:
        """Writes the chains, so that there is a whole file at any time."""
        if self.path is None:
            return
        fresh = self.path.with_name(self.path.name + ".new")
        fresh.write_bytes(pickle.dumps((self.belongs_to, chains)))
        os.replace(fresh, self.path)
