"""``poutine infer``: the posterior of a model, given data."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from interpreters.command.data_file import bind, load_data
from interpreters.command.methods import METHODS, Result
from interpreters.command.model_check import checked
from interpreters.command.model_file import ModelFile, blaming, split
from interpreters.command.numbers import positive
from interpreters.command.output import complaining, say
from interpreters.errors import InputError
from interpreters.results.extras import extra
from interpreters.results.picture import formats


def add_infer(commands: Any) -> None:
    """Adds the command to a parser's ``commands``."""
    command = commands.add_parser("infer", help="the posterior of a model, given data", description="The posterior of a model, given data.")
    add = command.add_argument
    add("model", metavar="MODEL.py[:NAME]", help="a file with a generator function; NAME is `model`, or else the only one in it")
    add("--data", type=Path, metavar="DATA.json", help="an object: the model's arguments, and values of its sites to condition on")
    add("--method", choices=METHODS, default="importance", help="how to infer (default: %(default)s)")
    add("--guide", metavar="NAME", help="importance: a generator function in MODEL.py to draw from, instead of the prior")
    add("--num-samples", type=positive, default=10_000, metavar="N", help="importance: weighted draws (default: %(default)s)")
    add(
        "--num-draws",
        type=positive,
        metavar="N",
        help="importance: equally weighted draws in the output (default: as many as are effective)",
    )
    add("--chains", type=positive, default=4, metavar="N", help="nuts: independent chains (default: %(default)s)")
    add("--warmup", type=positive, default=1000, metavar="N", help="nuts: draws of each chain to adapt with (default: %(default)s)")
    add("--draws", type=positive, default=1000, metavar="N", help="nuts: draws of each chain to keep (default: %(default)s)")
    add("--checkpoint", type=Path, metavar="FILE", help="nuts: keep the chains there, and go on from there")
    add("--seed", type=int, default=0, metavar="S", help="names all of the randomness (default: %(default)s)")
    add("--out", type=Path, metavar="RESULT.nc", help="write the draws as NetCDF, for arviz.from_netcdf")
    add("--plot", type=Path, metavar="PICTURE.png", help="write a picture of the marginals")
    command.set_defaults(run=infer)


def infer(options: argparse.Namespace) -> int:
    """``poutine infer``: loads, runs, and writes the results. Raises ``InputError``."""
    _check_outputs(options)
    path, name = split(options.model)
    file = ModelFile.load(path)
    model, data = file.model(name), load_data(options.data) if options.data else {}
    guide = bind(file.model(options.guide), data)[0] if options.guide else None
    with blaming(path), complaining():
        program = checked(model, data, options.seed)
        result = METHODS[options.method](program, guide, options)
    say(str(result.summary()))
    _write(result, options)
    return 0


def _check_outputs(options: argparse.Namespace) -> None:
    """Everything that would fail only after the work."""
    for path in filter(None, (options.out, options.plot, options.checkpoint)):
        try:
            _check_output(path)
        except OSError as error:  # a name that is too long, say
            raise InputError(f"cannot write the output: {error}") from error
    try:
        if options.out:
            for needed in ("arviz", "h5netcdf"):
                extra(needed)
        if options.plot and options.plot.suffix[1:] not in formats():
            raise InputError(f"cannot draw {options.plot}: expected a name that ends in one of .{', .'.join(sorted(formats()))}")
    except ImportError as error:
        raise InputError(str(error)) from error


def _check_output(path: Path) -> None:
    folder = path.resolve().parent
    if not folder.is_dir():
        raise InputError(f"cannot write {path}: there is no directory {folder}")
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(f"cannot write {path}: {'it is a directory' if path.is_dir() else 'permission denied'}")


def _write(result: Result, options: argparse.Namespace) -> None:
    for path, write in ((options.out, result.save), (options.plot, result.plot)):
        if path is None:
            continue
        try:
            write(path)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error}") from error
        say(f"wrote {path}")
