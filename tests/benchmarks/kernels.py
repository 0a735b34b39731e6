"""What a log density and its gradient cost on each tier, and what compiling costs.

``OMP_NUM_THREADS=1 python -m tests.benchmarks.kernels`` prints a table in microseconds a gradient (the best of many), and in
seconds the first start of a model (nothing on disk but what torch keeps) and the second (the library is on disk).
"native" is the call from Python; "by address" what a compiled sampler pays.
"""

from __future__ import annotations

import ctypes
import tempfile
import time
from collections.abc import Iterator
from typing import Any, Final

import torch
import torch.distributions as td

from interpreters.compiled import Kernel, compile_density
from interpreters.density import Density, density
from poutine import Observe, Program, Sample
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


def models() -> Iterator[tuple[str, Program[Any]]]:
    yield "eight schools, 10 dims", Program(eight_schools, 10 * normals(8, seed=0), 10 + 2 * normals(8, seed=1).abs())
    for n, d in ((500, 5), (10_000, 20)):
        x = normals(n, d, seed=2)
        yield f"logistic {n} x {d}", Program(logistic, x, (x @ normals(d, seed=3) + normals(n, seed=4) > 0).double())
    county = torch.randint(85, (919,), generator=torch.Generator().manual_seed(5))
    floor = (normals(919, seed=6) > 0).double()
    yield "radon-like, 919 rows, 175 dims", Program(radon, county, floor, 1.3 - 0.6 * floor + normals(919, seed=7))
    yield "ARMA(1, 1), 200 steps", Program(recursion, normals(200, seed=8))


def timed(d: Density, **options: Any) -> tuple[Kernel, float]:
    started = time.perf_counter()
    kernel = compile_density(d, **options)
    return kernel, time.perf_counter() - started


def row(name: str, d: Density, directory: str) -> str:
    """Tiers that do not exist for this model show as the one taken instead."""
    native, first = timed(d, cache_dir=directory)
    _, second = timed(d, cache_dir=directory)
    kernels = [timed(d, tier=tier, cache_dir=directory)[0] for tier in ("eager", "callable")]
    u = 0.3 * normals(d.dim, seed=9)
    contestants: dict[str, Any] = {kernel.tier: lambda kernel=kernel: kernel.value_and_grad(u) for kernel in (*kernels, native)}
    if native.address:
        contestants["by address"] = by_address(native, u)
    best = race(contestants, rounds=20)
    cells = [f"{best[tier]:10.2f}" if tier in best else f"{'-':>10}" for tier in ("eager", "callable", "native", "by address")]
    return f"{name:32}{''.join(cells)}{first:10.2f}{second:10.2f}"


def by_address(kernel: Kernel, u: torch.Tensor) -> Any:
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, *[ctypes.c_void_p] * 4)(kernel.address)
    value, gradient = torch.empty((), dtype=F64), torch.empty(kernel.dim, dtype=F64)
    arguments = (kernel.dim, u.data_ptr(), gradient.data_ptr(), value.data_ptr(), kernel.user)

    def call() -> tuple[torch.Tensor, torch.Tensor]:
        function(*arguments)
        return value, gradient  # and so they live as long as this function

    return call


def main() -> None:
    print(setting("torch"))
    print(f"{'':32}{'eager':>10}{'callable':>10}{'native':>10}{'by address':>10}{'1st, s':>10}{'2nd, s':>10}")
    with tempfile.TemporaryDirectory() as directory:
        for name, program in models():
            print(row(name, density(program), directory), flush=True)


if __name__ == "__main__":
    main()
