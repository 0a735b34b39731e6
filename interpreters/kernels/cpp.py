"""The C++ compiler: ``$CXX``, or the first that is found of g++, clang++ and c++."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from interpreters.kernels.graphs import NotStraight

# Infinities and nan keep their meaning; who does not read floating-point exceptions does not miss them.
_FLAGS: Final = (
    "-std=c++17",
    "-O3",
    "-march=native",
    "-shared",
    "-fPIC",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-fopenmp-simd",
)


def build_plain(cpp: Path, library: Path) -> None:
    """Compiles what needs nothing but a compiler."""
    width = ["-mprefer-vector-width=256"] if platform.machine() == "x86_64" else []  # for unknown processors g++ guesses less
    run_compiler([_compiler(), str(cpp), *_FLAGS, *width, "-o", str(library)])


def run_compiler(command: Sequence[str]) -> None:
    """Raises ``NotStraight`` with what the compiler said."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NotStraight(f"the compiler failed: {done.stderr[-2000:]}")


def _compiler() -> str:
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    found = next((name for name in names if shutil.which(name)), None)
    if found is None:
        raise NotStraight(f"no C++ compiler: looked for {', '.join(names)}")
    return found
