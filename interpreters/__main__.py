"""The command line: ``poutine infer`` and ``poutine step``, each with ``MODEL.py[:NAME] --data data.json``.

Results go to stdout, progress and complaints to stderr. Exit codes: 0; 1 where a command of a script failed; 2 for bad input, with one
line that tells what to put right; 3 for a result with a warning, where --strict asks for it; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from interpreters.command.infer import add_infer
from interpreters.command.model_file import one_line
from interpreters.command.step import add_step
from interpreters.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line ``argv`` (without it, the process's own) and returns the exit code."""
    try:
        options = _parser().parse_args(argv)
        code: int = options.run(options)
    except InputError as error:
        print(f"poutine: error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("poutine: interrupted", file=sys.stderr)
        return 130
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("poutine", description="Probabilistic programs as Python generators.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_infer(commands)
    add_step(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
