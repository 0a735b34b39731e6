"""Draws on disk: what is written in blocks is what is written at once, and memory does not grow with the draws."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from interpreters import streaming
from interpreters.density import density
from interpreters.hamiltonian.chains import Part
from interpreters.hamiltonian.draw_log import DrawLog
from interpreters.hamiltonian.machine import STATISTICS
from interpreters.results import stored
from interpreters.results.chain_rows import chain_rows
from interpreters.results.extras import extra
from interpreters.sampled_posterior import SampledPosterior
from interpreters.streaming import write_out
from poutine import Deterministic, Observe, Program, Sample, plate

F64 = torch.float64
ROOT = Path(__file__).parents[2]
Y = torch.tensor([1.0, 2.0, 4.0], dtype=F64)


def model(x: torch.Tensor, y: torch.Tensor):
    mu = yield Sample("a/mu", Normal(torch.zeros((), dtype=F64), 2.0))

    @plate("rows", len(x))
    def rows(i):
        z = yield Sample("z", Normal(torch.zeros((), dtype=F64), 1.0))
        yield Deterministic("table", torch.stack([z, x, mu.expand(3), x]))
        yield Observe("y", Normal(mu + z * x, 1.0), y)

    yield from rows()


def part(chain: int, start: int, count: int) -> Part:
    generator = torch.Generator().manual_seed(100 * chain + start)
    positions, statistics = (torch.randn(count, width, generator=generator, dtype=F64) for width in (4, len(STATISTICS)))
    statistics[:, STATISTICS.index("tree_depth") :] = statistics[:, STATISTICS.index("tree_depth") :].round()  # counts
    statistics[:, STATISTICS.index("diverging")] = (positions[:, 0] > 1).double()
    return Part(chain, start, positions, statistics, None)


@pytest.fixture
def log(tmp_path: Path) -> DrawLog:
    """Two chains, the second of which is further."""
    log = DrawLog(tmp_path, 2, 4)
    for start in (0, 30):
        log.add(part(0, start, 30))
        log.add(part(1, start, 31 if start else 30))
    return log


def test_a_log_gives_back_its_draws_and_can_be_cut(log: DrawLog):
    assert log.lengths == [60, 61]
    block = log.block(20, 40)
    both = torch.cat([part(1, 0, 30).positions, part(1, 30, 31).positions])
    assert torch.equal(block.positions[1], both[20:40])
    assert torch.equal(block.statistics["lp"][0], torch.cat([part(0, s, 30).statistics[:, 0] for s in (0, 30)])[20:40])
    assert log.block(5, 5).positions.shape == (2, 0, 4)
    log.cut([30, 0])
    assert log.lengths == [30, 0]
    with pytest.raises(ValueError, match="chain_1.f64 has 0 draws, expected 1"):
        log.cut([30, 1])


@pytest.mark.parametrize("ending", ["nc", "zarr"])
def test_what_is_read_at_once_lies_together(log: DrawLog, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch):
    """Else each slab of a summary reads more than itself: of 200,000 draws of 301 numbers, 40 times as much."""
    monkeypatch.setattr(stored, "SLAB", 2 * 60 * 3 * 2)  # draws of two rows of "table", which are three numbers each
    monkeypatch.setattr(streaming, "_NUMBERS", 500)
    write_out(density(Program(model, Y + 1, Y)), log, tmp_path / f"r.{ending}")
    parts = SampledPosterior.load(tmp_path / f"r.{ending}").draws
    assert isinstance(parts, stored.Stored)
    assert parts.rows_together("table") == 2
    assert parts.rows_together("z") == 3
    told: list[tuple[int, int]] = []
    assert len(list(chain_rows(parts, lambda done, total: told.append((done, total))))) == 1 + 3 + 12
    done = [number for number, total in told if total == 16]
    assert (done[0], done[-1]) == (0, 16)
    assert sorted(b - a for a, b in pairwise(done)) == [1, 3, 6, 6]  # sites, and the slabs of "table"


@pytest.mark.parametrize("ending", ["nc", "zarr"])
def test_blocks_are_the_whole(log: DrawLog, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch):
    target, coords = density(Program(model, Y + 1, Y)), {"rows": ["p", "q", "r"]}
    whole = SampledPosterior.of(target, log.block(0, 60), coords)
    monkeypatch.setattr(streaming, "_NUMBERS", 500)  # blocks of a few draws
    write_out(target, log, tmp_path / f"r.{ending}", coords)
    parts = SampledPosterior.load(tmp_path / f"r.{ending}")
    for field in ("draws", "statistics", "likelihood", "observed", "constant"):
        ours, theirs = getattr(parts, field), getattr(whole, field)
        assert [*ours] == [*theirs]
        for name in theirs:
            assert torch.equal(ours[name].double(), theirs[name].double()), (field, name)
    assert {name: parts.dims[name] for name in whole.dims} == whole.dims and list(parts.coords["rows"]) == coords["rows"]
    assert parts.num_draws == (2, 60)
    assert sorted(map(str, parts.summary().rows.values())) == sorted(map(str, whole.summary().rows.values()))
    parts.save(tmp_path / "again.nc")
    assert (extra("arviz").from_netcdf(tmp_path / "again.nc").posterior["z"].values == whole.draws["z"].numpy()).all()
    if ending == "nc":
        data = extra("arviz").from_netcdf(tmp_path / "r.nc")
        assert data.posterior["z"].coords["rows"].values.tolist() == ["p", "q", "r"]
        assert data.posterior["draw"].values.tolist() == list(range(60))
        assert data.constant_data["x"].values.tolist() == (Y + 1).tolist()


def test_coords_must_fit_and_files_must_be_there(log: DrawLog, tmp_path: Path):
    target = density(Program(model, Y, Y))
    with pytest.raises(ValueError, match="coords has labels for row, of which there is no plate; the plates are rows"):
        write_out(target, log, tmp_path / "r.nc", {"row": ["p", "q", "r"]})
    with pytest.raises(ValueError, match="plate 'rows' has 3 members, but coords has 2 labels"):
        SampledPosterior.of(density(Program(model, Y, Y)), log.block(0, 60), {"rows": ["p", "q"]}).to_arviz()
    with pytest.raises(FileNotFoundError, match="there is no result"):
        SampledPosterior.load(tmp_path / "nothing.nc")


def held(sites: int) -> SampledPosterior:
    draws = {f"x_{i}": torch.randn(2, 20, generator=torch.Generator().manual_seed(i), dtype=F64) for i in range(sites)}
    statistics = {name: torch.zeros(2, 20, dtype=F64) for name in ("diverging", "energy")}
    observed = {f"y_{i}": torch.zeros(()) for i in range(sites)}
    return SampledPosterior(draws, statistics, observed, {f"y_{i}": values for i, values in enumerate(draws.values())})


@pytest.mark.parametrize("ending", ["nc", "zarr"])
def test_what_is_done_on_disk_is_linear_in_the_number_of_sites(tmp_path: Path, ending: str):
    """Who asks all sites for something at each of them takes minutes where there are a hundred: told by the number of functions called."""

    def calls(posterior: SampledPosterior, act: Callable[[SampledPosterior], object]) -> int:
        count = 0

        def note(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(note)
        try:
            act(posterior)
        finally:
            sys.setprofile(None)
        return count

    path = tmp_path / f"r.{ending}"
    acts = {
        "save": lambda posterior: posterior.save(path),
        "load": lambda posterior: SampledPosterior.load(path),
        "summary": lambda posterior: SampledPosterior.load(path).summary(),
    }
    held(2).save(path)  # what is imported is imported now
    SampledPosterior.load(path).summary()
    few, many = [{what: calls(held(sites), act) for what, act in acts.items()} for sites in (10, 30)]
    for what, count in many.items():
        assert count < 3.5 * few[what], what


def test_a_name_that_ends_otherwise_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="r.csv: expected a name that ends in one of .nc, .nc4"):
        held(1).save(tmp_path / "r.csv")


@pytest.mark.parametrize("ending", ["nc", "zarr"])
def test_a_result_replaces_another(tmp_path: Path, ending: str):
    path = tmp_path / f"r.{ending}"
    held(3).save(path)
    held(2).save(path)
    assert list(SampledPosterior.load(path).draws) == ["x_0", "x_1"]


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path: Path):
    link = tmp_path / "link.nc"
    link.symlink_to(tmp_path / "r.nc")
    held(2).save(link)
    assert link.is_symlink() and len(SampledPosterior.load(tmp_path / "r.nc").draws) == 2
    pipe = tmp_path / "pipe.nc"
    os.mkfifo(pipe)
    with stored.appended(pipe, 1) as out:
        assert out.path == pipe
    assert pipe.is_fifo()


def test_a_file_is_there_when_it_is_whole(log: DrawLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Until then, so is whatever was there before."""
    monkeypatch.setattr(streaming, "_NUMBERS", 500)
    path, target = tmp_path / "r.nc", density(Program(model, Y + 1, Y))
    write_out(target, log, path)

    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_out(target, log, path, seed=1, news=stop)
    assert SampledPosterior.load(path).num_draws == (2, 60)
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".nc"] == ["r.nc"]


