"""``poutine infer``: the posterior of a model, given data."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType
from typing import Final

from interpreters.command.data_file import bind, load_data
from interpreters.command.double import in_double
from interpreters.command.entries import entry
from interpreters.command.interruption import Interruption, interruptible, saying
from interpreters.command.model_check import checked
from interpreters.command.model_file import ModelFile, blaming, one_line, split
from interpreters.command.outcome import Outcome
from interpreters.command.output import complaining, say
from interpreters.command.work import bar_of
from interpreters.errors import InputError
from interpreters.results.extras import extra
from interpreters.results.picture import formats
from interpreters.results.stored import is_zarr, require_ending

# Named, not imported: what is wrong with the files shall be told before compilers are looked for.
_METHODS: Final[Mapping[str, str]] = MappingProxyType(
    {"importance": "interpreters.command.methods:importance_method", "nuts": "interpreters.command.methods:nuts_method"}
)
_CHOOSE: Final = "interpreters.command.choice:choose"


def infer(options: argparse.Namespace) -> int:
    """``poutine infer``: loads, runs, and writes the results; the exit code. Raises ``InputError``, ``KeyboardInterrupt``."""
    with interruptible() as interruption:
        return _infer(options, interruption)


def _infer(options: argparse.Namespace, interruption: Interruption) -> int:
    _check_outputs(options)
    path, name = split(options.model)
    file = ModelFile.load(path)
    model, data = file.model(name), load_data(options.data) if options.data else {}
    guide = in_double(bind(file.model(options.guide, "--guide NAME"), data)[0]) if options.guide else None
    with blaming(path), complaining():
        program = checked(model, data, options.seed)
        method, reason = entry(_CHOOSE)(program, options)
        if reason is not None:
            print(f"poutine: importance sampling, not NUTS: {one_line(reason, 200)}", file=sys.stderr)
        outcome: Outcome = entry(_METHODS[method])(program, guide, options, interruption)
    with saying(outcome.kept):
        with bar_of("summary", "number") as news:
            summary = outcome.result.summary(news)
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
            require_ending(options.out)
            for needed in ("arviz", "zarr" if is_zarr(options.out) else "h5netcdf"):
                extra(needed)
        if options.plot and options.plot.suffix[1:] not in formats():
            raise InputError(f"cannot draw {options.plot}: expected a name that ends in one of .{', .'.join(sorted(formats()))}")
    except (ImportError, ValueError) as error:
        raise InputError(str(error)) from error


def _check_output(path: Path, is_folder: bool) -> None:
    folder = path.resolve().parent
    if not folder.is_dir():
        raise InputError(f"cannot write {path}: there is no directory {folder}")
    if path.exists() and path.is_dir() != is_folder:
        raise InputError(f"cannot write {path}: it is {'a directory' if path.is_dir() else 'no directory'}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(f"cannot write {path}: permission denied")
    if not path.exists():
        try:
            TemporaryFile(dir=folder).close()
        except OSError as error:  # such a folder as /proc
            raise InputError(f"cannot write {path}: {error.strerror}") from error


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
