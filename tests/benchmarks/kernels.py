"""What a log density and its gradient cost as a kernel, what NUTS makes of it, and what compiling costs.

``OMP_NUM_THREADS=1 python -m tests.benchmarks.kernels`` prints, in microseconds, the best of many: a gradient by autograd
("eager"), by the kernel's address from a compiled loop ("kernel"), by a plain loop in C++ ("by hand") and the ratio of the two,
and a leapfrog of a run of NUTS, draws and all. Then, in seconds, the first start of a model (nothing on disk; the first row has
torch's imports in it) and the second (the library is on disk), of the processor, compiler and all.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import torch
import torch.distributions as td
from torch.distributions import constraints

from interpreters.compiled import Kernel, compile_density
from interpreters.density import Density, density
from interpreters.hamiltonian.machine import STATISTICS
from interpreters.hamiltonian.notices import NoticePoutine
from interpreters.nuts import nuts
from poutine import ImproperUniform, Observe, Program, Sample, factor, markov, ordered, run
from tests.benchmarks.handwritten import handwritten
from tests.benchmarks.racing import race, setting
from tests.benchmarks.samplers.by_address import time_of
from tests.benchmarks.samplers.in_poutine import MODELS
from tests.benchmarks.samplers.problems import PROBLEMS
from tests.benchmarks.samplers.with_poutine import tensors

F64: Final = torch.float64


def normals(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def eight_schools(y: torch.Tensor, sigma: torch.Tensor) -> Any:
    mu = yield Sample("mu", td.Normal(0.0, 5.0))
    tau = yield Sample("tau", td.HalfCauchy(5.0))
    z = yield Sample("z", td.Normal(torch.zeros(8, dtype=F64), 1.0))
    yield Observe("y", td.Normal(mu + tau * z, sigma), y)


def logistic(x: torch.Tensor, y: torch.Tensor) -> Any:
    a = yield Sample("a", td.Normal(0.0, 1.0))
    b = yield Sample("b", td.Normal(torch.zeros(x.shape[1], dtype=F64), 1.0))
    yield Observe("y", td.Bernoulli(logits=a + x @ b), y)


def radon(county: torch.Tensor, floor: torch.Tensor, y: torch.Tensor) -> Any:
    """Varying intercepts and slopes, non-centred: 175 dimensions for 85 counties."""
    locations = yield Sample("locations", td.Normal(torch.zeros(2, dtype=F64), 5.0))
    scales = yield Sample("scales", td.HalfCauchy(torch.ones(2, dtype=F64)))
    z = yield Sample("z", td.Normal(torch.zeros(2, 85, dtype=F64), 1.0))
    sigma = yield Sample("sigma", td.HalfCauchy(torch.ones((), dtype=F64)))
    intercept, slope = locations[:, None] + scales[:, None] * z
    yield Observe("y", td.Normal(intercept[county] + slope[county] * floor, sigma), y)


def recursion(y: torch.Tensor) -> Any:
    """ARMA(1, 1): a loop over time in Python."""
    mu = yield Sample("mu", td.Normal(0.0, 10.0))
    phi = yield Sample("phi", td.Normal(0.0, 2.0))
    theta = yield Sample("theta", td.Normal(0.0, 2.0))
    sigma = yield Sample("sigma", td.HalfCauchy(2.5))
    errors = [y[0] - mu - phi * mu]
    for before, now in zip(y[:-1], y[1:], strict=True):
        errors.append(now - mu - phi * before - theta * errors[-1])
    yield Observe("y", td.Normal(0.0, sigma), torch.stack(errors))


def garch(y: torch.Tensor) -> Any:
    """GARCH(1, 1), of which each variance needs the one before."""
    mu = yield Sample("mu", td.Normal(torch.zeros((), dtype=F64), 5.0))
    level = yield Sample("level", td.LogNormal(torch.zeros((), dtype=F64), 1.0))
    shock = yield Sample("shock", td.Uniform(torch.zeros((), dtype=F64), 1.0))
    memory = yield Sample("memory", td.Uniform(torch.zeros((), dtype=F64), 1.0 - shock))
    variances = [torch.ones((), dtype=F64)]
    for before in y[:-1]:
        variances.append(level + shock * (before - mu) ** 2 + memory * variances[-1])
    yield Observe("y", td.Normal(mu, torch.stack(variances).sqrt()), y)


def mixture(y: torch.Tensor) -> Any:
    """Two normals, in order; a weight."""
    means = yield Sample("means", ImproperUniform(ordered, event_shape=(2,)))
    scales = yield Sample("scales", ImproperUniform(constraints.positive, event_shape=(2,)))
    weight = yield Sample("weight", td.Beta(torch.tensor(5.0, dtype=F64), 5.0))
    yield factor("prior", -0.125 * (means**2).sum() - 0.125 * (scales**2).sum())
    each: torch.Tensor = td.Normal(means, scales).log_prob(y[:, None])  # type: ignore[no-untyped-call]
    yield factor("y", torch.logaddexp(weight.log() + each[:, 0], (-weight).log1p() + each[:, 1]).sum())


def hidden(y: torch.Tensor, vectorized: bool) -> Any:
    """Three hidden states, summed out: all steps at once, or one after the other."""
    rows = yield Sample("rows", td.Independent(td.Dirichlet(torch.ones(3, 3, dtype=F64)), 1))
    loc = yield Sample("loc", td.Independent(td.Normal(torch.tensor([-2.0, 0.0, 2.0], dtype=F64), 1.0), 1))

    @markov("time", len(y), vectorized=vectorized)
    def step(t: Any, x: Any) -> Any:
        x = yield Sample("x", td.Categorical(torch.ones(3, dtype=F64) / 3 if x is None else rows[x]))
        yield Observe("y", td.Normal(loc[x], 1.0), y[t])
        return x

    yield from step()


@attrs.frozen
class Model:
    """``by_hand``: which of the densities that are written by hand it is; ``data`` are its arguments there, too."""

    name: str
    program: Program[Any]
    by_hand: str = ""

    @property
    def data(self) -> tuple[torch.Tensor, ...]:
        return self.program.args


def models() -> Iterator[Model]:
    schools = Program(eight_schools, 10 * normals(8, seed=0), 10 + 2 * normals(8, seed=1).abs())
    yield Model("eight schools, 10 dims", schools, "eight_schools")
    for name in ("kidscore_momhsiq", "arK", "gp_regr"):
        yield Model(name, Program(MODELS[name], **tensors(PROBLEMS[name]())))
    for n, d in ((500, 5), (10_000, 20)):
        x = normals(n, d, seed=2)
        y = (x @ normals(d, seed=3) + normals(n, seed=4) > 0).double()
        yield Model(f"logistic {n} x {d}", Program(logistic, x, y), "logistic")
    county = torch.randint(85, (919,), generator=torch.Generator().manual_seed(5))
    floor = (normals(919, seed=6) > 0).double()
    yield Model("radon-like, 919 rows, 175 dims", Program(radon, county, floor, 1.3 - 0.6 * floor + normals(919, seed=7)), "radon")
    two = torch.cat([normals(600, seed=10) - 2, normals(400, seed=11) + 2])
    yield Model("mixture of two, 1000 rows", Program(mixture, two), "mixture")
    yield Model("ARMA(1, 1), 200 steps", Program(recursion, normals(200, seed=8)))
    yield Model("GARCH(1, 1), 200 steps", Program(garch, normals(200, seed=8)))
    yield Model("hidden Markov, 200 at once", Program(hidden, normals(200, seed=8), True))
    yield Model("hidden Markov, 50 in turn", Program(hidden, normals(50, seed=8), False))


def timed(d: Density, **options: Any) -> tuple[Kernel, float]:
    started = sum(os.times()[:4])
    kernel = compile_density(d, **options)
    return kernel, sum(os.times()[:4]) - started


def row(model: Model, directory: str) -> str:
    d = density(model.program)
    kernel, first = timed(d, cache_dir=directory)
    _, second = timed(d, cache_dir=directory)
    u = torch.full((d.dim,), 0.1, dtype=F64)
    eager = race({"eager": lambda: d.value_and_grad(u)}, rounds=20)["eager"]
    own = time_of(kernel.address, kernel.user, d.dim) if kernel.address else None
    by_hand = time_by_hand(model, d, directory) if model.by_hand else None
    cells = eager, own, by_hand, own / by_hand if own and by_hand else None, per_leapfrog(kernel) if own else None, first, second
    return f"{model.name:32}" + "".join(f"{'-':>10}" if cell is None else f"{cell:10.2f}" for cell in cells)


def time_by_hand(model: Model, d: Density, directory: str) -> float:
    """Of what gives the same gradient."""
    function, address, user, alive = handwritten(model.by_hand, model.data, Path(directory))
    u = 0.3 * normals(d.dim, seed=9)
    assert torch.allclose(function(u), d.value_and_grad(u)[1], rtol=1e-8)
    taken = time_of(address, user, d.dim)
    del alive
    return taken


def per_leapfrog(kernel: Kernel) -> float:
    """Microseconds: a run of one chain over its leapfrogs, the best of a few."""
    return min(_run(kernel, seed) for seed in range(4))


def _run(kernel: Kernel, seed: int) -> float:
    steps: list[float] = []
    column = STATISTICS.index("n_steps")
    counted = NoticePoutine(nuts, chunk=lambda chunk: steps.append(float(chunk.part.statistics[:, column].sum())))
    started = time.process_time()
    run(counted(kernel, 1, 300, 300), seed=seed)
    return (time.process_time() - started) / sum(steps) * 1e6


def main() -> None:
    print(setting("torch"))
    heads = "eager", "kernel", "by hand", "ratio", "leapfrog", "1st, s", "2nd, s"
    print(" " * 32 + "".join(f"{head:>10}" for head in heads), flush=True)
    with tempfile.TemporaryDirectory() as directory:
        for model in models():
            print(row(model, directory), flush=True)


if __name__ == "__main__":
    main()
