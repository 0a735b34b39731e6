"""Compiled log densities: the same numbers as autograd on every tier, the second time and on new data too; what falls back, and why."""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import attrs
import pytest
import torch
import torch.distributions as td
from torch.distributions import constraints

from interpreters.compiled import compile_density
from interpreters.density import density
from interpreters.errors import StructureChanged
from interpreters.kernels.cpp import build
from interpreters.kernels.decompositions import decompositions
from interpreters.kernels.gradients import grad_and_value
from interpreters.kernels.graphs import NotStraight
from interpreters.kernels.recording import record
from interpreters.kernels.tracing import lower
from poutine import ImproperUniform, Observe, Program, Sample, factor, mask, ordered

F64 = torch.float64
ROOT = Path(__file__).parent.parent.parent


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=F64)


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def eight_schools(y: torch.Tensor):
    mu = yield Sample("mu", td.Normal(0.0, 5.0))
    tau = yield Sample("tau", td.HalfCauchy(5.0))
    z = yield Sample("z", td.Normal(torch.zeros(8, dtype=F64), 1.0))
    yield Observe("y", td.Normal(mu + tau * z, 12.0), y)


def logistic(x: torch.Tensor, y: torch.Tensor):
    a = yield Sample("a", td.Normal(0.0, 1.0))
    b = yield Sample("b", td.Normal(torch.zeros(x.shape[1], dtype=F64), 1.0))
    yield Observe("y", td.Bernoulli(logits=a + x @ b), y)


def varying(county: torch.Tensor, y: torch.Tensor):
    m = yield Sample("m", td.Normal(0.0, 1.0))
    s = yield Sample("s", td.Gamma(number(2.0), 1.0))
    a = yield Sample("a", td.Normal(m.expand(5), s))
    yield Observe("y", td.StudentT(4.0, a[county], 1.0), y)


def gaussian_process():
    x = torch.linspace(-2, 2, 6, dtype=F64)
    rho = yield Sample("rho", td.LogNormal(number(0.0), 1.0))
    covariance = torch.exp(-0.5 * ((x[:, None] - x) / rho) ** 2) + 0.1 * torch.eye(6, dtype=F64)
    yield Observe("y", td.MultivariateNormal(torch.zeros(6, dtype=F64), covariance), x.sin())


def correlated(y: torch.Tensor):
    factor_ = yield Sample("L", td.LKJCholesky(3, number(2.0)))
    sd = yield Sample("sd", td.LogNormal(torch.zeros(3, dtype=F64), 1.0))
    yield Observe("y", td.MultivariateNormal(torch.zeros(3, dtype=F64), scale_tril=sd[:, None] * factor_), y)


def mixture(y: torch.Tensor):
    weights = yield Sample("w", td.Dirichlet(torch.full((3,), 2.0, dtype=F64)))
    means = yield Sample("m", ImproperUniform(ordered, event_shape=(3,)))
    yield factor("prior", -0.5 * (means**2).sum())
    yield Observe("y", td.MixtureSameFamily(td.Categorical(weights), td.Normal(means, 1.0)), y)


def masked():
    a = yield Sample("a", td.Uniform(number(0.0), 2.0))
    seen = torch.tensor([True, False, True])
    yield from mask(lambda: (yield Observe("y", td.Poisson(a.expand(3)), torch.tensor([1.0, -1.0, 3.0], dtype=F64))), mask=seen)()


def bounded():
    a = yield Sample("a", td.Beta(number(2.0), 3.0))
    b = yield Sample("b", td.Uniform(number(0.0), 1.0 + a))
    c = yield Sample("c", ImproperUniform(constraints.real, (4,)))
    yield Observe("y", td.NegativeBinomial(3.0, logits=(a * b * c).sum()), number(2.0))


def eight(shift: float = 0.0) -> Program[None]:
    return Program(eight_schools, normals(8) + shift)


X = normals(1200, 20, seed=1)  # large enough for a call of BLAS
MODELS = {
    "eight schools": eight(),
    "varying": Program(varying, torch.arange(40) % 5, normals(40)),
    "masked": Program(masked),
    "bounded": Program(bounded),
    "mixture": Program(mixture, normals(20)),
    "large logistic": Program(logistic, X, (X[:, 0] > 0).double()),
    "gaussian process": Program(gaussian_process),
    "correlated": Program(correlated, normals(7, 3)),
}


