"""From a log of draws to a result, a block of draws at a time: memory stays flat in the number of draws."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from interpreters.density import Density
from interpreters.discrete import Completion
from interpreters.hamiltonian.draw_log import DrawLog
from interpreters.results.inference_data import Coords
from interpreters.results.news import News, silent
from interpreters.results.stored import appended
from interpreters.sampled_posterior import SampledPosterior

_NUMBERS: Final = 1 << 20  # of a block: 8 MiB


def write_out(density: Density, log: DrawLog, path: Path, coords: Coords | None = None, seed: int = 0, news: News = silent) -> None:
    """Writes the draws that all chains have to ``path``, for ``SampledPosterior.load``. Raises ``ValueError`` if there are none.

    Discrete sites that were summed out are drawn, by ``seed``: see ``discrete``. ``news`` are of draws of each chain.
    """
    total = min(log.lengths)
    with appended(path, total) as out:
        for start, block in _blocks(density, log, coords, seed):
            news(start, total)
            out.add(block.to_arviz(), start)
    news(total, total)


def _blocks(density: Density, log: DrawLog, coords: Coords | None, seed: int) -> Iterator[tuple[int, SampledPosterior]]:
    total = min(log.lengths)
    first = SampledPosterior.of(density, log.block(0, min(1, total)), coords)
    completion = Completion.of(density, first, seed) if density.summed else None
    if completion is not None:
        first = completion.whole(first)
    numbers = sum(values.numel() for group in (first.draws, first.statistics, first.likelihood) for values in group.values())
    unit = 1 if completion is None else completion.size
    size = unit * max(1, _NUMBERS // (numbers * unit))
    for start in range(0, total, size):
        block = SampledPosterior.of(density, log.block(start, min(start + size, total)), coords)
        yield start, block if completion is None else completion.whole(block, start)
