"""What the options of the command line may be."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

DEEPEST: Final = 20  # tree: a trajectory of a million steps
_MOST: Final = 10**9  # of anything: more fits in no memory


def path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got nothing")
    return Path(text)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    if number > _MOST:
        raise argparse.ArgumentTypeError(f"expected at most {_MOST}, got {text}")
    return number


def depth(text: str) -> int:
    number = positive(text)
    if number > DEEPEST:
        raise argparse.ArgumentTypeError(f"expected at most {DEEPEST}, got {text}")
    return number


def share(text: str) -> float:
    number = float(text)
    if not 0.0 < number < 1.0:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text}")
    return number