def agrees(kernel, d):
    """On points that the compiler did not look at, each of them twice."""
    for _ in range(2):
        for seed in range(3):
            u = normals(d.dim, seed=100 + seed) * 0.7
            value, gradient = kernel.value_and_grad(u)
            expected, expected_gradient = d.value_and_grad(u)
            assert torch.isclose(value, expected, rtol=1e-9)
            assert torch.allclose(gradient, expected_gradient, rtol=1e-7, atol=1e-8)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_native(name: str, directory: Path):
    d = density(MODELS[name])
    kernel = compile_density(d, cache_dir=directory)
    assert (kernel.tier, kernel.dim) == ("native", d.dim)
    agrees(kernel, d)


def moving_average(y: torch.Tensor):
    """A recursion over time, of numbers."""
    mu = yield Sample("mu", td.Normal(0.0, 1.0))
    theta = yield Sample("theta", td.Normal(0.0, 1.0))
    sigma = yield Sample("sigma", td.HalfCauchy(2.5))
    errors = [y[0] - mu]
    for now in y[1:]:
        errors.append(now - mu - theta * errors[-1])
    yield Observe("y", td.Normal(0.0, sigma), torch.stack(errors))


def volatility(y: torch.Tensor):
    """A recursion over time, that reads and gathers gradients of the entries of a vector."""
    a = yield Sample("a", td.Uniform(number(0.0), 1.0))
    b = yield Sample("b", td.Uniform(number(0.0), 1.0 - a))
    mu = yield Sample("mu", td.Normal(0.0, 1.0))
    squares = (y - mu) ** 2
    variances = [number(1.0)]
    for t in range(1, len(y)):
        variances.append(0.1 + a * squares[t - 1] + b * variances[-1])
    yield Observe("y", td.Normal(mu, torch.stack(variances).sqrt()), y)


def hidden(y: torch.Tensor):
    """A recursion over time, of small vectors and matrices."""
    stay = yield Sample("stay", td.Dirichlet(torch.ones(2, 2, dtype=F64)))
    mu = yield Sample("mu", ImproperUniform(ordered, event_shape=(2,)))
    yield factor("prior", -0.5 * (mu**2).sum())
    forward = td.Normal(mu, 1.0).log_prob(y[0])
    for now in y[1:]:
        forward = torch.logsumexp(forward[:, None] + stay.log(), 0) + td.Normal(mu, 1.0).log_prob(now)
    yield factor("marginal", torch.logsumexp(forward, 0))


@pytest.mark.slow
@pytest.mark.parametrize("model", [Program(moving_average, normals(110)), Program(volatility, normals(70)), Program(hidden, normals(35))])
def test_recursions_are_unrolled(model: Program[None], directory: Path):
    d = density(model)
    u = normals(d.dim)
    assert grad_and_value(record(d, u), u, decompositions()).has_loops
    kernel = compile_density(d, cache_dir=directory)
    assert kernel.tier == "native"
    agrees(kernel, d)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eight schools", "gaussian process"])
def test_callable(name: str, directory: Path):
    d = density(MODELS[name])
    kernel = compile_density(d, tier="callable", cache_dir=directory)
    assert (kernel.tier, kernel.address, kernel.user) == ("callable", 0, 0)
    agrees(kernel, d)


def test_eager():
    d = density(eight())
    kernel = compile_density(d, tier="eager")
    assert (kernel.tier, kernel.address, kernel.user) == ("eager", 0, 0)
    agrees(kernel, d)


def test_a_tier_that_there_is_not():
    with pytest.raises(ValueError, match="vectorised"):
        compile_density(density(eight()), tier="vectorised")


def test_a_program_without_latent_sites():
    with pytest.raises(ValueError, match="no continuous latent site"):
        compile_density(density(Program(lambda: (yield factor("f", 1.0)))))


@pytest.mark.slow
def test_other_data_of_the_same_shapes_is_the_same_library(directory: Path):
    first = compile_density(density(eight()), cache_dir=directory)
    libraries = set(directory.glob("*.so"))
    other = density(eight(3.0))
    second = compile_density(other, cache_dir=directory)
    assert set(directory.glob("*.so")) == libraries
    agrees(second, other)
    agrees(first, density(eight()))


