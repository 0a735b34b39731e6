"""One command, run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from interpreters.command.entries import entry
from interpreters.command.model_file import one_line
from interpreters.errors import InputError

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {"infer": "interpreters.command.infer:infer", "step": "interpreters.command.step:step"}
)


def dispatch(options: argparse.Namespace) -> int:
    """Runs the command that ``options`` ask for, and returns the exit code: 2 for bad input, which one line tells of."""
    try:
        code: int = entry(COMMANDS[options.command])(options)
    except InputError as error:
        print(f"poutine: error: {one_line(str(error))}", file=sys.stderr)
        return 2
    return code
