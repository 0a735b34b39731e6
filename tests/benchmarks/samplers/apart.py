"""A sampler in a process of its own: what it changes for all, how long it takes, and how it fails, concerns nobody else."""

from __future__ import annotations

import importlib
import warnings
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import MappingProxyType, TracebackType
from typing import Any, Final

import attrs

from interpreters.adaptation import WARMUP
from tests.benchmarks.samplers.contestants import Make, Size
from tests.benchmarks.samplers.race import Compiled, Timed, timed


@attrs.frozen
class Contestant:
    """The module beside this one, what in it makes a sampler, and the draws of warmup that it takes if it is not told."""

    module: str
    make: str
    warmup: int


CONTESTANTS: Final = MappingProxyType(
    {
        "poutine": Contestant("with_poutine", "WithPoutine", WARMUP),
        "stan": Contestant("with_stan", "WithStan", 1000),
        "numpyro": Contestant("with_numpyro", "WithNumpyro", 1000),  # which must be told; its examples have 1000 and 2000
        "nutpie": Contestant("with_nutpie", "with_stan_density", 400),
        "nutpie, kernel": Contestant("with_nutpie", "with_our_density", 400),
        "pyro": Contestant("with_pyro", "WithPyro", 1000),  # as many as are drawn
    }
)


@attrs.frozen
class Made:
    """``seconds`` to compile; ``own``: microseconds of the density, where it has an address."""

    seconds: float
    own: float | None


@attrs.frozen
class Failed:
    """Why there is no result, in a few words."""

    reason: str


class Apart:
    """Contestant ``name`` on ``problem``. Starts when it is first asked; a process that fails or takes too long is ended.

    ``made`` is what came of its start, or what is known of it from elsewhere.
    """

    def __init__(self, name: str, problem: str, size: Size, made: Made | Failed | None = None) -> None:
        self.name, self.problem, self.size, self.made = name, problem, size, made
        self._process: Any = None
        self._wire: Connection | None = None

    def run(self, seed: int, num_chains: int, seconds: float) -> Timed | Failed:
        """One run of at most so many seconds."""
        if self._wire is None and isinstance(self.made, Failed):
            return self.made
        if self._wire is None:
            self.made = self._start()
        if isinstance(self.made, Failed):
            return self.made
        return self._answer(seconds, (seed, num_chains))  # type: ignore[no-any-return]

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = self._wire = None

    def _start(self) -> Made | Failed:
        spawning = get_context("spawn")
        self._wire, theirs = spawning.Pipe()
        self._process = spawning.Process(target=serve, args=(self.name, self.problem, self.size, theirs), daemon=True)
        self._process.start()
        theirs.close()  # so that its end is noticed
        return self._answer(600.0)  # type: ignore[no-any-return]

    def _answer(self, seconds: float, question: tuple[int, int] | None = None) -> Any:
        assert self._wire is not None
        try:
            if question is not None:
                self._wire.send(question)
            if self._wire.poll(seconds):
                return self._wire.recv()
            failed = Failed(f"> {seconds:.0f} s")
        except (EOFError, OSError):
            failed = Failed("its process ended")
        self.__exit__(None, None, None)
        return failed


def maker(name: str) -> Make:
    contestant = CONTESTANTS[name]
    found: Make = getattr(importlib.import_module(f"tests.benchmarks.samplers.{contestant.module}"), contestant.make)
    return found


def serve(name: str, problem: str, size: Size, wire: Connection) -> None:
    """In the process: compiles, then runs as it is asked to, until the other side is gone."""
    warnings.filterwarnings("ignore")  # the peers' own; ours are errors in the tests
    try:
        compiled = Compiled.of(maker(name), problem, size)
        wire.send(Made(compiled.seconds, compiled.sampler.own))
        while True:
            seed, num_chains = wire.recv()
            wire.send(timed(compiled.sampler, seed, num_chains))
    except EOFError:
        return
    except Exception as error:
        wire.send(Failed(f"{type(error).__name__}: {error}".splitlines()[0][:90]))
