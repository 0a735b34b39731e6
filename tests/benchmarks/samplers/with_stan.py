"""Stan: its own compiler, mathematics and sampler, as the package httpstan ships them, behind ``stan/driver.cpp``.

Libraries are built once, with CmdStan's options and ``-march=native``, and kept by their sources in the user's cache.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.benchmarks.samplers.by_address import time_of
from tests.benchmarks.samplers.contestants import TARGET, Drawn, Size, on_threads
from tests.benchmarks.samplers.problems import PROBLEMS, Data, model_of

_SOURCES: Final = Path(__file__).with_name("stan")
_STATISTICS: Final = 7  # columns before the values
_LEAPFROGS: Final = 4
_OPTIONS: Final = (
    "-O3", "-march=native", "-std=c++17", "-w", "-fPIC", "-ftls-model=initial-exec", "-D_REENTRANT", "-DSTAN_THREADS",
    "-DBOOST_DISABLE_ASSERTS", "-DBOOST_PHOENIX_NO_VARIADIC_EXPRESSION",
)  # fmt: skip


def _cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "poutine-benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _Toolchain:
    def __init__(self) -> None:
        spec = find_spec("httpstan")
        if spec is None or spec.origin is None:
            raise ImportError("httpstan, which brings Stan, is not installed: pip install httpstan")
        self.home = Path(spec.origin).parent

    def made(self, name: str, *sources: str, make: Callable[[Path], None]) -> Path:
        """The file ``name`` in the cache, made if it is not there; replaced at once, so that others may be at work."""
        path = _cache() / f"{blake2b(''.join([*_OPTIONS, *sources]).encode(), digest_size=8).hexdigest()}-{name}"
        if not path.exists():
            part = path.with_name(f"{os.getpid()}-{path.name}")
            make(part)
            part.replace(path)
        return path

    def compile(self, cpp: Path, to: Path) -> None:
        include = self.home / "include"
        self._run("g++", *_OPTIONS, f"-I{include}", f"-I{include / 'tbb'}", "-c", "-x", "c++", str(cpp), "-o", str(to))

    def library(self, model: str) -> Path:
        stan, driver = _SOURCES / f"{model}.stan", _SOURCES / "driver.cpp"
        common = self.made("driver.o", driver.read_text(), make=lambda path: self.compile(driver, path))

        def translate(path: Path) -> None:
            path.write_text(
                self._run(str(self.home / "stanc"), "--O1", "--name", f"{model}_model", "--print-cpp", "--o", os.devnull, str(stan))
            )

        cpp = self.made(f"{model}.cpp", stan.read_text(), make=translate)
        own = self.made(f"{model}.o", stan.read_text(), make=lambda path: self.compile(cpp, path))
        return self.made(f"{model}.so", stan.read_text(), driver.read_text(), make=lambda path: self.link(own, common, path))

    def link(self, *objects: Path) -> None:
        """The last is made of the others."""
        lib = self.home / "lib"
        self._run("g++", "-shared", *map(str, objects[:-1]), f"-L{lib}", "-ltbb", f"-Wl,-rpath,{lib}", "-o", str(objects[-1]))

    def _run(self, *command: str) -> str:
        if shutil.which(command[0]) is None:
            raise FileNotFoundError(f"{command[0]} is needed to build Stan's models")
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class StanModel:
    """A model with its data: ``address`` and ``user`` are its density's."""

    def __init__(self, problem: str) -> None:
        self.library = ctypes.CDLL(str(_Toolchain().library(model_of(problem))))
        self.library.load.restype = ctypes.c_void_p
        self.library.dim.restype = self.library.names.restype = ctypes.c_uint64
        data = _cache() / f"{problem}.json"
        data.write_text(_json(PROBLEMS[problem]()))
        self.user = ctypes.c_void_p(self.library.load(str(data).encode()))
        self.dim = int(self.library.dim(self.user))
        self.address = ctypes.cast(self.library.density, ctypes.c_void_p).value or 0
        buffer = ctypes.create_string_buffer(1 << 16)
        size = self.library.names(self.user, buffer, ctypes.c_uint64(len(buffer)))
        self.names = buffer.raw[:size].decode().split()

    def constrain(self, positions: Any) -> dict[str, Any]:
        """[chains, draws, dim] to the values of each site."""
        values = np.empty((*positions.shape[:2], len(self.names)))
        for where in np.ndindex(positions.shape[:2]):
            position = np.ascontiguousarray(positions[where])
            self.library.constrain(self.user, ctypes.c_void_p(position.ctypes.data), ctypes.c_void_p(values[where].ctypes.data))
        return self.by_site(values)

    def by_site(self, values: Any) -> dict[str, Any]:
        """[chains, draws, number of names], named as Stan does: ``beta.1``."""
        sites = [name.partition(".")[0] for name in self.names]
        return {site: values[..., [i for i, its in enumerate(sites) if its == site]] for site in sites}


class WithStan:
    def __init__(self, problem: str, size: Size) -> None:
        self.size = size
        self.model = StanModel(problem)
        self.own = time_of(self.model.address, self.model.user.value or 0, self.model.dim)

    def run(self, seed: int, num_chains: int) -> Callable[[], Drawn]:
        model, size = self.model, self.size
        rows = np.empty((num_chains, size.warmup + size.draws, _STATISTICS + len(model.names)))

        def chain(number: int) -> int:
            numbers = ctypes.c_uint(seed + 1), ctypes.c_uint(number + 1), size.warmup, size.draws, ctypes.c_double(TARGET)
            return int(model.library.sample(model.user, *numbers, ctypes.c_void_p(rows[number].ctypes.data)))

        if any(on_threads(chain, num_chains)):
            raise RuntimeError("Stan's sampler failed")
        return lambda: Drawn(model.by_site(rows[:, size.warmup :, _STATISTICS:]), int(rows[:, :, _LEAPFROGS].sum()))


def _json(data: Data) -> str:
    return json.dumps({name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in data.items()})