@pytest.mark.parametrize(
    "labels",
    [["p", "q", "r"], [3, 1, 2], [0.5, 1.5, 2.5], [True, False, True], np.array(["2026-01-01", "2026-01-02", "2026-01-05"], "M8[ns]")],
)
@pytest.mark.parametrize("ending", ["nc", "zarr"])
def test_labels_come_back(log: DrawLog, tmp_path: Path, labels: Any, ending: str):
    target = density(Program(model, Y + 1, Y))
    SampledPosterior.of(target, log.block(0, 60), {"rows": labels}).save(tmp_path / f"r.{ending}")
    assert SampledPosterior.load(tmp_path / f"r.{ending}").coords["rows"] == np.asarray(labels).tolist()
    if ending == "nc":
        theirs = extra("arviz").from_netcdf(tmp_path / "r.nc").posterior
        assert theirs["z"].dims == ("chain", "draw", "rows") and theirs["rows"].values.tolist() == np.asarray(labels).tolist()


PEAK = """
import re, sys, torch
from pathlib import Path
from torch.distributions import Normal
from interpreters.density import density
from interpreters.hamiltonian.draw_log import DrawLog
from interpreters.hamiltonian.notices import NoticePoutine
from interpreters.hamiltonian.targets import Target
from interpreters.hamiltonian.worth import compiled
from interpreters.nuts import nuts
from interpreters.sampled_posterior import SampledPosterior
from interpreters.streaming import write_out
from poutine import Program, Sample, run

chains, dim, draws, folder = *map(int, sys.argv[1:4]), Path(sys.argv[4])

def model():
    yield Sample("x", Normal(torch.zeros(dim, dtype=torch.float64), 1.0))

target = density(model)
log = DrawLog(folder, chains, dim)
sampler = NoticePoutine(nuts, chunk=lambda chunk: log.add(chunk.part.after(200)))
run(sampler(compiled(target, Target.of(target)), chains, 200, draws, keep=False), seed=0)
write_out(target, log, folder / "r.nc")
posterior = SampledPosterior.load(folder / "r.nc")
rows = posterior.summary().rows.values()
worst = max(row.r_hat for row in rows)
# Not getrusage's: that begins with the memory of the process that started this one.
peak = int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
print(len(rows), posterior.num_draws, peak // 1024, worst)
"""


