"""What a log density and its gradient cost on each tier, and what compiling costs.

``OMP_NUM_THREADS=1 python -m tests.benchmarks.kernels`` prints a table in microseconds a gradient (the best of many), and in
seconds the first start of a model (nothing on disk but what torch keeps) and the second (the library is on disk).
"native" is the call from Python; "by address" what a compiled sampler pays; "by hand" what a plain loop in C++ does, and the
ratio of the two, in which the load of the machine cancels out. Seconds are of the processor, compiler and all.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import torch
import torch.distributions as td
from torch.distributions import constraints

from interpreters.compiled import Kernel, compile_density
from interpreters.density import Density, density
from poutine import ImproperUniform, Observe, Program, Sample, factor, ordered
from tests.benchmarks.handwritten import handwritten
from tests.benchmarks.racing import race, setting

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


@attrs.frozen
class Model:
    """``by_hand``: which of the densities that are written by hand it is; ``data`` are its arguments there, too."""

    name: str
    program: Callable[..., Any]
    data: Sequence[torch.Tensor]
    by_hand: str = ""


def models() -> Iterator[Model]:
    yield Model("eight schools, 10 dims", eight_schools, (10 * normals(8, seed=0), 10 + 2 * normals(8, seed=1).abs()))
    for n, d in ((500, 5), (10_000, 20)):
        x = normals(n, d, seed=2)
        y = (x @ normals(d, seed=3) + normals(n, seed=4) > 0).double()
        yield Model(f"logistic {n} x {d}", logistic, (x, y), "logistic")
    county = torch.randint(85, (919,), generator=torch.Generator().manual_seed(5))
    floor = (normals(919, seed=6) > 0).double()
    yield Model("radon-like, 919 rows, 175 dims", radon, (county, floor, 1.3 - 0.6 * floor + normals(919, seed=7)), "radon")
    yield Model("mixture of two, 1000 rows", mixture, (torch.cat([normals(600, seed=10) - 2, normals(400, seed=11) + 2]),), "mixture")
    yield Model("ARMA(1, 1), 200 steps", recursion, (normals(200, seed=8),))
    yield Model("GARCH(1, 1), 200 steps", garch, (normals(200, seed=8),))


def timed(d: Density, **options: Any) -> tuple[Kernel, float]:
    started = sum(os.times()[:4])
    kernel = compile_density(d, **options)
    return kernel, sum(os.times()[:4]) - started


def row(model: Model, directory: str) -> str:
    """Tiers that do not exist for this model show as the one taken instead."""
    d = density(Program(model.program, *model.data))
    native, first = timed(d, cache_dir=directory)
    _, second = timed(d, cache_dir=directory)
    kernels = [timed(d, tier="eager", cache_dir=directory)[0], native]
    u = 0.3 * normals(d.dim, seed=9)
    contestants: dict[str, Any] = {kernel.tier: lambda kernel=kernel: kernel.value_and_grad(u) for kernel in kernels}
    if native.address:
        contestants["by address"] = by_address(native.address, native.user, u, native)
    if model.by_hand:
        address, user, alive = handwritten(model.by_hand, model.data, Path(directory))
        contestants["by hand"] = by_address(address, user, u, alive)
        assert torch.allclose(contestants["by hand"]()[1], d.value_and_grad(u)[1], rtol=1e-8)
    best = race(contestants, rounds=20)
    cells = [f"{best[name]:10.2f}" if name in best else f"{'-':>10}" for name in ("eager", "native", "by address", "by hand")]
    ratio = f"{best['by address'] / best['by hand']:10.2f}" if {"by address", "by hand"} <= set(best) else f"{'-':>10}"
    return f"{model.name:32}{''.join(cells)}{ratio}{first:10.2f}{second:10.2f}"


def by_address(address: int, user: int, u: torch.Tensor, alive: Any) -> Any:
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, *[ctypes.c_void_p] * 4)(address)
    value, gradient = torch.empty((), dtype=F64), torch.empty(len(u), dtype=F64)
    arguments = (len(u), u.data_ptr(), gradient.data_ptr(), value.data_ptr(), user)

    def call() -> tuple[torch.Tensor, torch.Tensor]:
        function(*arguments)
        return value, gradient  # and so they live as long as this function, as does ``alive``

    call.alive = alive  # type: ignore[attr-defined]
    return call


def main() -> None:
    print(setting("torch"))
    print("".join([" " * 32, *(f"{head:>10}" for head in ("eager", "native", "by address", "by hand", "ratio", "1st, s", "2nd, s"))]))
    with tempfile.TemporaryDirectory() as directory:
        for model in models():
            print(row(model, directory), flush=True)


if __name__ == "__main__":
    main()
