"""From a log of draws to a result, a block of draws at a time: memory stays flat in the number of draws."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from interpreters.density import Density
from interpreters.hamiltonian.draw_log import DrawLog
from interpreters.results.inference_data import Coords
from interpreters.results.stored import Appended
from interpreters.sampled_posterior import SampledPosterior

_NUMBERS: Final = 1 << 20  # of a block: 8 MiB


def write_out(density: Density, log: DrawLog, path: Path, coords: Coords | None = None) -> SampledPosterior:
    """Writes the draws that all chains have to ``path``, and returns them as they are there. Raises ``ValueError`` if there are none."""
    out = Appended(path)
    for start, block in _blocks(density, log, coords):
        out.add(block.to_arviz(), start)
    return SampledPosterior.load(path)


def _blocks(density: Density, log: DrawLog, coords: Coords | None) -> Iterator[tuple[int, SampledPosterior]]:
    total = min(log.lengths)
    first = SampledPosterior.of(density, log.block(0, min(1, total)), coords)
    numbers = sum(values.numel() for group in (first.draws, first.statistics, first.likelihood) for values in group.values())
    size = max(1, _NUMBERS // numbers)
    for start in range(0, total, size):
        yield start, SampledPosterior.of(density, log.block(start, min(start + size, total)), coords)
