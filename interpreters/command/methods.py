"""The methods of ``poutine infer``: each turns a program and the command line's options into a result, showing its progress."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from os import PathLike
from types import MappingProxyType
from typing import Any, Final, Protocol

from interpreters.command.checkpoint import Checkpoint
from interpreters.command.interruption import interruptible
from interpreters.command.progress import WatchPoutine, progress_bar, progress_bars
from interpreters.compiled import compile_density
from interpreters.density import density
from interpreters.errors import InputError
from interpreters.hamiltonian.notices import NoticePoutine, Progress
from interpreters.hamiltonian.sampling import resumed
from interpreters.importance import importance_resampling, vectorization_of
from interpreters.nuts import nuts
from interpreters.posterior import Posterior
from interpreters.sampled_posterior import SampledPosterior
from poutine import Program, run


class Result(Protocol):
    """What a method returns."""

    def summary(self) -> Any: ...
    def save(self, path: str | PathLike[str], /) -> None: ...
    def plot(self, path: str | PathLike[str], /) -> None: ...


def importance_method(program: Program[Any], guide: Program[Any] | None, options: argparse.Namespace) -> Posterior:
    """Importance sampling, vectorised where the model allows it, and in lockstep where not."""
    vectorization = vectorization_of(program, guide, seed=options.seed)
    with progress_bar(len(vectorization.batches(options.num_samples)), "batch") as step:
        watched = WatchPoutine(importance_resampling, step)
        result: Posterior = run(watched(program, options.num_samples, guide, vectorization, options.num_draws), options.seed)
    return result


def nuts_method(program: Program[Any], guide: Program[Any] | None, options: argparse.Namespace) -> SampledPosterior:
    """NUTS, compiled where it can be; finite discrete sites are summed out. Ctrl-C keeps what was drawn; with a checkpoint, the next call goes on from there."""
    if guide is not None:
        raise InputError("--guide is for --method importance: nuts needs none")
    target = density(program)
    if not target.dim:
        raise InputError(
            f"all latent sites are discrete ({', '.join(target.summed) or 'there is none'}), and --method nuts draws continuous ones; use --method "
            "importance, or interpreters.elimination for the exact posterior"
        )
    kernel = compile_density(target)
    checkpoint = Checkpoint.of(options.checkpoint, target, options)
    begun = checkpoint.load()
    with interruptible() as interrupted, progress_bars(options.chains, options.warmup + options.draws) as show:

        def progress(news: Progress) -> bool:
            show(news)
            return not interrupted()

        if begun is None:
            sampler = NoticePoutine(nuts, progress=progress)(kernel, options.chains, options.warmup, options.draws)
        else:
            sampler = NoticePoutine(resumed, progress=progress)(kernel, begun, options.draws)
        chains = run(sampler, options.seed)
        stopped = interrupted()
    checkpoint.save(chains)
    if stopped and not chains.num_draws:
        raise KeyboardInterrupt
    return SampledPosterior.of(target, chains)


METHODS: Final[Mapping[str, Callable[[Program[Any], Program[Any] | None, argparse.Namespace], Result]]] = MappingProxyType(
    {"importance": importance_method, "nuts": nuts_method}
)
