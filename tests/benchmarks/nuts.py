"""NUTS side by side with Stan, NumPyro and nutpie: effective draws a second, and microseconds a leapfrog, on nine posteriors.

``OMP_NUM_THREADS=1 python -m tests.benchmarks.nuts [--models radon,arK] [--peers stan] [--chains 1,4] [--seeds 5] [--clock cpu]``

ESS/s: the smallest bulk ESS of all parameters over the time of sampling, warmup included and compilation not; the median over
seeds. 1000 draws after 1000 of warmup, target acceptance 0.8, all else each sampler's default; double precision. Four chains
run on as many threads as there are processors. Where a sampler draws in unconstrained space (this one, nutpie) its draws are
constrained after the clock has stopped. ``ratio`` is the ESS/s of this library over the peer's.

us/leapfrog: the clock of the process over all leapfrogs of a run with all that belongs to draws, the best seed's. ``own``: the
density with its gradient called by its address. ``compile``: on this machine now; what is on disk from an earlier run is read.

Of a peer that is not installed a line says so. "nutpie, kernel" is no peer but its sampler on our compiled density: it tells
what of the ratio is the sampler's. Pyro takes minutes for a chain that takes others milliseconds: name it to have it in.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Final

from tests.benchmarks.racing import setting
from tests.benchmarks.samplers.contestants import Make, NoModel
from tests.benchmarks.samplers.problems import PROBLEMS
from tests.benchmarks.samplers.race import Compiled, Score, race

OURS: Final = "poutine"
REFERENCE: Final = "nutpie, kernel"
CONTESTANTS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        OURS: ("with_poutine", "WithPoutine"),
        "stan": ("with_stan", "WithStan"),
        "numpyro": ("with_numpyro", "WithNumpyro"),
        "nutpie": ("with_nutpie", "with_stan_density"),
        REFERENCE: ("with_nutpie", "with_our_density"),
        "pyro": ("with_pyro", "WithPyro"),
    }
)
USUAL: Final = ("stan", "numpyro", "nutpie", REFERENCE)


def makers(peers: Sequence[str]) -> dict[str, Make]:
    """Of those that are installed, how each is made for a posterior."""
    found = {}
    for name in (OURS, *peers):
        module, maker = CONTESTANTS[name]
        try:
            found[name] = getattr(import_module(f"tests.benchmarks.samplers.{module}"), maker)
        except ImportError as error:
            print(f"{name} is left out: {error}")
    return found


def entered(made: Mapping[str, Make], problem: str) -> dict[str, Compiled]:
    """Those that have a model of the posterior, compiled."""
    compiled = {}
    for name, make in made.items():
        with suppress(NoModel):
            compiled[name] = Compiled.of(make, problem)
    return compiled


def lines(problem: str, num_chains: int, compiled: Mapping[str, Compiled], scores: Mapping[str, Score], clock: str) -> Iterator[str]:
    ours = scores[OURS].per_second(clock)
    for name, score in scores.items():
        own, rate = compiled[name].sampler.own, score.per_second(clock)
        ratio = "" if name == OURS else f"{ours / rate:.2f}" if rate else "inf"
        cells = f"{rate:,.0f}", ratio, f"{score.ess:,.0f}", f"{score.leapfrogs:,.0f}", f"{score.per_leapfrog:.2f}"
        row = *cells, "-" if own is None else f"{own:.2f}", f"{compiled[name].seconds:.1f}"
        yield f"{problem:18}{num_chains:>7}{name:>16}" + "".join(f"{cell:>12}" for cell in row)


def best_peer(scores: Mapping[str, Score], clock: str) -> str:
    """The fastest of the peers, and how many times faster this library is."""
    rates = {name: score.per_second(clock) for name, score in scores.items() if name not in (OURS, REFERENCE)}
    best = max(rates, key=lambda name: rates[name], default=None)
    return "" if best is None else f"{scores[OURS].per_second(clock) / rates[best]:.2f} times {best}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.nuts")
    parser.add_argument("--models", type=_one_of(PROBLEMS), default=list(PROBLEMS), help="by default all")
    parser.add_argument("--peers", type=_one_of(CONTESTANTS), default=list(USUAL), help=f"of {', '.join(list(CONTESTANTS)[1:])}")
    parser.add_argument("--chains", type=lambda text: [int(number) for number in text.split(",")], default=[1, 4])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu where other programs are at work")
    return parser.parse_args()


def _one_of(names: Iterable[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        unknown = set(text.split(",")) - set(names)
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is none of {', '.join(names)}")
        return text.split(",")

    return parse


def main() -> None:
    options = arguments()
    warnings.filterwarnings("ignore")  # the peers' own; ours are errors in the tests
    made = makers([peer for peer in options.peers if peer != OURS])
    print(setting("torch", *(name for name in ("numpyro", "nutpie", "httpstan", "pyro-ppl") if _is_installed(name))))
    heads = "ESS/s", "ratio", "ESS", "leapfrogs", "us/leapfrog", "own", "compile, s"
    print(f"{options.clock + ' clock':18}{'chains':>7}{'':>16}" + "".join(f"{head:>12}" for head in heads), flush=True)
    verdicts = []
    for problem in options.models:
        compiled = entered(made, problem)
        for num_chains in options.chains:
            scores = race({name: one.sampler for name, one in compiled.items()}, range(options.seeds), num_chains)
            print("\n".join(lines(problem, num_chains, compiled, scores, options.clock)), flush=True)
            verdicts.append(f"{problem:18}{num_chains:>7}   {best_peer(scores, options.clock)}")
    print("", "ESS/s against the best peer", *verdicts, sep="\n")


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


if __name__ == "__main__":
    main()
