"""What the command line says: results on stdout, complaints on stderr."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress

from interpreters.command.model_file import one_line
from interpreters.errors import InputError


def say(text: str) -> None:
    """Prints ``text``, with ``?`` for what stdout has no letter for. Raises ``InputError`` if it is full, or nobody reads it."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except OSError as error:
        with suppress(OSError):  # else Python tries again, and complains, when it exits
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise InputError(f"cannot write to stdout: {error.strerror}") from error


class complaining(logging.Handler):
    """While entered, what the interpreters log goes to stderr, a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"poutine: {record.levelname.lower()}: {one_line(record.getMessage())}", file=sys.stderr)

    def __enter__(self) -> None:
        logging.getLogger("interpreters").addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("interpreters").removeHandler(self)
