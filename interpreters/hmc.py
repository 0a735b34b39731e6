"""Hamiltonian Monte Carlo with trajectories of a given length: the simplest of its kind, to compare with and to learn from.

Momenta are drawn anew, the leapfrog integrator (``integrator``) follows the trajectory, and its end is accepted with probability
min(1, exp(-energy error)); otherwise the chain stays where it is. Step size and metric adapt as for NUTS.

**Laws**: leaves the target invariant; a rejected move returns the same state.

Not to be confused with NUTS, which chooses the length itself and picks from the whole trajectory. A trajectory of about a
period of the target comes back to where it began: then HMC does not move at all.

Sources: Duane, Kennedy, Pendleton and Roweth, "Hybrid Monte Carlo" (1987); Neal, "MCMC using Hamiltonian dynamics" (2011).
"""

from __future__ import annotations

from interpreters.adaptation import WARMUP
from interpreters.density import Density
from interpreters.hamiltonian.chains import Chains
from interpreters.hamiltonian.machine import Options
from interpreters.hamiltonian.sampling import sampled
from interpreters.hamiltonian.targets import Kernel, Target
from poutine import Coroutine


def hmc(
    target: Target | Density | Kernel,
    num_chains: int = 4,
    num_warmup: int = WARMUP,
    num_draws: int = 1000,
    *,
    num_steps: int = 0,
    length: float = 0.0,
    target_accept: float = 0.8,
    metric: str = "auto",
    step_size: float | None = None,
    threads: int | None = None,
    chunk: int | None = None,
    keep: bool = True,
    period: float = 0.1,
) -> Coroutine[Chains]:
    """Draws from the log density ``target``; give either ``num_steps``, the number of leapfrogs, or ``length``, that of trajectories.

    ``length`` is in units of time of the adapted metric, in which the target has scale one: pi / 2 carries a normal variable to
    independence. At most 1024 leapfrogs are made. The other arguments are those of ``nuts.nuts``.
    """
    if (num_steps > 0) == (length > 0):
        raise ValueError(f"expected either num_steps or length to be positive, got num_steps={num_steps} and length={length}")
    options = Options(target_accept, metric=metric, num_steps=num_steps, length=length, step_size=step_size)
    return (yield from sampled(target, options, num_chains, num_warmup, num_draws, threads=threads, chunk=chunk, keep=keep, period=period))
