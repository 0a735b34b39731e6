"""The command line: ``poutine infer`` and ``poutine step``, each with ``MODEL.py[:NAME] --data data.json``.

Results go to stdout, progress and complaints to stderr. Exit codes: 0; 1 where a command of a script failed; 2 for bad input, with one
line that tells what to put right; 3 for a result with a warning, where --strict asks for it; 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from interpreters.command.arguments import Misused, parser
from interpreters.command.entries import entry

_DISPATCH: Final = "interpreters.command.dispatch:dispatch"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line ``argv`` (without it, the process's own) and returns the exit code."""
    try:
        options = parser().parse_args(argv)
        code: int = entry(_DISPATCH)(options)
    except Misused as error:
        print(f"poutine: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(": ".join(["poutine: interrupted", *map(str, error.args)]), file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
