"""The methods of ``poutine infer``: each turns a program and the command line's options into a result, showing its progress."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch

from interpreters.command.arguments import NUM_SAMPLES, with_defaults
from interpreters.command.checkpoint import Checkpoint, Saved
from interpreters.command.interruption import Interruption, saying
from interpreters.command.outcome import Outcome
from interpreters.command.progress import WatchPoutine, progress_bar, progress_bars
from interpreters.command.work import bar_of
from interpreters.compiled import compile_density
from interpreters.counts import so_many
from interpreters.density import Density, density
from interpreters.discrete import whole_posterior
from interpreters.errors import InputError
from interpreters.hamiltonian.chains import Chains
from interpreters.hamiltonian.notices import Chunk, NoticePoutine, Progress
from interpreters.hamiltonian.sampling import resumed
from interpreters.hamiltonian.targets import Target
from interpreters.hamiltonian.worth import compiled, worthwhile
from interpreters.importance import Plan, importance_resampling, in_lockstep_if_not, vectorization_of
from interpreters.nuts import nuts
from interpreters.posterior import Posterior
from interpreters.sampled_posterior import SampledPosterior
from interpreters.streaming import write_out
from poutine import Program, run


def importance_method(
    program: Program[Any], guide: Program[Any] | None, options: argparse.Namespace, interruption: Interruption
) -> Outcome:
    """Importance sampling, vectorised where the model allows it, and in lockstep where not. A part of its samples is no result."""
    number = options.num_samples or NUM_SAMPLES

    def algorithm(plan: Plan) -> Posterior:
        with progress_bar(len(plan.batches(number)), "batch") as step:
            watched = WatchPoutine(importance_resampling, step)
            result: Posterior = run(watched(program, number, guide, plan, options.num_draws), options.seed)
        return result

    try:
        result = in_lockstep_if_not(algorithm, vectorization_of(program, guide, seed=options.seed))
        interruption.look()
    except KeyboardInterrupt:
        raise KeyboardInterrupt("importance sampling has no result before its last sample, so nothing was kept") from None
    return Outcome(result)


def nuts_method(program: Program[Any], guide: Program[Any] | None, options: argparse.Namespace, interruption: Interruption) -> Outcome:
    """NUTS, compiled where that pays; finite discrete sites are summed out, and then drawn for each draw.

    Ctrl-C keeps what was drawn; with a checkpoint, the next call goes on from there. With a file to write to, or a checkpoint, draws go
    to the disk as they come, and memory stays flat in their number.
    """
    options = with_defaults(options)
    target = density(program)
    if not target.dim:
        raise InputError(
            f"all latent sites are discrete ({', '.join(target.summed) or 'there is none'}), and --method nuts draws continuous ones; use --method "
            "importance, or interpreters.elimination for the exact posterior"
        )
    _check_gradient(target)
    if options.out is None and options.checkpoint is None:
        chains, is_interrupted = _sampled(target, options, None, interruption)
        return Outcome(whole_posterior(target, chains, options.seed), is_interrupted)
    with Checkpoint.open(options.checkpoint, target, options) as checkpoint:
        try:
            _, is_interrupted = _sampled(target, options, checkpoint, interruption)
        except OSError as error:
            raise InputError(f"cannot keep the draws in {checkpoint.log.folder}: {error.strerror or error}") from error
        on = f"all draws are in the checkpoint {options.checkpoint}, and the same command goes on from there"
        if options.out is None:
            with saying(on):
                return Outcome(_in_memory(target, checkpoint, options), is_interrupted, kept=on)
        with (
            saying(on if options.checkpoint else f"before {options.out} was written, so nothing was kept"),
            bar_of(f"writing {options.out}", "draw") as news,
        ):
            try:
                write_out(target, checkpoint.log, options.out, seed=options.seed, news=news)
            except OSError:  # which the next try to write it will say, when the table has been printed
                return Outcome(_in_memory(target, checkpoint, options), is_interrupted)
        kept = f"all draws are in {options.out}, for SampledPosterior.load and arviz.from_netcdf; only the summary is missing"
        with saying(kept):
            return Outcome(SampledPosterior.load(options.out), is_interrupted, {options.out}, kept)


def _in_memory(target: Density, checkpoint: Checkpoint, options: argparse.Namespace) -> SampledPosterior:
    return whole_posterior(target, checkpoint.log.block(0, min(checkpoint.log.lengths)), options.seed)


def _check_gradient(target: Density) -> None:
    """Raises ``InputError`` if the log density cannot be differentiated, not by its recorded graph either: torch has no gradient of an operation."""
    position = torch.zeros(target.dim, dtype=torch.float64)
    try:
        target(position)
    except Exception:  # it has no density there; a sampler looks elsewhere
        return
    try:
        compile_density(target, tier="eager").value_and_grad(position)
    except RuntimeError as error:
        raise InputError(f"the log density has no gradient, which --method nuts needs: {type(error).__name__}: {error}") from error


def _sampled(
    target: Density, options: argparse.Namespace, checkpoint: Checkpoint | None, interruption: Interruption
) -> tuple[Chains, bool]:
    """The chains, and whether they were interrupted. Draws are kept in the log of the ``checkpoint``, if there is one."""
    interruption.look()
    begun = checkpoint.load() if checkpoint else None
    if begun is None:
        fast = worthwhile(target, options.chains, options.warmup + options.draws)
        size = (options.chains, options.warmup, options.draws)
        chosen = {"target_accept": options.target_accept, "max_depth": options.max_depth, "metric": options.metric}
        sampler: Program[Chains] = Program(nuts, fast, *size, keep=checkpoint is None, **chosen)
    else:
        fast = Target.of(target)
        fast = compiled(target, fast) if begun.is_compiled else fast
        sampler = Program(resumed, fast, begun.chains, options.draws)
    is_compiled = fast.kernel is not None
    save = checkpoint.now_and_then() if checkpoint else None
    with interruption.deferred(), progress_bars(options.chains, options.warmup + options.draws) as show:

        def progress(news: Progress) -> bool:
            show(news)
            if save:
                save(Saved(news.so_far, is_compiled))
            return not interruption()

        def chunk(news: Chunk) -> None:
            if checkpoint:
                checkpoint.log.add(news.part.after(options.warmup))

        noticing = NoticePoutine(sampler.fn, progress=progress, chunk=chunk)
        chains: Chains = run(noticing(*sampler.args, **sampler.kwargs), options.seed)
        is_interrupted = interruption()
    if checkpoint:
        checkpoint.save(Saved(chains, is_compiled))
    _tell(chains.num_draws if checkpoint is None else min(checkpoint.log.lengths), is_interrupted, options)
    return chains, is_interrupted


def _tell(draws: int, is_interrupted: bool, options: argparse.Namespace) -> None:
    """What an interrupt left. Raises ``KeyboardInterrupt`` if that is nothing."""
    if not is_interrupted:
        return
    on = f"; the same command goes on from {options.checkpoint}" if options.checkpoint else ""
    if not draws:
        raise KeyboardInterrupt(f"in warmup, so there are no draws to keep{on}")
    print(f"poutine: interrupted: kept {so_many(draws, 'draw')} of each chain{on}", file=sys.stderr)
