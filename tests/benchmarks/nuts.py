"""NUTS side by side with Stan, NumPyro, nutpie and Pyro: effective draws a second, and microseconds a leapfrog, on nine posteriors.

``OMP_NUM_THREADS=1 python -m tests.benchmarks.nuts [--models radon,arK] [--peers stan] [--chains 1,4] [--seeds 5] [--clock cpu]
[--limit 30] [--results FILE]``

ESS/s: the smallest bulk ESS of all parameters over the time of sampling, warmup included and compilation not; the median over
seeds. 1000 draws after a warmup of each sampler's default length (--warmup N gives all of them N), target acceptance 0.8, all else
as each sampler does it by default; double precision. Four chains
run on as many threads as there are processors (Pyro's one after the other). Where a sampler draws in unconstrained space (this one,
nutpie) its draws are constrained after the clock has stopped. ``ratio`` is the ESS/s of this library over the peer's.

us/leapfrog: the clock of the process over all leapfrogs of a run with all that belongs to draws, the best seed's. ``own``: the
density with its gradient called by its address. ``compile``: of this library and NumPyro, of a model that is new, the sampler's loop being on
disk here; of Stan and nutpie, of one whose C++ is on disk already, or takes about half a minute. ``max z``: the largest difference of
a posterior mean from this library's, in standard errors; where it is more than 5 the row says that the two differ.

Each sampler has a process of its own. One that takes longer than the limit for its runs on a posterior has no more of them, and
one that fails has its reason in the table. What is in the file of results is not measured again.

"nutpie, kernel" is no peer but its sampler on our compiled density: it tells what of the ratio is the sampler's.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks.racing import setting
from tests.benchmarks.samplers.apart import CONTESTANTS, Apart, Failed, Made
from tests.benchmarks.samplers.contestants import Size
from tests.benchmarks.samplers.problems import PROBLEMS
from tests.benchmarks.samplers.race import SAME, Run, Score
from tests.benchmarks.samplers.results import Results

OURS: Final = "poutine"
REFERENCE: Final = "nutpie, kernel"
Outcome = Score | Failed


def outcomes(contestants: Mapping[str, Apart], results: Results, num_chains: int, seeds: int, limit: float) -> dict[str, Outcome]:
    """Each sampler in turn with each seed, so that a machine that slows down hits all."""
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    failed: dict[str, Failed] = {}
    for seed in range(seeds):
        for name, apart in contestants.items():
            left = limit - sum(run.wall for run in runs[name])
            if name not in failed and left > 0.0:
                result = measured(apart, results, num_chains, seed, left)
                if isinstance(result, Run):
                    runs[name].append(result)
                else:
                    failed[name] = result
    return {name: Score(tuple(done)) if done else failed[name] for name, done in runs.items()}


def measured(apart: Apart, results: Results, num_chains: int, seed: int, seconds: float) -> Run | Failed:
    """One run, from the file if it is there. What its start took is kept as well."""
    key = (apart.problem, apart.name, apart.size.warmup, apart.size.draws, num_chains, seed)
    found: Run | Failed | None = results.get(key)
    if found is not None:
        return found
    answer = apart.run(seed, num_chains, seconds)
    result = answer if isinstance(answer, Failed) else answer.judged()
    results.add(key, result)
    if isinstance(apart.made, Made) and results.get((apart.problem, apart.name)) is None:
        results.add((apart.problem, apart.name), apart.made)
    return result


def lines(
    problem: str, num_chains: int, made: Mapping[str, Made | Failed | None], found: Mapping[str, Outcome], clock: str
) -> Iterator[str]:
    ours = found.get(OURS)
    for name, outcome in found.items():
        head = f"{problem:18}{num_chains:>7}{name:>16}"
        if isinstance(outcome, Failed):
            yield f"{head}    {outcome.reason}"
            continue
        start, rate = made[name], outcome.per_second(clock)
        compared = name != OURS and isinstance(ours, Score)
        ratio = (f"{ours.per_second(clock) / rate:.2f}" if rate else "inf") if compared else ""
        distance = ours.distance(outcome) if compared else 0.0
        cells = f"{rate:,.0f}", ratio, f"{outcome.ess:,.0f}", f"{outcome.leapfrogs:,.0f}", f"{outcome.per_leapfrog:.2f}"
        known = ("-" if start.own is None else f"{start.own:.2f}", f"{start.seconds:.1f}") if isinstance(start, Made) else ("-", "-")
        row = *cells, *known, f"{distance:.1f}" if compared else ""
        yield head + "".join(f"{cell:>12}" for cell in row) + ("  differs" if distance > SAME else "")


def best_peer(found: Mapping[str, Outcome], clock: str) -> str:
    """The fastest of the peers, and how many times faster this library is."""
    scores = {name: score for name, score in found.items() if isinstance(score, Score)}
    rates = {name: score.per_second(clock) for name, score in scores.items() if name not in (OURS, REFERENCE)}
    best = max(rates, key=lambda name: rates[name], default=None)
    return f"{scores[OURS].per_second(clock) / rates[best]:.2f} times {best}" if best and OURS in scores else ""


def first_ever() -> Made | Failed | None:
    """What the first model on a machine takes, with nothing on disk."""
    with TemporaryDirectory() as empty, Apart(OURS, "eight_schools", Size(1, 10)) as apart:
        caches = {"XDG_CACHE_HOME": empty, "NUMBA_CACHE_DIR": empty, "TORCHINDUCTOR_CACHE_DIR": empty}
        before = {name: os.environ.get(name) for name in caches}
        os.environ.update(caches)  # which a process takes over
        apart.run(0, 1, 60.0)
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({name: value} if value is not None else {})
        return apart.made


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.nuts")
    peers = [name for name in CONTESTANTS if name != OURS]
    parser.add_argument("--models", type=_some_of(PROBLEMS), default=list(PROBLEMS), help="by default all")
    parser.add_argument("--peers", type=_some_of(CONTESTANTS), default=peers, help=f"of {'; '.join(peers)}; by default all")
    parser.add_argument("--chains", type=lambda text: [int(number) for number in text.split(",")], default=[1, 4])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--warmup", type=int, help="draws of warmup for all; by default each sampler's own")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu where other programs are at work")
    parser.add_argument("--limit", type=float, default=30.0, help="seconds, for all runs of a sampler on a posterior with so many chains")
    parser.add_argument("--results", type=Path, help="a file that is added to, and read first")
    return parser.parse_args()


def _some_of(names: Iterable[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        wanted = text.replace(REFERENCE, REFERENCE.replace(",", ";")).split(",")
        wanted = [name.replace(";", ",") for name in wanted]
        unknown = set(wanted) - set(names)
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is none of {'; '.join(names)}")
        return wanted

    return parse


def main() -> None:
    options = arguments()
    results = Results(options.results)
    names = [OURS, *(peer for peer in options.peers if peer != OURS)]
    sizes = {name: Size(options.warmup or CONTESTANTS[name].warmup, options.draws) for name in names}
    print(setting("torch", *(name for name in ("numpyro", "nutpie", "httpstan", "pyro-ppl") if _is_installed(name))))
    print(f"warmup: {', '.join(f'{name} {size.warmup}' for name, size in sizes.items())}; draws: {options.draws}")
    heads = "ESS/s", "ratio", "ESS", "leapfrogs", "us/leapfrog", "own", "compile, s", "max z"
    print(f"{options.clock + ' clock':18}{'chains':>7}{'':>16}" + "".join(f"{head:>12}" for head in heads), flush=True)
    verdicts = []
    for problem in options.models:
        with ExitStack() as stack:
            each = {name: stack.enter_context(Apart(name, problem, size, results.get((problem, name)))) for name, size in sizes.items()}
            for num_chains in options.chains:
                found = outcomes(each, results, num_chains, options.seeds, options.limit)
                made = {name: apart.made for name, apart in each.items()}
                print("\n".join(lines(problem, num_chains, made, found, options.clock)), flush=True)
                verdicts.append(f"{problem:18}{num_chains:>7}   {best_peer(found, options.clock)}")
    print("", "ESS/s against the best peer", *verdicts, sep="\n", flush=True)
    if isinstance(first := first_ever(), Made):
        print(f"\nThe first model on a machine, the sampler's loop included, with nothing on disk: {first.seconds:.1f} s")


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


if __name__ == "__main__":
    main()
