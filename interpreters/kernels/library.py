"""Shared libraries on disk: one for each graph, machine and version of what made it. Never changed once written.

Beside them lies what each recorded program became: which library, and with which constants. Making that again takes a second.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import pickle
import platform
import struct
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import torch

# Of the head of a library: where its table of sections starts, the size of an entry, how many there are.
_ELF: Final = struct.Struct("=40xQ10xHH2x")
MOST_REMEMBERED: Final = 1 << 26  # bytes of constants


def default_directory() -> Path:
    """``$XDG_CACHE_HOME/poutine/kernels``, by default under ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "poutine" / "kernels"


def library(digest: str, directory: Path, build: Callable[[Path], None]) -> ctypes.CDLL:
    """The library of the graph with this digest; ``build`` makes it at a path if it is not there, or damaged.

    Two processes may build the same at the same time; the last one to finish wins, and they are equal. Where the directory
    cannot be written, or its disk is full, the library lives as long as this process.
    """
    path = directory / f"{_key(digest)}.so"
    with suppress(OSError):
        return _loaded(path)
    place = _writable(directory)
    try:
        return _built(path, place, build)
    except OSError:
        if place is None:
            raise
        return _built(path, None, build)


def _built(path: Path, place: Path | None, build: Callable[[Path], None]) -> ctypes.CDLL:
    """Made in a directory of its own at ``place``, then moved to ``path``, if that can be."""
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        made = Path(scratch) / "kernel.so"
        build(made)
        with suppress(OSError):
            made = made.replace(path)
        return ctypes.CDLL(str(made))  # once loaded, the file is not needed


def recall(fingerprint: str, directory: Path) -> tuple[ctypes.CDLL, tuple[torch.Tensor, ...]] | None:
    """The library and its constants, as remembered; none if anything about them is not as it was left."""
    path = directory / f"{_key(fingerprint)}.constants"
    try:
        digest, constants = torch.load(path, weights_only=True)
        return _loaded(directory / f"{_key(digest)}.so"), constants
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
        return None


def _loaded(path: Path) -> ctypes.CDLL:
    """Raises ``OSError`` if it is not all there: the loader notices only a part of what may be cut off, and the rest is a crash."""
    with path.open("rb") as file:
        head = file.read(_ELF.size)
        size = os.fstat(file.fileno()).st_size
    is_whole = size >= _ELF.size
    if is_whole and head[:5] == b"\x7fELF\x02":  # in 64 bits; its table of sections comes last
        start, entry, count = _ELF.unpack(head)
        is_whole = size >= start + entry * count
    if not is_whole:
        raise OSError(f"{path} is cut off")
    return ctypes.CDLL(str(path))


def remember(fingerprint: str, digest: str, constants: tuple[torch.Tensor, ...], directory: Path) -> None:
    """For ``recall``. Data are not kept twice if there is much of it."""
    if sum(constant.nbytes for constant in constants) > MOST_REMEMBERED:
        return
    with suppress(OSError, RuntimeError), tempfile.TemporaryDirectory(dir=directory) as scratch:
        made = Path(scratch) / "constants"
        torch.save((digest, constants), made)
        made.replace(directory / f"{_key(fingerprint)}.constants")


def _writable(directory: Path) -> Path | None:
    """``directory``, made if need be; or none, where the system's place for temporary files must do."""
    with suppress(OSError):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(directory, os.W_OK):
            return directory
    return None


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
