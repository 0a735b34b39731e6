"""What may be written on the command line. Needs nothing but Python itself, so that help and complaints come at once."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from typing import Any, Final, NoReturn

from interpreters.command.values import depth, path, positive, share

METHODS: Final = ("importance", "nuts")
NUM_SAMPLES: Final = 10_000
CHAINS: Final = 4
WARMUP: Final = 400  # that of nuts, whose import would keep the help waiting; a test compares the two
DRAWS: Final = 1000
TARGET_ACCEPT: Final = 0.8  # so are these
MAX_DEPTH: Final = 10
METRIC: Final = "auto"
METRICS: Final = ("auto", "diagonal", "dense")

EXIT_CODES: Final = """exit codes:
  0    the result was printed, and written where it should be
  2    bad input; one line on stderr tells what to put right
  3    with --strict: the result was printed, with a warning that it is not to be trusted
  130  Ctrl-C, or SIGTERM; what nuts had drawn until then was printed and written, if there was any; importance keeps nothing
"""


class Misused(Exception):
    """No command line of this program; its text is one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Misused(f"{message}; see {self.prog} --help")


class _Version(argparse.Action):
    """Looked up only where it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(f"{parser.prog} {version('poutine')}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """Of all commands: the option ``command`` is the one that was given. What is wrong raises ``Misused``."""
    parser = _Parser("poutine", description="Probabilistic programs as Python generators.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version, and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_infer(commands)
    _add_step(commands)
    return parser


def with_defaults(options: argparse.Namespace) -> argparse.Namespace:
    """The options of nuts, those included that were not given: until the method is known, that tells which were."""
    defaults: dict[str, Any] = {"chains": CHAINS, "warmup": WARMUP, "draws": DRAWS}
    defaults |= {"target_accept": TARGET_ACCEPT, "max_depth": MAX_DEPTH, "metric": METRIC}
    return argparse.Namespace(**{**vars(options), **{name: getattr(options, name) or value for name, value in defaults.items()}})


def _add_infer(commands: Any) -> None:
    command = commands.add_parser(
        "infer",
        help="the posterior of a model, given data",
        description="The posterior of a model, given data.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("model", metavar="MODEL.py[:NAME]", help="a file with a generator function; NAME is `model`, or else the only one in it")
    add("--data", type=path, metavar="DATA.json", help="an object: the model's arguments, and values of its sites to condition on")
    add(
        "--method",
        choices=METHODS,
        help="how to infer (default: nuts if all latent sites are continuous and the same in every run, else importance)",
    )
    add("--guide", metavar="NAME", help="importance: a generator function in MODEL.py to draw from, instead of the prior")
    add("--num-samples", type=positive, metavar="N", help=f"importance: weighted draws (default: {NUM_SAMPLES})")
    add(
        "--num-draws",
        type=positive,
        metavar="N",
        help="importance: equally weighted draws in the output (default: as many as are effective)",
    )
    add("--chains", type=positive, metavar="N", help=f"nuts: independent chains (default: {CHAINS})")
    add("--warmup", type=positive, metavar="N", help=f"nuts: draws of each chain to adapt with (default: {WARMUP})")
    add("--draws", type=positive, metavar="N", help=f"nuts: draws of each chain to keep (default: {DRAWS})")
    add(
        "--target-accept",
        type=share,
        metavar="P",
        help=f"nuts: the acceptance that steps are adapted to; closer to 1, they are shorter and divergences fewer (default: {TARGET_ACCEPT})",
    )
    add(
        "--max-depth",
        type=depth,
        metavar="N",
        help=f"nuts: a trajectory has less than 2 ** N steps (default: {MAX_DEPTH})",
    )
    add(
        "--metric",
        choices=METRICS,
        help=f"nuts: the shape of the metric that is learned in warmup (default: {METRIC}, dense where there are few dimensions, and one matrix suits all of the posterior)",
    )
    add("--checkpoint", type=path, metavar="FOLDER", help="nuts: keep the chains there while they run, and go on from there")
    add("--seed", type=int, default=0, metavar="S", help="names all of the randomness (default: %(default)s)")
    add(
        "--out",
        type=path,
        metavar="RESULT.nc",
        help="write the draws as NetCDF, for arviz.from_netcdf, or as zarr, as it ends in .nc or .zarr",
    )
    add("--plot", type=path, metavar="PICTURE.png", help="write a picture of the marginals")
    add("--strict", action="store_true", help="exit with 3 if the result comes with a warning")


def _add_step(commands: Any) -> None:
    command = commands.add_parser(
        "step",
        help="run a model one message at a time",
        description="Runs a model one message at a time: go on, back, to a site; edit values, branch, compare, save. "
        "Commands come from the terminal or from a pipe; `help` lists them.",
    )
    add = command.add_argument
    add("model", nargs="?", metavar="MODEL.py[:NAME]", help="a file with a generator function; NAME is `model`, or else the only one in it")
    add("--data", type=path, metavar="DATA.json", help="an object: the model's arguments, and values of its sites to condition on")
    add("--seed", type=int, metavar="S", help="names all of the randomness (default: 0); a run that is resumed keeps its own")
    add("--resume", type=path, metavar="FILE", help="go on with a run that was saved there, with its own model and data or those given")
