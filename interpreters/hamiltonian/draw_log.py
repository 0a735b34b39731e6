"""DrawLog: the draws of chains on disk as they come, so that memory need not hold them.

A file for each chain, a row for each draw after warmup: its position, then its statistics, as float64 of this machine. Rows are only
ever added at the end; what a process that was killed wrote beyond its last checkpoint is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
import torch

from interpreters.hamiltonian.chains import Part
from interpreters.hamiltonian.machine import STATISTICS, Options


@attrs.frozen
class Block:
    """Consecutive draws of all chains: positions [chains, n, dim], unconstrained; statistics by name, each [chains, n]."""

    positions: torch.Tensor
    statistics: dict[str, torch.Tensor]


@attrs.frozen
class DrawLog:
    """Draws of ``num_chains`` chains of ``dim`` numbers, in ``folder``, by a sampler with these ``options``."""

    folder: Path
    num_chains: int
    dim: int
    options: Options = Options()

    def add(self, part: Part) -> None:
        """The next draws of one chain, without those of warmup."""
        with self._path(part.chain).open("ab") as file:
            file.write(np.concatenate([part.positions.numpy(), part.statistics.numpy()], axis=1).tobytes())

    def cut(self, lengths: Sequence[int]) -> None:
        """Keeps the first so many draws of each chain. Raises ``ValueError`` if there are fewer."""
        for chain, (length, found) in enumerate(zip(lengths, self.lengths, strict=True)):
            if found < length:
                raise ValueError(f"{self._path(chain)} has {found} draws, expected {length}")
            with self._path(chain).open("ab") as file:
                file.truncate(length * self._row)

    @property
    def lengths(self) -> list[int]:
        """How many draws there are of each chain."""
        paths = map(self._path, range(self.num_chains))
        return [path.stat().st_size // self._row if path.exists() else 0 for path in paths]

    def block(self, start: int, stop: int) -> Block:
        """Draws ``start`` to ``stop`` of all chains."""
        rows = torch.stack([self._read(chain, start, stop) for chain in range(self.num_chains)])
        return Block(rows[..., : self.dim].contiguous(), self.options.named(rows[..., self.dim :]))

    @property
    def _row(self) -> int:
        return 8 * (self.dim + len(STATISTICS))

    def _path(self, chain: int) -> Path:
        return self.folder / f"chain_{chain}.f64"

    def _read(self, chain: int, start: int, stop: int) -> torch.Tensor:
        width = self.dim + len(STATISTICS)
        rows = np.fromfile(self._path(chain), count=(stop - start) * width, offset=start * self._row) if stop > start else np.zeros(0)
        return torch.from_numpy(rows.reshape(stop - start, width))
