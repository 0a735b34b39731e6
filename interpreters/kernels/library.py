"""Shared libraries on disk: one for each graph, machine and version of what made it. Never changed once written."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch


def default_directory() -> Path:
    """``$XDG_CACHE_HOME/poutine/kernels``, by default under ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "poutine" / "kernels"


def library(digest: str, directory: Path, build: Callable[[Path], None]) -> ctypes.CDLL:
    """The library of the graph with this digest; ``build`` makes it at a path if it is not there.

    Two processes may build the same at the same time; the last one to finish wins, and they are equal.
    """
    path = directory / f"{_key(digest)}.so"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            made = Path(scratch) / "kernel.so"
            build(made)
            made.replace(path)
    return ctypes.CDLL(str(path))


def _key(digest: str) -> str:
    parts = [
        digest,
        torch.__version__,
        _machine(),
        os.environ.get("CXX", ""),
        *map(Path.read_text, sorted(Path(__file__).parent.glob("*.py"))),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _machine() -> str:
    """What ``-march=native`` looks at: a home directory may be shared by machines of different processors."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    features = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return "\n".join([platform.platform(), platform.processor(), *features[:2]])