def peak(folder: Path, chains: int, dim: int, draws: int) -> tuple[int, float]:
    """The peak of memory in MiB, and the worst r_hat, of a process that streams chains of ``dim`` numbers."""
    folder.mkdir()
    args = [sys.executable, "-c", PEAK, str(chains), str(dim), str(draws), str(folder)]
    done = subprocess.run(args, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    *_, memory, worst = done.stdout.split()
    assert done.stdout.startswith(f"{dim} ({chains}, {draws})")
    return int(memory), float(worst)


@pytest.mark.slow
def test_memory_is_flat_in_the_number_of_draws(tmp_path: Path):
    """24 times the draws of 400 numbers are 351 MiB more. From process to process the peak of either moves by a hundred or less: libraries."""
    few, _ = peak(tmp_path / "few", 2, 400, 2_500)
    many, _ = peak(tmp_path / "many", 2, 400, 60_000)
    assert many < few + 351 / 2


@pytest.mark.slow
def test_ten_thousand_numbers(tmp_path: Path):
    """A thousand draws of two chains are 160 MB. Of 10,000 numbers the worst r_hat is allowed to be worse than that of one."""
    memory, worst = peak(tmp_path / "wide", 2, 10_000, 1000)
    assert worst < 1.05
    assert memory < 1500, memory


@pytest.mark.parametrize("name", ["r.nc", "r.zarr"])
def test_without_room_for_all_draws_nothing_is_begun(log: DrawLog, tmp_path: Path, name: str):
    """HDF 5 takes the process with it when a disk is full."""
    block = SampledPosterior.of(density(Program(model, Y + 1, Y)), log.block(0, 10)).to_arviz()
    with pytest.raises(OSError, match=r"[\d.]+ MiB are needed, and [\d.]+ are free"):
        stored.Appended(tmp_path / name, 10**13).add(block, 0)
    assert not (tmp_path / name).exists()