@pytest.mark.slow
def test_the_second_start_traces_nothing_and_reads_what_the_first_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    d = density(Program(moving_average, normals(110)))
    first = compile_density(d, cache_dir=tmp_path)
    (remembered,) = tmp_path.glob("*.constants")
    with monkeypatch.context() as patch:
        patch.setattr("interpreters.compiled.grad_and_value", None)
        second = compile_density(d, cache_dir=tmp_path)
    assert (first.tier, second.tier) == ("native", "native")
    agrees(second, d)
    other = density(Program(moving_average, normals(110, seed=1)))
    agrees(compile_density(other, cache_dir=tmp_path), other)
    remembered.write_bytes(b"not what was written")
    agrees(compile_density(d, cache_dir=tmp_path), d)


LOGGED = """
import logging, sys, torch, torch.distributions as td
from interpreters.compiled import compile_density
from interpreters.density import density
from interpreters.errors import StructureChanged
from poutine import Sample
logging.basicConfig(level=logging.INFO)
print(compile_density(density(lambda: (yield Sample("x", td.Normal(0.0, 1.0)))), cache_dir=sys.argv[1]).tier)
"""


@pytest.mark.slow
@pytest.mark.parametrize("left", [40, 5000])
def test_a_damaged_library_is_built_anew(left: int, tmp_path: Path):
    """As a full disk, or a machine that was switched off, leaves it. In a process of its own: a library that is loaded stays."""
    command = [sys.executable, "-c", LOGGED, str(tmp_path)]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        assert done.stdout.strip() == "native"
        assert "not native" not in done.stderr
        (library,) = tmp_path.glob("*.so")
        whole = library.read_bytes()
        library.unlink()
        library.write_bytes(whole[:left])


@pytest.mark.slow
def test_where_the_directory_cannot_be_written_the_kernel_lives_with_the_process(tmp_path: Path):
    d = density(Program(moving_average, normals(110)))
    (tmp_path / "file").touch()
    kernel = compile_density(d, cache_dir=tmp_path / "file" / "kernels")
    assert kernel.tier == "native"
    agrees(kernel, d)


@pytest.mark.slow
def test_where_the_disk_is_full_the_kernel_lives_with_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(cpp: Path, library: Path, calls_blas: bool, width: int) -> None:
        if tmp_path in library.parents:
            raise OSError(28, "No space left on device")
        build(cpp, library, calls_blas, width)

    monkeypatch.setattr("interpreters.compiled.build", full)
    d = density(eight())
    kernel = compile_density(d, cache_dir=tmp_path)
    assert kernel.tier == "native"
    agrees(kernel, d)


def test_an_index_that_is_out_of_range_is_the_error_of_eager_code(tmp_path: Path):
    def model():
        a = yield Sample("a", td.Normal(torch.zeros(5, dtype=F64), 1.0))
        yield Observe("y", td.Normal(a[torch.tensor([0, 5])], 1.0), normals(2))

    with pytest.raises(IndexError, match="index 5 is out of bounds"):
        compile_density(density(model), cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_kernel_keeps_the_data_that_it_was_made_with(directory: Path):
    y = normals(8)
    d = density(Program(eight_schools, y.clone()))
    kernel = compile_density(density(Program(eight_schools, y)), cache_dir=directory)
    y.zero_()
    agrees(kernel, d)


@pytest.mark.slow
def test_the_function_keeps_what_it_reads_alive(directory: Path):
    """Who keeps the function alone, as the batched sampler does, has all of the kernel."""
    d = density(Program(varying, torch.arange(40) % 5, normals(40)))

    def function():
        kernel = compile_density(d, cache_dir=directory)
        assert kernel.tier == "native"
        return kernel.value_and_grad

    only = attrs.make_class("Only", ["value_and_grad"])(function())
    gc.collect()
    junk = [torch.full((n,), 7.0, dtype=F64) for n in (1, 2, 5, 40) for _ in range(300)]
    agrees(only, d)
    assert len(junk) == 1200


@pytest.mark.slow
def test_by_address_from_several_threads_at_once(directory: Path):
    d = density(MODELS["large logistic"])
    kernel = compile_density(d, cache_dir=directory)
    assert kernel.tier == "native"
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, *[ctypes.c_void_p] * 4)(kernel.address)
    wrong: list[int] = []

    def work(seed: int) -> None:
        u = normals(d.dim, seed=seed) * 0.5
        expected, expected_gradient = d.value_and_grad(u)
        value, gradient = number(0.0), torch.zeros(d.dim, dtype=F64)
        for _ in range(200):
            status = function(d.dim, u.data_ptr(), gradient.data_ptr(), value.data_ptr(), kernel.user)
            if status or not torch.isclose(value, expected) or not torch.allclose(gradient, expected_gradient):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize("tier", ["native", "callable"])
