"""What the log evidence of a hidden Markov model, and its gradient, cost. Run: python -m tests.benchmarks.enumeration

16 states, parameters of the transitions and locations, 50 and 500 steps, double precision, in one process. "tree scan" is the same
computation written by hand in torch, without any program: log matrices are multiplied by halves. "recorded" is what a loop that trains a model
calls, ``interpreters.evidence``; the other two of ours, and Pyro, run the program anew at every call, ours without the plain run that
compares (``max_plate_nesting=1``). Pyro is without validation; NumPyro is compiled before, and is left out where it, or funsor, is not installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
import torch.distributions as td

from interpreters.elimination import eliminate
from interpreters.evidence import evidence
from poutine import Observe, Program, Sample, markov
from tests.benchmarks.racing import race, setting

F64: Final = torch.float64
STATES: Final = 16
Contestant = Callable[[], Any]


def parameters() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(STATES, STATES, dtype=F64, generator=generator).requires_grad_(),
        (3 * torch.randn(STATES, dtype=F64, generator=generator)).requires_grad_(),
    )


def data(steps: int) -> torch.Tensor:
    return 3 * torch.randn(steps, dtype=F64, generator=torch.Generator().manual_seed(1))


def hidden_markov_model(logits: torch.Tensor, locations: torch.Tensor, y: torch.Tensor, vectorized: bool) -> Any:
    @markov("time", len(y), vectorized=vectorized)
    def step(t: Any, x: Any) -> Any:
        x = yield Sample("x", td.Categorical, logits=torch.zeros(STATES, dtype=F64) if x is None else logits[x])
        yield Observe("y", td.Normal, y[t], locations[x], 1.0)
        return x

    yield from step()


def ours(y: torch.Tensor, vectorized: bool = True) -> Contestant:
    logits, locations = parameters()

    def call() -> tuple[torch.Tensor, Any]:
        value = eliminate(Program(hidden_markov_model, logits, locations, y, vectorized), max_plate_nesting=1).log_evidence
        return value, torch.autograd.grad(value, [logits, locations])

    return call


def recorded(y: torch.Tensor) -> Contestant:
    logits, locations = parameters()
    log_evidence = evidence(Program(hidden_markov_model, logits, locations, y, True))

    def call() -> tuple[torch.Tensor, Any]:
        value = log_evidence()
        return value, torch.autograd.grad(value, [logits, locations])

    return call


def tree_scan(y: torch.Tensor) -> Contestant:
    logits, locations = parameters()

    def times(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        most_a, most_b = a.detach().amax(-1, keepdim=True), b.detach().amax(-2, keepdim=True)
        return ((a - most_a).exp() @ (b - most_b).exp()).log() + most_a + most_b

    def call() -> tuple[torch.Tensor, Any]:
        emission = -0.5 * (y[:, None] - locations) ** 2 - 0.918938533204672741780
        matrices = logits.log_softmax(-1) + emission[1:, None, :]
        while (n := len(matrices)) > 1:
            even = n // 2 * 2
            halved = times(matrices[0:even:2], matrices[1:even:2])
            matrices = torch.cat([halved, matrices[even:]]) if n % 2 else halved
        first = torch.zeros(STATES, dtype=F64).log_softmax(-1) + emission[0]
        value = (first[:, None] + matrices[0]).logsumexp((0, 1))
        return value, torch.autograd.grad(value, [logits, locations])

    return call


def pyro_contestants(y: torch.Tensor) -> Iterator[tuple[str, Contestant]]:
    import pyro  # an oracle: of the benchmarks alone
    import pyro.distributions as dist
    from pyro.infer import TraceEnum_ELBO
    from pyro.infer.enum import config_enumerate

    logits, locations = parameters()

    @config_enumerate
    def sequential() -> None:
        x: Any = None
        for t in pyro.markov(range(len(y))):
            x = pyro.sample(f"x_{t}", dist.Categorical(logits=torch.zeros(STATES, dtype=F64) if x is None else logits[x]))
            pyro.sample(f"y_{t}", dist.Normal(locations[x], 1.0), obs=y[t])

    elbo = TraceEnum_ELBO(max_plate_nesting=0)

    def call() -> tuple[torch.Tensor, Any]:
        with pyro.validation_enabled(False):
            value = -elbo.differentiable_loss(sequential, lambda: None)
            return value, torch.autograd.grad(value, [logits, locations])

    yield "Pyro TraceEnum_ELBO", call


def numpyro_contestants(y: torch.Tensor) -> Iterator[tuple[str, Contestant]]:
    if any(importlib.util.find_spec(package) is None for package in ("numpyro", "funsor")):
        return
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.contrib.control_flow import scan
    from numpyro.contrib.funsor import config_enumerate, enum
    from numpyro.contrib.funsor import log_density as funsor_log_density

    jax.config.update("jax_enable_x64", True)
    logits, locations, observed = (jnp.asarray(x.detach().numpy()) for x in (*parameters(), y))

    def model(logits: Any, locations: Any) -> None:
        def transition(x: Any, seen: Any) -> Any:
            x = numpyro.sample("x", dist.Categorical(logits=logits[x]), infer={"enumerate": "parallel"})
            numpyro.sample("y", dist.Normal(locations[x], 1.0), obs=seen)
            return x, None

        x = numpyro.sample("x0", dist.Categorical(logits=jnp.zeros(STATES)), infer={"enumerate": "parallel"})
        numpyro.sample("y0", dist.Normal(locations[x], 1.0), obs=observed[0])
        scan(transition, x, observed[1:])

    enumerated = enum(config_enumerate(model), -1)
    value_and_grad = jax.jit(jax.value_and_grad(lambda a, b: funsor_log_density(enumerated, (a, b), {}, {})[0], argnums=(0, 1)))

    def call() -> Any:
        return jax.block_until_ready(value_and_grad(logits, locations))

    yield "NumPyro", call


def contestants(steps: int) -> Iterator[tuple[str, Contestant]]:
    y = data(steps)
    yield "tree scan", tree_scan(y)
    yield "markov, vectorized, recorded", recorded(y)
    yield "markov, vectorized", ours(y)
    yield "markov, step by step", ours(y, vectorized=False)
    yield from pyro_contestants(y)
    yield from numpyro_contestants(y)


def main() -> None:
    print(setting("torch", "pyro-ppl"))
    print(f"{'hidden Markov model, 16 states':32}{'steps':>7}{'ms':>10}{'ratio':>8}{'log evidence':>16}")
    for steps in (50, 500):
        running = dict(contestants(steps))
        best = race(running, rounds=10)
        for name, contestant in running.items():
            value = torch.as_tensor(contestant()[0].tolist()).item()
            print(f"{name:32}{steps:7}{best[name] / 1000:10.2f}{best[name] / best['tree scan']:8.2f}{value:16.8f}", flush=True)


if __name__ == "__main__":
    main()
