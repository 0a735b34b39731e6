"""The C++ compiler: ``$CXX``, or the first that is found of g++, clang++ and c++."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Final

import torch

from interpreters.kernels.graphs import NotStraight

# Infinities and nan keep their meaning; who does not read floating-point exceptions does not miss them. More than -O2 takes three times
# as long, since it unrolls every short loop, and the loops that matter are no faster: which of them are vectors, the source says.
_FLAGS: Final = (
    "-std=c++17",
    "-O2",
    "-ftree-vectorize",
    "-march=native",
    "-shared",
    "-fPIC",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-fopenmp-simd",
)


def build(cpp: Path, library: Path, calls_blas: bool = False, width: int = 256) -> None:
    """Compiles ``cpp``; BLAS is torch's, which is in the process already. Raises ``NotStraight`` with what the compiler said.

    ``width``: how many bits vectors should have, where the processor has such; for unknown processors g++ would guess less.
    """
    vectors = [f"-mprefer-vector-width={width}"] if platform.machine() == "x86_64" else []
    command = [compiler(), str(cpp), *_FLAGS, *vectors, *(_blas() if calls_blas else []), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NotStraight(f"the compiler failed: {done.stderr[-2000:]}")


def compiler() -> str:
    """Its path."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise NotStraight(f"no C++ compiler: looked for {', '.join(names)}")
    return found


def _blas() -> list[str]:
    directory = Path(torch.__file__).parent / "lib"
    return [f"-L{directory}", "-ltorch_cpu", f"-Wl,-rpath,{directory}"]