def test_compiling_on_several_threads_at_once(tier: str, tmp_path: Path):
    """And a module that is called meanwhile is called as ever."""
    start, tiers, linear = threading.Barrier(4), list[str](), torch.nn.Linear(2, 2)
    plain = linear(torch.ones(2))

    def work(size: int) -> None:
        d = density(Program(eight_schools, normals(8, seed=size)) if size == 8 else Program(logistic, normals(9, size), torch.ones(9)))
        start.wait()
        kernel = compile_density(d, tier=tier, cache_dir=tmp_path)
        tiers.append(kernel.tier)
        agrees(kernel, d)

    threads = [threading.Thread(target=work, args=(size,)) for size in (2, 3, 8)]
    for thread in threads:
        thread.start()
    start.wait()
    while any(thread.is_alive() for thread in threads):
        assert torch.equal(linear(torch.ones(2)), plain)
    assert tiers == [tier] * 3


@pytest.mark.slow
def test_what_is_asked_must_fit(directory: Path):
    kernel = compile_density(density(eight()), cache_dir=directory)
    with pytest.raises(ValueError, match=r"expected 10 numbers in double precision, got torch.float64 of shape \(9,\)"):
        kernel.value_and_grad(torch.zeros(9, dtype=F64))
    with pytest.raises(ValueError, match="got torch.float32"):
        kernel.value_and_grad(torch.zeros(10, dtype=torch.float32))
    strided = normals(10, 2)[:, 0]
    assert torch.equal(kernel.value_and_grad(strided)[1], kernel.value_and_grad(strided.contiguous())[1])


@pytest.mark.slow
def test_far_out_it_is_not_finite_and_no_error(directory: Path):
    def model():
        s = yield Sample("s", ImproperUniform(constraints.real, (2,)))
        covariance = torch.diag_embed(s) + torch.eye(2, dtype=F64)
        yield Observe("y", td.MultivariateNormal(torch.zeros(2, dtype=F64), covariance), torch.ones(2, dtype=F64))

    d = density(model)
    off = torch.tensor([-3.0, 0.5], dtype=F64)
    for tier in ("native", "callable", "eager"):
        kernel = compile_density(d, tier=tier, cache_dir=directory)
        assert kernel.tier == tier
        assert not torch.isfinite(kernel.value_and_grad(off)[0])
        assert torch.isfinite(kernel.value_and_grad(-off)[0])


@pytest.mark.slow
def test_a_machine_without_a_compiler(tmp_path: Path):
    environment = os.environ | {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    command = [sys.executable, "-c", LOGGED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, cwd=ROOT)
    assert done.stdout.strip() == "eager"
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("INFO:interpreters.compiled:"))
    assert re.search(r"tier eager; not native: .*no-such-compiler.*; not callable: ", line)
    assert not list(tmp_path.glob("*.so"))


def branching():
    x = yield Sample("x", td.Normal(number(0.0), 1.0))
    yield factor("f", -x if x > 0 else x)


def rolling():
    x = yield Sample("x", td.Normal(number(0.0), 1.0))
    yield factor("f", x * torch.rand((), dtype=F64, generator=torch.Generator().manual_seed(0)))


def selecting():
    x = yield Sample("x", td.Normal(torch.zeros(3, dtype=F64), 1.0))
    yield factor("f", x[x > 0].sum())


