"""The No-U-Turn sampler: Hamiltonian Monte Carlo that finds the length of its trajectories by itself.

1. Which algorithm: multinomial NUTS with the generalised U-turn criterion and Stan's additional checks; see ``native_tree``.
2. How it adapts: dual averaging of the step size, and a metric learned in warmup; see ``adaptation``. Where it starts: ``climbing``.
3. Two implementations of it, which agree step by step: a native loop by the address of a compiled density, one thread a chain
   (``native_chain``; the extra ``native``), and tensors over all chains (``batched``) for everything else.
4. To the outside it is a program. Its seed is a site, so ``run(program, seed=...)``, ``condition`` and ``replay`` act on it; its
   progress and its draws are notices (``notices``).

Limits: discrete sites must have finitely many values: they are summed out. Funnels and heavy tails need a better parameterisation: divergences tell of them.

Sources: Hoffman and Gelman, "The No-U-Turn Sampler", JMLR 15 (2014); Betancourt, arXiv:1701.02434 (2017).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any

import attrs

from interpreters.adaptation import WARMUP
from interpreters.density import Density, density
from interpreters.discrete import whole_posterior
from interpreters.hamiltonian.chains import Chains
from interpreters.hamiltonian.expected import require_whole
from interpreters.hamiltonian.machine import Options
from interpreters.hamiltonian.sampling import sampled
from interpreters.hamiltonian.targets import Kernel, Target
from interpreters.hamiltonian.worth import worthwhile
from interpreters.results.inference_data import Coords
from interpreters.sampled_posterior import SampledPosterior
from poutine import Coroutine, ParamStore, Program, as_program, run


def infer(
    program: Program[Any] | Callable[..., Any],
    num_chains: int = 4,
    num_warmup: int = WARMUP,
    num_draws: int = 1000,
    *,
    seed: int = 0,
    params: ParamStore | None = None,
    coords: Coords | None = None,
    **options: Any,
) -> SampledPosterior:
    """The posterior of ``program``, compiled where that pays; ``options`` are those of ``nuts``.

    ::

        posterior = infer(Program(model, y, sigma), seed=0, coords={"school": names})
        print(posterior.summary())

    ``coords`` has labels for the members of plates, by name of plate. Discrete sites, which are summed out, are then drawn for each draw
    (see ``discrete``). Raises ``NotContinuous``, ``NoStart``, ``ValueError`` for what cannot be asked for, and what the program raises.
    """
    for name, number, least in (("num_chains", num_chains, 1), ("num_warmup", num_warmup, 0), ("num_draws", num_draws, 1)):
        require_whole(name, number, least)
    _check_options(options)
    Options(**{name: value for name, value in options.items() if name in attrs.fields_dict(Options)})  # before anything is compiled
    target = density(as_program(program), params)
    fast = worthwhile(target, num_chains, num_warmup + num_draws)
    chains: Chains = run(Program(nuts, fast, num_chains, num_warmup, num_draws, **options), seed)
    return whole_posterior(target, chains, seed, coords)


def _check_options(options: Mapping[str, Any]) -> None:
    """Raises ``TypeError``, before anything is compiled, at one that ``nuts`` does not take."""
    of_nuts = [name for name, each in signature(nuts).parameters.items() if each.kind is Parameter.KEYWORD_ONLY]
    of_infer = [name for name in signature(infer).parameters if name not in ("program", "options")]
    for name in options:
        if name not in of_nuts:
            meant = [f"; did you mean {each}" for each in (*of_infer, *of_nuts) if name in each][:1]
            raise TypeError(
                f"infer: got an unexpected argument {name!r}{''.join(meant)}; it takes the program, {', '.join((*of_infer, *of_nuts))}"
            )


def nuts(
    target: Target | Density | Kernel,
    num_chains: int = 4,
    num_warmup: int = WARMUP,
    num_draws: int = 1000,
    *,
    target_accept: float = 0.8,
    max_depth: int = 10,
    metric: str = "auto",
    step_size: float | None = None,
    threads: int | None = None,
    chunk: int | None = None,
    keep: bool = True,
    period: float = 0.1,
) -> Coroutine[Chains]:
    """Draws from the log density ``target`` over unconstrained space.

    ::

        chains = run(Program(nuts, density(model(y, sigma))), seed=0)
        chains.positions                               # [chains, draws, dim], unconstrained

    target_accept:  closer to 1, steps are shorter and divergences fewer.
    max_depth:      a trajectory has less than 2 ** max_depth leapfrogs.
    metric:         "diagonal" or "dense", both learned from draws and gradients; "auto" is dense in up to 32 dimensions, if one
                    matrix suits the whole posterior (``adaptation.is_even``), and else diagonal.
    step_size:      where to start; by default it is tried out. Without warmup it stays.
    threads:        at most so many chains at once; by default as many as there are processors.
    chunk:          the draws of a chain that are handed over at a time; by default at most 1000, and 8 MiB.
    keep:           whether the result holds the draws; if not, they are only in the ``Chunk`` messages.
    period:         the seconds between two ``Progress`` messages.

    **Laws**: the same seed gives the same chains, on any number of threads; stopped and resumed (``sampling.resumed``), too.
    Raises ``NoStart`` if no place of finite density is found.
    """
    options = Options(target_accept, max_depth, metric, step_size=step_size)
    return (yield from sampled(target, options, num_chains, num_warmup, num_draws, threads=threads, chunk=chunk, keep=keep, period=period))
