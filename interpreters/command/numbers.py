"""Numbers as options of the command line."""

from __future__ import annotations

import argparse
from typing import Final

_MOST: Final = 10**9  # of anything: more fits in no memory


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    if number > _MOST:
        raise argparse.ArgumentTypeError(f"expected at most {_MOST}, got {text}")
    return number