@pytest.mark.parametrize(("model", "reason"), [
    (branching, "data-dependent|tracing tensor"),
    (rolling, "rand.generator"),
    (selecting, "depends on the values"),
])  # fmt: skip
def test_what_cannot_be_traced_is_eager_and_the_log_says_why(model, reason, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    d = density(model)
    with caplog.at_level(logging.INFO, logger="interpreters.compiled"):
        kernel = compile_density(d, cache_dir=tmp_path)
    assert kernel.tier == "eager"
    (record,) = caplog.records
    assert model.__name__ in record.message
    assert re.search(reason, record.message)
    agrees(kernel, d)


@pytest.mark.slow
def test_a_kernel_that_disagrees_is_not_used(tmp_path: Path):
    """A function whose gradient, as it says, is not its derivative, as a broken kernel's would not be."""

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return 2.0 * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, gradient):
            return 3.0 * gradient

    def model():
        x = yield Sample("x", td.Normal(number(0.0), 1.0))
        yield factor("f", Doubled.apply(x))

    with pytest.warns(RuntimeWarning, match="disagrees with autograd and is not used"):
        kernel = compile_density(density(model), tier="callable", cache_dir=tmp_path)
    assert kernel.tier == "eager"


def far(start: float) -> Program[None]:
    """No density below ``start``."""

    def model():
        x = yield Sample("x", td.Normal(number(0.0), 1.0))
        yield factor("f", torch.where(x > start, x**3, -math.inf))

    return Program(model)


@pytest.mark.slow
def test_a_kernel_is_compared_where_the_density_is_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Not at the first points: it is -inf there, and a wrong gradient passed."""
    d = density(far(2.2))
    assert compile_density(d, tier="callable", cache_dir=tmp_path).tier == "callable"
    monkeypatch.setattr("interpreters.compiled._swapped", lambda graph: lambda position: (graph(position)[1], torch.zeros_like(position)))
    with pytest.warns(RuntimeWarning, match="disagrees with autograd and is not used"):
        assert compile_density(d, tier="callable", cache_dir=tmp_path).tier == "eager"


def test_where_the_density_is_finite_nowhere_nothing_is_compiled(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="interpreters.compiled"):
        assert compile_density(density(far(100.0)), cache_dir=tmp_path).tier == "eager"
    assert "not native: NowhereFinite: the log density is not finite at any of 100 points" in caplog.text
    assert not list(tmp_path.iterdir())


def test_nothing_global_is_left_changed(tmp_path: Path):
    before = (torch.get_default_dtype(), td.Distribution._validate_args, torch.is_grad_enabled(), torch.get_rng_state())
    compile_density(density(selecting), cache_dir=tmp_path)
    after = (torch.get_default_dtype(), td.Distribution._validate_args, torch.is_grad_enabled(), torch.get_rng_state())
    assert before[:-1] == after[:-1]
    assert torch.equal(before[-1], after[-1])


def test_constants_are_folded_and_the_graph_is_functional():
    data = normals(5)

    def function(u: torch.Tensor) -> torch.Tensor:
        made = torch.zeros(5, dtype=F64)
        made.add_(data.exp()).mul_(2.0)  # in place on constants
        return (u * made).sum() + torch.full((5,), 3.0, dtype=F64).sum()

    u = normals(5, seed=1)
    lowered = lower(record(function, u), u, {})
    assert lowered.size == 3  # mul, sum, add
    (constant,) = lowered.constants
    assert torch.allclose(constant, 2 * data.exp())
    for _ in range(2):
        for v in (u, u + 1):
            assert torch.isclose(lowered(v), function(v))


def test_the_digest_is_of_the_graph_and_not_of_the_data():
    def digest(data: torch.Tensor, power: int = 2) -> str:
        u = normals(5)
        return lower(record(lambda u: (u * data) ** power, u), u, {}).digest()

    assert digest(normals(5)) == digest(normals(5, seed=1))
    assert digest(normals(5)) != digest(normals(5), power=3)
    assert digest(normals(5)) != digest(normals(1).expand(5))


def test_random_numbers_are_refused():
    with pytest.raises(NotStraight, match="rand"):
        lower(record(lambda u: u * torch.rand(3), normals(3)), normals(3), {})


def test_a_density_that_is_another_one_each_time_is_refused():
    """And is not sampled for hours."""

    def slip():
        x = yield Sample("x", td.Normal(number(0.0), 1.0))
        yield Observe("y", td.Normal(x + torch.randn(()), 1.0), number(1.0))

    with pytest.raises(
        StructureChanged, match=r"the log density of .*slip is \S+ and then \S+ at one and the same values.* in place of torch.randn"
    ):
        compile_density(density(slip))
