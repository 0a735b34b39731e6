"""The command line: ``poutine infer MODEL.py[:NAME] --data data.json``.

Results go to stdout, progress and complaints to stderr. Exit codes: 0; 2 for bad input, with one line that tells what to
put right; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from interpreters.command.data_file import bind, load_data
from interpreters.command.methods import METHODS, Result
from interpreters.command.model_check import checked
from interpreters.command.model_file import ModelFile, blaming, one_line, split
from interpreters.errors import InputError
from interpreters.results.extras import extra
from interpreters.results.picture import formats

_MOST: Final = 10**9  # of anything: more fits in no memory


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line ``argv`` (without it, the process's own) and returns the exit code."""
    try:
        options = _parser().parse_args(argv)
        _check_outputs(options)
        infer(options)
    except InputError as error:
        print(f"poutine: error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("poutine: interrupted", file=sys.stderr)
        return 130
    return 0


def infer(options: argparse.Namespace) -> None:
    """``poutine infer``: loads, runs, and writes the results. Raises ``InputError``."""
    path, name = split(options.model)
    file = ModelFile.load(path)
    model, data = file.model(name), load_data(options.data) if options.data else {}
    guide = bind(file.model(options.guide), data)[0] if options.guide else None
    with blaming(path), _complaining():
        program = checked(model, data, options.seed)
        result = METHODS[options.method](program, guide, options)
    _say(str(result.summary()))
    _write(result, options)


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
        _say(f"wrote {path}")


def _say(text: str) -> None:
    """Prints ``text``, with ``?`` for what stdout has no letter for. Raises ``InputError`` if it is full, or nobody reads it."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except OSError as error:
        with suppress(OSError):  # else Python tries again, and complains, when it exits
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise InputError(f"cannot write to stdout: {error.strerror}") from error


class _complaining(logging.Handler):
    """While entered, what the interpreters log goes to stderr, a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"poutine: {record.levelname.lower()}: {one_line(record.getMessage())}", file=sys.stderr)

    def __enter__(self) -> None:
        logging.getLogger("interpreters").addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("interpreters").removeHandler(self)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("poutine", description="Probabilistic programs as Python generators.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("infer", help="the posterior of a model, given data", description="The posterior of a model, given data.")
    add = command.add_argument
    add("model", metavar="MODEL.py[:NAME]", help="a file with a generator function; NAME is `model`, or else the only one in it")
    add("--data", type=Path, metavar="DATA.json", help="an object: the model's arguments, and values of its sites to condition on")
    add("--method", choices=METHODS, default="importance", help="how to infer (default: %(default)s)")
    add("--guide", metavar="NAME", help="importance: a generator function in MODEL.py to draw from, instead of the prior")
    add("--num-samples", type=_positive, default=10_000, metavar="N", help="importance: weighted draws (default: %(default)s)")
    add(
        "--num-draws",
        type=_positive,
        metavar="N",
        help="importance: equally weighted draws in the output (default: as many as are effective)",
    )
    add("--chains", type=_positive, default=4, metavar="N", help="nuts: independent chains (default: %(default)s)")
    add("--warmup", type=_positive, default=1000, metavar="N", help="nuts: draws of each chain to adapt with (default: %(default)s)")
    add("--draws", type=_positive, default=1000, metavar="N", help="nuts: draws of each chain to keep (default: %(default)s)")
    add("--checkpoint", type=Path, metavar="FILE", help="nuts: keep the chains there, and go on from there")
    add("--seed", type=int, default=0, metavar="S", help="names all of the randomness (default: %(default)s)")
    add("--out", type=Path, metavar="RESULT.nc", help="write the draws as NetCDF, for arviz.from_netcdf")
    add("--plot", type=Path, metavar="PICTURE.png", help="write a picture of the marginals")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    if number > _MOST:
        raise argparse.ArgumentTypeError(f"expected at most {_MOST}, got {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
