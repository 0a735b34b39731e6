"""``poutine infer``: the posterior of a model, given data."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Final

from interpreters.command.choice import choose
from interpreters.command.data_file import bind, load_data
from interpreters.command.double import in_double
from interpreters.command.methods import METHODS, NUM_SAMPLES, Outcome
from interpreters.command.model_check import checked
from interpreters.command.model_file import ModelFile, blaming, one_line, split
from interpreters.command.numbers import positive
from interpreters.command.output import complaining, say
from interpreters.errors import InputError
from interpreters.results.extras import extra
from interpreters.results.picture import formats
from interpreters.results.stored import is_zarr

EXIT_CODES: Final = """exit codes:
  0    the result was printed, and written where it should be
  2    bad input; one line on stderr tells what to put right
  3    with --strict: the result was printed, with a warning that it is not to be trusted
  130  Ctrl-C; what was drawn until then was printed and written, if there was any
"""


def add_infer(commands: Any) -> None:
    """Adds the command to a parser's ``commands``."""
    command = commands.add_parser(
        "infer",
        help="the posterior of a model, given data",
        description="The posterior of a model, given data.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("model", metavar="MODEL.py[:NAME]", help="a file with a generator function; NAME is `model`, or else the only one in it")
    add("--data", type=Path, metavar="DATA.json", help="an object: the model's arguments, and values of its sites to condition on")
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
    add("--chains", type=positive, default=4, metavar="N", help="nuts: independent chains (default: %(default)s)")
    add("--warmup", type=positive, default=1000, metavar="N", help="nuts: draws of each chain to adapt with (default: %(default)s)")
    add("--draws", type=positive, default=1000, metavar="N", help="nuts: draws of each chain to keep (default: %(default)s)")
    add("--checkpoint", type=Path, metavar="FOLDER", help="nuts: keep the chains there while they run, and go on from there")
    add("--seed", type=int, default=0, metavar="S", help="names all of the randomness (default: %(default)s)")
    add("--out", type=Path, metavar="RESULT.nc", help="write the draws as NetCDF, for arviz.from_netcdf, or as zarr if it ends in .zarr")
    add("--plot", type=Path, metavar="PICTURE.png", help="write a picture of the marginals")
    add("--strict", action="store_true", help="exit with 3 if the result comes with a warning")
    command.set_defaults(run=infer)


def infer(options: argparse.Namespace) -> int:
    """``poutine infer``: loads, runs, and writes the results; the exit code. Raises ``InputError``."""
    _check_outputs(options)
    path, name = split(options.model)
    file = ModelFile.load(path)
    model, data = file.model(name), load_data(options.data) if options.data else {}
    guide = in_double(bind(file.model(options.guide), data)[0]) if options.guide else None
    with blaming(path), complaining():
        program = checked(model, data, options.seed)
        method, reason = choose(program, options)
        if reason is not None:
            print(f"poutine: importance sampling, not NUTS: {one_line(reason, 200)}", file=sys.stderr)
        outcome = METHODS[method](program, guide, options)
    summary = outcome.result.summary()
    say(str(summary))
    _write(outcome, options)
    if outcome.is_interrupted:
        return 130
    return 3 if options.strict and outcome.result.problems(summary) else 0


def _check_outputs(options: argparse.Namespace) -> None:
    """Everything that would fail only after the work."""
    folders = [options.checkpoint, options.out if options.out and is_zarr(options.out) else None]
    for path in filter(None, (options.out, options.plot, options.checkpoint)):
        try:
            _check_output(path, path in folders)
        except OSError as error:  # a name that is too long, say
            raise InputError(f"cannot write the output: {error}") from error
    try:
        if options.out:
            for needed in ("arviz", "zarr" if is_zarr(options.out) else "h5netcdf"):
                extra(needed)
        if options.plot and options.plot.suffix[1:] not in formats():
            raise InputError(f"cannot draw {options.plot}: expected a name that ends in one of .{', .'.join(sorted(formats()))}")
    except ImportError as error:
        raise InputError(str(error)) from error


def _check_output(path: Path, is_folder: bool) -> None:
    folder = path.resolve().parent
    if not folder.is_dir():
        raise InputError(f"cannot write {path}: there is no directory {folder}")
    if path.exists() and path.is_dir() != is_folder:
        raise InputError(f"cannot write {path}: it is {'a directory' if path.is_dir() else 'no directory'}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(f"cannot write {path}: permission denied")


def _write(outcome: Outcome, options: argparse.Namespace) -> None:
    for path, write in ((options.out, outcome.result.save), (options.plot, outcome.result.plot)):
        if path is None:
            continue
        try:
            if path not in outcome.written:
                write(path)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error}") from error
        say(f"wrote {path}")
